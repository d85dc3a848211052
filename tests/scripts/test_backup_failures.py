"""Whatever goes wrong with a backup: no success is reported, no half file counts, no older backup is lost."""

import os
import resource
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import pyrage  # type: ignore[import-untyped] # it has no stubs
import pytest

import scripts.backup.programs
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import OLD, Ended, Jobs
from tests.scripts.fakes import programs
from tests.scripts.forking import Forked
from tests.scripts.running import end, environment, wait_for

PART = '$REAL "$@" | head -c {bytes}'


@pytest.fixture
def jobs(jobs: Jobs) -> Jobs:
    """With one good backup, long past its retention, that no failure may touch."""
    jobs.add(OLD, days=40)
    jobs.use(UNIONCORE_MIN_KEEP="1", RETENTION_DAYS="1")
    return jobs


def assert_failed(jobs: Jobs, ended: Ended, code: Exit, words: str) -> None:
    assert (ended.code, words in ended.error) == (code, True), ended
    assert jobs.names() == [OLD]
    assert jobs.files() == {OLD, f"{OLD}.json"}
    assert jobs.server.password not in ended.error + jobs.log


class Case(NamedTuple):
    """A pg_dump, and how the backup ends."""

    script: str
    code: Exit
    words: str


CASES = {
    "fails at once": Case("echo 'pg_dump: error: permission denied for table members' >&2; exit 1", Exit.FAILED,
        "pg_dump ended with status 1: error: permission denied for table members"),
    "fails after 20 bytes": Case(f"{PART.format(bytes=20)}; exit 1", Exit.FAILED, "pg_dump ended with status 1"),
    "fails after 50000 bytes": Case(f"{PART.format(bytes=50000)}; exit 1", Exit.FAILED, "pg_dump ended with status 1"),
    "fails at its end": Case('$REAL "$@"; exit 3', Exit.FAILED, "pg_dump ended with status 3"),
    "is killed": Case(f"{PART.format(bytes=50000)}; kill -9 $$", Exit.FAILED, "pg_dump was ended by signal 9"),
    "hangs at once": Case("exec sleep 600", Exit.TIMEOUT, "pg_dump has written nothing for 1 s"),
    "hangs after 50000 bytes": Case(f"{PART.format(bytes=50000)}; exec sleep 600", Exit.TIMEOUT, "written nothing"),
    "hangs at its end": Case('$REAL "$@"; exec 1>&-; exec sleep 600', Exit.TIMEOUT, "written nothing for 1 s"),
    "will not end": Case("trap '' TERM; while true; do sleep 1; done", Exit.TIMEOUT, "written nothing for 1 s"),
    "writes nothing": Case("exit 0", Exit.NOT_VERIFIED, "the dump can't be read: pg_restore"),
    "writes rubbish": Case("seq 100000; exit 0", Exit.NOT_VERIFIED, "the dump can't be read: pg_restore"),
    "stops in its head": Case(f"{PART.format(bytes=3000)}; exit 0", Exit.NOT_VERIFIED, "the dump can't be read"),
    "stops in its rows": Case(f"{PART.format(bytes=90000)}; exit 0", Exit.NOT_VERIFIED, "the dump can't be read"),
    "leaves a byte out": Case('$REAL "$@" | head -c -1; exit 0', Exit.NOT_VERIFIED, "the dump can't be read"),
    "leaves a table out": Case('exec $REAL "$@" --exclude-table=students', Exit.NOT_VERIFIED,
        "the dump has no rows of the tables public.students"),
    "leaves rows out": Case('exec $REAL "$@" --exclude-table-data=audit_logs', Exit.NOT_VERIFIED,
        "the dump has no rows of the tables public.audit_logs"),
    "leaves the rows out": Case('exec $REAL "$@" --schema-only', Exit.NOT_VERIFIED, "the dump has no rows of the"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_pg_dump_that(name: str, jobs: Jobs, live_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts.backup.programs, "GRACE_SECONDS", 0.5)
    case = CASES[name]
    directory = programs(tmp_path, jobs.server, pg_dump=case.script)
    # Of the others, none is taken for hanging because the machine is busy.
    stall = "1" if case.code is Exit.TIMEOUT else "60"
    ended = jobs.backup(live_url, UNIONCORE_PG_BIN=str(directory), UNIONCORE_STALL_TIMEOUT=stall)
    assert_failed(jobs, ended, case.code, case.words)


def test_an_encrypted_dump_that_stops_is_noticed_too(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    directory = programs(tmp_path, postgres, pg_dump=CASES["stops in its rows"].script)
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    ended = jobs.backup(live_url, UNIONCORE_PG_BIN=str(directory), UNIONCORE_AGE_RECIPIENTS=recipient)
    assert_failed(jobs, ended, Exit.NOT_VERIFIED, "the dump can't be read")


def test_a_pg_dump_that_is_missing_or_too_old_is_refused_before_anything_starts(
    jobs: Jobs, live_url: str, postgres17: EmbeddedPostgres, tmp_path: Path
) -> None:
    assert_failed(jobs, jobs.backup(live_url, UNIONCORE_PG_BIN=str(tmp_path)), Exit.TOOL, "none is installed: install")
    older = str(postgres17.bin("pg_dump").parent)
    assert_failed(
        jobs, jobs.backup(live_url, UNIONCORE_PG_BIN=older), Exit.TOOL,
        "a backup needs the programs of PostgreSQL 18 or newer, and the newest that is installed is 17",
    )  # fmt: skip


def test_a_pg_restore_that_is_missing_is_told(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    directory = programs(tmp_path, postgres)
    (directory / "pg_restore").unlink()
    assert_failed(jobs, jobs.backup(live_url, UNIONCORE_PG_BIN=str(directory)), Exit.TOOL, "pg_restore is missing")


def test_a_database_that_cannot_be_reached_is_told(jobs: Jobs, live_url: str, postgres: EmbeddedPostgres) -> None:
    def check(url: str, words: str) -> None:
        assert_failed(jobs, jobs.backup(url, UNIONCORE_CONNECT_TIMEOUT="1"), Exit.UNREACHABLE, words)

    check(postgres.url("postgres", password="wrong"), "refuses the login")
    check(postgres.url("nowhere"), "does not exist on that server")
    check(live_url.replace("127.0.0.1", "no-such-host.invalid"), "the host name no-such-host.invalid is not known")
    check(live_url.replace(str(postgres.port), "1"), "refuses the connection")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check(live_url.replace(str(postgres.port), str(silent.getsockname()[1])), "does not answer within 1 s")


def test_a_database_that_is_not_unioncores_is_not_backed_up(jobs: Jobs, postgres: EmbeddedPostgres) -> None:
    ended = jobs.backup(postgres.url("postgres"))
    assert_failed(
        jobs, ended, Exit.REFUSED, "is not UnionCore's, for it has no table audit_logs, dues_payments, members"
    )


def test_a_file_that_may_not_grow_as_large_is_removed(jobs: Jobs, live_url: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        ended = jobs.backup(live_url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_failed(jobs, ended, Exit.NO_SPACE, "File too large: make room there")


def test_a_disk_that_is_too_full_is_seen_before_anything_starts(
    jobs: Jobs, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(jobs.backups)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    assert_failed(jobs, jobs.backup(live_url), Exit.NO_SPACE, "has 1 MiB free, and the backup may need")


def test_a_table_that_is_locked_is_not_waited_for_for_ever(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres
) -> None:
    # A psql that waits for its input holds the lock.
    with subprocess.Popen(
        [postgres.bin("psql"), live_url, "-qAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        holder.stdin.write(b"begin; lock table members; select 1;\n")
        holder.stdin.flush()
        holder.stdout.readline()
        ended = jobs.backup(live_url, UNIONCORE_BACKUP_LOCK_TIMEOUT="0.5")
        holder.stdin.close()
    assert_failed(jobs, ended, Exit.FAILED, "another session holds the table for too long")


def test_a_server_that_dies_meanwhile_fails_the_backup(jobs: Jobs, tmp_path: Path) -> None:
    with EmbeddedPostgres() as server:
        server.create_database("live")
        create(server.url("live"), "live", SCALES["small"])
        stop = f'kill -9 $(head -1 {server.data}/postmaster.pid); $REAL "$@"'
        directory = programs(tmp_path, server, pg_dump=f"sleep 0.3; {stop}")
        ended = jobs.backup(server.url("live"), UNIONCORE_PG_BIN=str(directory))
        assert ended.code in {Exit.FAILED, Exit.UNREACHABLE}
        assert_failed(jobs, ended, Exit(ended.code), "")


def test_a_backup_that_is_told_to_end_cleans_up(jobs: Jobs, live_url: str, tmp_path: Path) -> None:
    seen = tmp_path / "pid"
    slow = programs(tmp_path, jobs.server, pg_dump=f'$REAL "$@" | head -c 50000; echo $$ > {seen}; exec sleep 60')
    running = Forked(("scripts.ops", "backup"), environment(jobs.backups, live_url, UNIONCORE_PG_BIN=str(slow)))
    wait_for(lambda: seen.exists() or running.poll() is not None)
    running.signal(signal.SIGTERM)
    ended = end(running)
    assert (ended.code, ended.result["succeeded"]) == (Exit.TERMINATED, False)
    assert jobs.files() == {OLD, f"{OLD}.json"}
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen.read_text()), 0)
    # The next run is not disturbed by what happened.
    assert jobs.backup(live_url).code == Exit.OK
    assert len(jobs.names()) == 1
