"""How a run ends that something gets in the way of: another run, a signal, the time limit, a server that hangs."""

import errno
import fcntl
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit, JobError
from scripts.job.locks import file_lock
from tests.scripts.forking import Forked
from tests.scripts.odd_job import GRACE, LIMIT
from tests.scripts.running import ODD, end, run, wait_for


def begin(argv: tuple[str, ...], env: dict[str, str], marks: Callable[[], str]) -> Forked:
    process = Forked(argv, env)
    wait_for(lambda: "begun" in marks())
    return process


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_a_second_run_ends_with_3_at_once_and_reports_nothing(env: dict[str, str], marks: Callable[[], str]) -> None:
    first = begin((ODD, "wait"), env, marks)
    ended = run((ODD, "count"), env)
    assert ended.code == Exit.BUSY
    assert "another cleanup run is under way on this machine" in ended.result["error"]
    assert ended.result["report"] is None
    first.slay()
    assert run((ODD, "count"), env).code == Exit.OK


def test_a_lock_is_one_on_a_network_file_system_too_or_it_is_said_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fcntl.flock

    def of_nfs(descriptor: int, operation: int) -> None:
        # "In order to place an exclusive lock, the file must be opened for writing": flock(2).
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        original(descriptor, operation)

    def without_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    with file_lock(tmp_path, "cleanup"):
        pass
    monkeypatch.setattr(fcntl, "flock", without_locks)
    words = r"can't be locked \(No locks available\).*set UNIONCORE_SPOOL_DIR"
    with pytest.raises(JobError, match=words) as caught, file_lock(tmp_path, "cleanup"):
        pass
    assert caught.value.exit is Exit.CONFIGURATION


def test_a_dry_run_takes_no_lock_and_reports_nothing(env: dict[str, str], marks: Callable[[], str]) -> None:
    first = begin((ODD, "wait"), env, marks)
    ended = run((ODD, "count", "--dry-run"), env)
    assert (ended.code, ended.result["dry_run"], ended.result["report"]) == (Exit.OK, True, None)
    first.slay()


def test_a_second_machine_is_held_off_by_the_lock_in_the_database_until_the_first_is_gone(
    env: dict[str, str], marks: Callable[[], str], live_url: str, tmp_path: Path
) -> None:
    env["DATABASE_URL"] = live_url
    elsewhere = env | {"BACKUP_DIR": str(tmp_path / "elsewhere")}
    first = begin((ODD, "query"), env, marks)
    ended = run((ODD, "ask"), elsewhere)
    assert ended.code == Exit.BUSY
    assert "on this database" in ended.result["error"]
    # Killed in the middle of a statement: its session, which holds the lock, ends soon after.
    first.slay()
    ended = run((ODD, "ask"), elsewhere)
    assert ended.code == Exit.OK
    assert ended.result["details"] == {
        "application_name": "unioncore-ops/cleanup",
        "timezone": "UTC",
        "lock_timeout": "3s",
        "locks": 1,
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_cleans_up_before_it_ends_the_job(
    number: signal.Signals, env: dict[str, str], marks: Callable[[], str]
) -> None:
    process = begin((ODD, "wait"), env, marks)
    process.signal(number)
    ended = end(process)
    assert ended.code == 128 + number == ended.result["exit"]
    assert ended.result["error"] == f"ended by {number.name}"
    assert "cleaned" in marks()
    found = re.search(r"child (\d+)", marks())
    assert found
    assert not alive(int(found[1]))
    assert ended.result["report"] == "delivered"


def test_a_second_signal_ends_it_without_waiting(env: dict[str, str], marks: Callable[[], str]) -> None:
    process = begin((ODD, "thread"), env, marks)
    process.signal(signal.SIGTERM)
    wait_for(lambda: b"ending" in process.log)
    process.signal(signal.SIGTERM)
    assert process.finish(10) == -signal.SIGTERM


def test_work_that_is_done_all_the_same_when_told_to_end_is_a_success(
    env: dict[str, str], marks: Callable[[], str]
) -> None:
    process = begin((ODD, "stubborn"), env, marks)
    process.signal(signal.SIGTERM)
    ended = end(process)
    assert (ended.code, ended.result["items"]) == (Exit.OK, 5)


def test_the_time_limit_ends_the_work_and_lets_it_clean_up(env: dict[str, str], marks: Callable[[], str]) -> None:
    ended = run((ODD, "wait"), env | {LIMIT: "1"})
    assert ended.code == Exit.TIMEOUT
    assert ended.result["error"] == "the time limit of 1 s has passed"
    assert "cleaned" in marks()


@pytest.mark.parametrize("what", ["thread", "deaf"])
def test_the_time_limit_holds_for_work_that_nothing_can_end(what: str, env: dict[str, str]) -> None:
    ended = run((ODD, what), env | {LIMIT: "1", GRACE: "1"}, seconds=20)
    assert ended.code == Exit.TIMEOUT == ended.result["exit"]
    assert ended.result["report"] == "delivered"
    assert ("cleaning up takes too long" in ended.log) == (what == "deaf")


def test_the_time_limit_holds_with_a_server_that_hangs(env: dict[str, str], marks: Callable[[], str]) -> None:
    with EmbeddedPostgres() as server:
        process = begin((ODD, "query"), env | {LIMIT: "3", "DATABASE_URL": server.url("postgres")}, marks)
        server.freeze()
        began = time.monotonic()
        ended = end(process, seconds=40)
        assert ended.code == Exit.TIMEOUT
        assert time.monotonic() - began < 25
        server.thaw()


def test_a_connection_that_breaks_ends_with_7(
    env: dict[str, str], marks: Callable[[], str], live_url: str, postgres: EmbeddedPostgres
) -> None:
    process = begin((ODD, "query"), env | {"DATABASE_URL": live_url}, marks)
    postgres.psql("select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)'")
    ended = end(process)
    assert ended.code == Exit.UNREACHABLE
    assert "the connection to the database was lost" in ended.result["error"]
