"""How large chunks are, and that files have the size that they had."""

import json
from typing import Any

import pytest

from scripts.archive import extract
from scripts.archive.restore import Wanted
from scripts.job.exits import Exit
from tests.scripts.archiving import MANIFEST, Archives, AuditLog, first_id


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What extracting found each time that it found rows: how many; a chunk is cut smaller above 120,000 bytes."""
    sizes: list[int] = []
    original = extract.Extractor._extract

    async def extracting(self: extract.Extractor, *args: Any) -> extract.Draft | None:
        draft = await original(self, *args)
        if draft:
            sizes.append(draft.content.rows)
        return draft

    monkeypatch.setattr(extract, "CHUNK_BYTES", 120_000)
    monkeypatch.setattr(extract.Extractor, "_extract", extracting)
    return sizes


@pytest.mark.parametrize("huge", [1, 3])
def test_chunks_after_a_huge_row_are_as_large_as_before(
    live_log: AuditLog, archives: Archives, extracted: list[int], huge: int
) -> None:
    live_log.add(520, days=20)
    live_log.add(huge, days=20, notes="x" * 125_000)
    live_log.add(1800, days=20)
    ended = archives.archive()
    assert archives.rows() == live_log.rows(days=10)
    # At most nine end before the first huge row, and each of these has its own.
    assert ended.details["chunks"] <= len(archives.rows()) // 400 + 1 + huge + 9
    assert len(extracted) <= ended.details["chunks"] + 12


def test_rows_that_are_all_large_are_hardly_ever_read_twice(
    live_log: AuditLog, archives: Archives, extracted: list[int]
) -> None:
    live_log.add(1500, days=20, notes="x" * 1_000)
    ended = archives.archive()
    assert archives.rows() == live_log.rows(days=10)
    sizes = [json.loads(text)["plain_size"] for key, text in archives.files().items() if key.endswith(MANIFEST)]
    assert max(sizes) <= 120_000
    assert len(extracted) <= ended.details["chunks"] + 3


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("content", [b"", b"longer than it was" * 10_000])
def test_a_file_that_does_not_have_the_size_it_had_is_told(
    live_log: AuditLog, archives: Archives, deleted: bool, content: bytes
) -> None:
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    if deleted:
        assert archives.delete().rows
    before = live_log.ids()
    file = archives.directory / archives.show().details["chunks"][0]["key"]
    file.write_bytes(content)
    live_log.add(3, days=20)
    for ended in (
        archives.archive(),
        archives.show(),
        archives.restore(Wanted("restored")),
        archives.restore(Wanted("restored"), dry_run=True),
        *([] if deleted else [archives.delete(), archives.delete(dry_run=True)]),
    ):
        assert ended.code == Exit.NOT_VERIFIED
        assert f"{file.name} is damaged: it has {len(content)} bytes" in ended.error
    assert before <= live_log.ids()
    # All else was done.
    if deleted:
        assert first_id(archives.last()) == max(live_log.ids()) - 2
