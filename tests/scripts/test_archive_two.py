"""Two runs at once: what the lock keeps apart, and what an auditor is given where it did not."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from exporter.manifests import MANIFEST_SUFFIX
from scripts.archive import remains
from scripts.archive.chunks import Chunk
from scripts.archive.place import Archive
from scripts.archive.restore import Wanted
from scripts.archive.settings import ArchiveSettings
from scripts.job.exits import Exit
from scripts.job.frame import Outcome, Run
from tests.scripts.archiving import Archives, AuditLog

_LOCKS = """
 from pg_locks
where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
"""
HOLDER = f"select pid {_LOCKS}"
END_HOLDER = f"select count(pg_terminate_backend(pid)) {_LOCKS}"
RESTORED = '"audit_logs_restored"'


def test_a_lock_that_is_asked_for_while_its_session_ends_is_lost(live_log: AuditLog, archives: Archives) -> None:
    async def work(run: Run[ArchiveSettings]) -> Outcome:
        async with run.connect():
            assert await asyncio.to_thread(live_log.value, END_HOLDER) == 1
            await run.require_lock()
        return Outcome(0)

    # The server's goodbye, the end of the connection and the question come in any order.
    for _ in range(20):
        ended = archives.run("archive", work)
        assert (ended.code, "the session with the job's lock has ended" in ended.error) == (Exit.UNREACHABLE, True)


def test_a_lock_whose_session_does_not_answer_is_lost(live_log: AuditLog, archives: Archives) -> None:
    pid = 0

    async def work(run: Run[ArchiveSettings]) -> Outcome:
        nonlocal pid
        async with run.connect():
            pid = await asyncio.to_thread(live_log.value, HOLDER)
            os.kill(pid, signal.SIGSTOP)
            await run.require_lock()
        return Outcome(0)

    try:
        ended = archives.run("archive", work, UNIONCORE_CONNECT_TIMEOUT="0.5")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (ended.code, "the session with the job's lock has ended" in ended.error) == (Exit.UNREACHABLE, True)


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


def orphaned(archives: Archives) -> tuple[Path, Path]:
    """Let the first chunk's file be without its manifest: the file, and where its manifest is kept."""
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="100").code == Exit.OK
    manifest = min(archives.directory.rglob(f"*{MANIFEST_SUFFIX}"))
    return manifest.with_name(manifest.name.removesuffix(MANIFEST_SUFFIX)), manifest.rename(archives.directory / "kept")


def test_a_run_whose_lock_is_lost_removes_no_file(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = orphaned(archives)
    original = remains.why_kept

    async def why_kept(*args: Any) -> str:
        assert live_log.value(END_HOLDER) == 1
        return await original(*args)

    monkeypatch.setattr(remains, "why_kept", why_kept)
    # Other chunks than before, so that the file is not completed.
    ended = archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="70")
    assert (ended.code, ended.details["orphans_removed"]) == (Exit.UNREACHABLE, 0)
    assert file.exists()
    monkeypatch.setattr(remains, "why_kept", original)
    assert archives.archive().details["orphans_removed"] == 1
    assert archives.rows() == live_log.rows(days=10)


@pytest.mark.usefixtures("live_log")
def test_a_file_that_another_run_has_completed_in_the_meantime_is_not_removed(
    archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kept = orphaned(archives)
    original = remains.why_kept

    async def why_kept(*args: Any) -> str:
        why = await original(*args)
        kept.rename(file.with_name(file.name + MANIFEST_SUFFIX))
        return why

    monkeypatch.setattr(remains, "why_kept", why_kept)
    ended = archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="70")
    assert (ended.code, ended.details["orphans_removed"]) == (Exit.REFUSED, 0)
    assert f"{file.name}{MANIFEST_SUFFIX} was written while this run was under way" in ended.error
    assert file.exists()


def test_a_run_whose_lock_is_lost_replaces_no_file(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = orphaned(archives)
    half = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(half)
    original = Archive.write
    lost: list[object] = []

    async def write(self: Archive, *args: Any) -> None:
        if not lost:
            lost.append(live_log.value(END_HOLDER))
        await original(self, *args)

    monkeypatch.setattr(Archive, "write", write)
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="100").code == Exit.UNREACHABLE
    assert (lost, file.read_bytes()) == ([1], half)
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="100").code == Exit.OK
    assert archives.rows() == live_log.rows(days=10)


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


@pytest.mark.parametrize("lost", [False, True])
def test_rows_that_two_runs_have_archived_hold_up_the_deletion_of_no_others(
    live_log: AuditLog, archives: Archives, tmp_path: Path, lost: bool
) -> None:
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs")
    live_log.add(1000, days=60, first=1)
    assert archives.archive().rows == 1000
    aside = archives.directory.rename(tmp_path / "aside")
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="300").rows == 1000
    merge(aside, archives.directory)
    if lost:
        # So that a part of 1-400 is in no other file.
        for path in archives.directory.rglob("301-600-*"):
            path.unlink()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    ended = archives.delete()
    assert live_log.ids() == (set(range(301, 401)) if lost else set())
    if not lost:
        # What one file can't delete another one does.
        assert (ended.code, ended.rows) == (0, 1000), ended.error
        return
    assert (ended.code, ended.details["rows"]) == (Exit.NOT_VERIFIED, 900)
    assert re.search(r"/1-400-\w+\.csv\.zst \(1 such files\) has events that another file has, too", ended.error)
    assert "move it and its manifest" in ended.error
    # As the message says.
    for path in archives.directory.rglob("1-400-*"):
        path.rename(tmp_path / path.name)
    assert archives.archive().rows == 100
    assert archives.delete().rows == 100
    assert live_log.ids() == set()
    assert archives.restore(Wanted(RESTORED)).rows == 1000


def test_what_is_left_of_a_chunk_some_of_whose_rows_went_with_another_one_is_archived(
    live_log: AuditLog, archives: Archives, tmp_path: Path
) -> None:
    assert archives.archive().code == Exit.OK
    ids = sorted(archives.rows())[:400]
    aside = archives.directory.rename(tmp_path / "aside")
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="300").code == Exit.OK
    merge(aside, archives.directory)
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs where id = any ($1::int[])", ids)
    for rows in (0, 3):
        ended = archives.archive()
        assert (ended.code, ended.rows) == (Exit.OK, rows), ended.error
        live_log.add(3, days=20)
    live_log.execute("update audit_logs set changed_at = changed_at - interval '100 days'")
    assert archives.archive().code == Exit.REFUSED
