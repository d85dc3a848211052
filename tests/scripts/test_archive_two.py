"""Two runs at once: what the lock keeps apart, and what an auditor is given where it did not."""

from pathlib import Path

import pytest

from scripts.archive.chunks import Chunk
from scripts.archive.place import Archive
from scripts.archive.restore import Wanted
from scripts.archive.settings import ArchiveSettings
from scripts.job.exits import Exit
from scripts.job.frame import Run
from tests.scripts.archiving import Archives, AuditLog

END_HOLDER = """
select count(pg_terminate_backend(pid)) from pg_locks
 where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
"""
RESTORED = '"audit_logs_restored"'


def test_a_run_whose_lock_is_lost_archives_nothing_more(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, committed = Archive.commit, []

    async def commit(self: Archive, chunk: Chunk) -> None:
        await original(self, chunk)
        committed.append(chunk)
        if len(committed) == 2:
            assert live_log.value(END_HOLDER) == 1

    monkeypatch.setattr(Archive, "commit", commit)
    ended = archives.archive()
    assert (ended.code, len(committed), ended.details["chunks"]) == (Exit.UNREACHABLE, 2, 2)
    assert "another run may be under way: run the job again" in ended.error
    monkeypatch.setattr(Archive, "commit", original)
    assert archives.archive().code == Exit.OK
    assert archives.rows() == live_log.rows(days=10)


def test_a_run_whose_lock_is_lost_deletes_nothing_more(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="100").code == Exit.OK
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == Exit.OK
    before = live_log.ids()
    original, asked = Run.require_lock, 0

    async def require_lock(self: Run[ArchiveSettings]) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            assert live_log.value(END_HOLDER) == 1
        await original(self)

    monkeypatch.setattr(Run, "require_lock", require_lock)
    ended = archives.delete()
    assert (ended.code, ended.details["chunks"]) == (Exit.UNREACHABLE, 1)
    assert len(before - live_log.ids()) == ended.details["rows"] == 100


def merge(aside: Path, archive: Path) -> None:
    """Put the files of another archive into this one."""
    for path in aside.rglob("*"):
        if path.is_file():
            target = archive / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


def test_a_row_that_two_runs_have_archived_is_restored_once(
    live_log: AuditLog, archives: Archives, tmp_path: Path
) -> None:
    assert archives.archive().code == Exit.OK
    aside = archives.directory.rename(tmp_path / "aside")
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="300").code == Exit.OK
    merge(aside, archives.directory)
    with pytest.raises(AssertionError, match="in two manifests"):
        archives.rows()
    rows = live_log.rows(days=10)
    ended = archives.restore(Wanted(RESTORED))
    assert (ended.code, ended.rows) == (Exit.OK, len(rows)), ended.error
    assert set(rows) == {row["id"] for row in live_log.fetch(f"select id from {RESTORED}")}
    assert archives.restore(Wanted(RESTORED)).code == Exit.REFUSED
    part = archives.restore(Wanted("part", first=350, last=650))
    assert (part.code, part.rows) == (Exit.OK, len([row for row in rows if 350 <= row <= 650])), part.error


def test_a_row_that_two_runs_have_archived_with_different_content_is_told(
    live_log: AuditLog, archives: Archives, tmp_path: Path
) -> None:
    assert archives.archive().code == Exit.OK
    aside = archives.directory.rename(tmp_path / "aside")
    (changed,) = (row["id"] for row in live_log.fetch("select min(id) + 5 as id from audit_logs"))
    live_log.execute("set session_replication_role = replica")
    live_log.execute("update audit_logs set notes = 'another' where id = $1", changed)
    assert archives.archive().code == Exit.OK
    merge(aside, archives.directory)
    ended = archives.restore(Wanted(RESTORED))
    assert ended.code == Exit.NOT_VERIFIED
    assert f"audit event {changed} is in " in ended.error
    assert "with another content, in " in ended.error
