"""How large chunks are, and that files have the size that they had."""

import json
from typing import Any

import pytest

from scripts.archive import extract
from tests.scripts.archiving import MANIFEST, Archives, AuditLog


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
