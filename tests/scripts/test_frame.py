"""What every job has from its frame: locks, limits, signals, exit codes, one line, one result."""

import asyncio
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from exporter.metrics import CollectError
from exporter.storage import StoreError
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from scripts.job.failures import explain
from tests.pushing import ITEMS, published
from tests.scripts.forking import Forked
from tests.scripts.odd_job import NAME
from tests.scripts.running import CLEANUP, ODD, ROOT, end, run

SUCCEEDED = "unioncore_job_last_run_succeeded"
SECRET = "a-secret-in-the-words"


def test_a_success_is_one_json_line_last_and_timestamped_lines_in_the_log(env: dict[str, str]) -> None:
    ended = run((ODD, "count"), env)
    assert ended.code == Exit.OK
    assert ended.result["succeeded"]
    assert (ended.result["job"], ended.result["items"], ended.result["error"]) == ("cleanup", 7, None)
    assert ended.result["details"]["tables"] == 46
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ended.result["started_at"])
    assert all(re.match(r"timestamp=20\S+ level=\w+ event=", line) for line in ended.log.splitlines())
    assert "tables=46" in ended.log


def test_a_reader_that_has_gone_makes_no_failure_of_a_success(env: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"( {sys.executable} -m {ODD} count; echo ended with $? >&2 ) | true"],
        env=env, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ended with 0" in done.stderr


def test_a_job_takes_the_processor_from_nobody(env: dict[str, str]) -> None:
    assert run((ODD, "count"), env).result["details"]["policy"] == os.SCHED_BATCH


@pytest.mark.parametrize("code", [code for code in Exit if code not in (Exit.OK, Exit.BUSY)])
def test_every_code_is_the_exit_status_with_the_line_in_log_and_result(code: Exit, env: dict[str, str]) -> None:
    ended = run((ODD, "fail", code.name), env)
    assert ended.code == code == ended.result["exit"]
    assert not ended.result["succeeded"]
    assert ended.result["error"] == "the thing is broken: mend it"
    assert ended.result["details"] == {"before": 3}
    assert ended.log.count("the thing is broken: mend it") == 1
    assert "Traceback" not in ended.log


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left", "/b/dump"), Exit.NO_SPACE, "/b/dump can't be written (No space left)"),
        (OSError(errno.EDQUOT, "Quota exceeded", "/b/dump"), Exit.NO_SPACE, "/b/dump can't be written"),
        (OSError(errno.EFBIG, "File too large"), Exit.NO_SPACE, "a file can't be written"),
        (asyncpg.DiskFullError("could not extend file"), Exit.NO_SPACE, "the database server has no space left"),
        (asyncpg.LockNotAvailableError("canceling"), Exit.FAILED, "another session holds the table"),
        (asyncpg.AdminShutdownError("terminating"), Exit.UNREACHABLE, "the connection to the database was lost"),
        (asyncpg.QueryCanceledError("canceling"), Exit.FAILED, "the database refuses a statement: canceling"),
        (asyncpg.InterfaceError("connection is closed"), Exit.UNREACHABLE, "connection to the database was lost"),
        (asyncpg.InternalClientError("cannot switch"), Exit.UNREACHABLE, "connection to the database was lost"),
        (asyncpg.InterfaceError("in another operation"), Exit.FAILED, "unexpected InterfaceError"),
        (asyncpg.UniqueViolationError(f"duplicate\nDETAIL: {SECRET}"), Exit.FAILED, "refuses a statement: duplicate"),
        (PermissionError(errno.EACCES, "Permission denied", "/b"), Exit.FAILED, "/b: Permission denied"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), Exit.FAILED, "unexpected BrokenPipeError"),
        (StoreError("S3 bucket b: access is denied"), Exit.UNREACHABLE, "S3 bucket b: access is denied"),
        (CollectError("there is no table users"), Exit.FAILED, "there is no table users"),
        (ExceptionGroup("", [KeyError(), ExceptionGroup("", [StoreError("no b")])]), Exit.UNREACHABLE, "no b"),
        (asyncio.CancelledError(), Exit.FAILED, "unexpected CancelledError"),
    ],
    ids=repr,
)
def test_every_exception_becomes_a_code_and_a_line(error: BaseException, code: Exit, words: str) -> None:
    failure = explain(error)
    assert failure.exit == code
    assert words in str(failure)
    # What a server says beyond its first line may be data.
    assert SECRET not in str(failure)
    assert "\n" not in str(failure)


def test_where_it_failed_is_shown_at_level_debug(env: dict[str, str]) -> None:
    assert "Traceback" not in run((ODD, "fault"), env).log
    ended = run((ODD, "fault"), env | {"UNIONCORE_LOG_LEVEL": "debug"})
    assert ended.result["error"].startswith("unexpected KeyError: 'x'")
    assert "Traceback" in ended.log
    assert "odd_job.py" in ended.log


def test_the_session_is_in_utc_and_has_no_foreign_limits_whatever_the_role_has(
    env: dict[str, str], live_url: str, postgres: EmbeddedPostgres
) -> None:
    postgres.psql("create role odd login superuser password 'odd'; alter role odd set timezone = 'America/Los_Angeles'")
    env["DATABASE_URL"] = live_url.replace(f"postgres:{postgres.password}", "odd:odd")
    try:
        assert run((ODD, "ask"), env).result["details"]["timezone"] == "UTC"
    finally:
        postgres.psql("drop role odd")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://postgres:open-sesame@127.0.0.1:{port}/postgres", "refuses the login"),
        ("postgresql://postgres:{password}@127.0.0.1:{port}/nowhere", "does not exist on that server"),
        ("postgresql://postgres:open-sesame@127.0.0.1:1/postgres", "refuses the connection"),
        ("postgresql://postgres:open-sesame@no-such-host.invalid/postgres", "no-such-host.invalid is not known"),
        ("postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=require", "can't be reached"),
    ],
)
def test_wrong_password_database_host_or_tls_end_with_7_and_say_which(
    url: str, words: str, env: dict[str, str], postgres: EmbeddedPostgres
) -> None:
    filled = url.format(port=postgres.port, password=postgres.password)
    ended = run(CLEANUP, env | {"DATABASE_URL": filled})
    assert ended.code == Exit.UNREACHABLE
    assert words in ended.result["error"]
    assert "DATABASE_URL" in ended.result["error"] or "sslmode" in url
    assert "open-sesame" not in ended.log + json.dumps(ended.result)
    assert postgres.password not in ended.log + json.dumps(ended.result)


def test_a_server_that_never_answers_ends_with_7(env: dict[str, str]) -> None:
    with EmbeddedPostgres() as server:
        server.freeze()
        ended = run(CLEANUP, env | {"DATABASE_URL": server.url("postgres"), "UNIONCORE_CONNECT_TIMEOUT": "1"})
        assert ended.code == Exit.UNREACHABLE
        assert "does not answer within 1 s" in ended.result["error"]
        server.thaw()


def test_a_statement_that_the_database_refuses_ends_with_1(env: dict[str, str], live_url: str) -> None:
    ended = run((ODD, "write"), env | {"DATABASE_URL": live_url})
    assert ended.code == Exit.FAILED
    assert ended.result["error"] == "the database refuses a statement: division by zero"


def test_all_errors_of_the_configuration_are_said_at_once_with_2_and_no_value(env: dict[str, str]) -> None:
    wrong = {
        "DATABASE_URL": "mysql://u:open-sesame@h/d",
        "UNIONCORE_EXPORTER_URL": "http://user:open-sesame@exporter",
        "UNIONCORE_TOKEN_KEEP_DAYS": "-1",
        "UNIONCORE_PUSH_TOKEN_FILE": "/nowhere/token",
    }
    ended = run(CLEANUP, env | wrong)
    assert ended.code == Exit.CONFIGURATION == ended.result["exit"]
    assert all(name in ended.log for name in wrong)
    assert all(name in ended.result["error"] for name in wrong)
    assert "open-sesame" not in ended.log + json.dumps(ended.result)


@pytest.mark.parametrize(
    ("job", "setting"),
    [
        ("backup", "RETENTION_DAYS"),
        ("verify", "UNIONCORE_RESTORE_JOBS"),
        ("archive", "ARCHIVE_THRESHOLD_DAYS"),
        ("cleanup", "UNIONCORE_TOKEN_KEEP_DAYS"),
    ],
)
def test_a_job_that_cannot_begin_with_its_settings_has_failed(job: str, setting: str, env: dict[str, str]) -> None:
    def pushed(family: str) -> float:
        return published(int(env["UNIONCORE_EXPORTER_URL"].rpartition(":")[2]))[family, frozenset({("job_name", job)})]

    assert run((ODD, "count"), env | {NAME: job}).result["report"] == "delivered"
    wrong = env | {setting: "-1"}
    if job in ("archive", "cleanup"):
        assert run(("scripts.ops", job, "--dry-run"), wrong).code == Exit.CONFIGURATION
    # Who has forgotten to take the settings into the shell knows of no database, and has run nothing.
    assert run(("scripts.ops", job), {**wrong, "DATABASE_URL": ""}).code == Exit.CONFIGURATION
    assert pushed(SUCCEEDED) == 1
    ended = run(("scripts.ops", job), wrong)
    assert ended.code == Exit.CONFIGURATION
    assert f"{setting}: " in ended.result["error"]
    assert (pushed(SUCCEEDED), pushed(ITEMS)) == (0, 7)


@pytest.mark.parametrize(
    "url", ["http://h:99999", "http://h:0", "http://h/?token=a-sesame", "http://h/#sesame", "h:9741", "http://", "/h"]
)
def test_a_url_that_nothing_can_be_pushed_to_is_refused_by_name(url: str, env: dict[str, str]) -> None:
    ended = run((ODD, "count"), env | {"UNIONCORE_EXPORTER_URL": url})
    assert ended.code == Exit.CONFIGURATION
    assert "UNIONCORE_EXPORTER_URL: " in ended.result["error"]
    assert "sesame" not in ended.log + json.dumps(ended.result)


def test_blanks_around_a_url_are_none_of_it(env: dict[str, str]) -> None:
    padded = env | {"UNIONCORE_EXPORTER_URL": f" {env['UNIONCORE_EXPORTER_URL']}/ "}
    assert run((ODD, "count"), padded).result["report"] == "delivered"


def test_a_lock_that_cannot_be_made_is_a_matter_of_configuration(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("not a directory")
    ended = run((ODD, "count"), env)
    assert ended.code == Exit.CONFIGURATION
    assert "set UNIONCORE_SPOOL_DIR" in ended.result["error"]
    # It could not be kept either, but the exporter has taken it.
    assert ended.result["report"] == "delivered"


def test_another_users_lock_file_locks_out_everybody_and_harms_nobody(env: dict[str, str], tmp_path: Path) -> None:
    lock = tmp_path / "backups" / ".spool" / "cleanup.lock"
    lock.parent.mkdir(parents=True)
    lock.touch(mode=0o444)
    assert run((ODD, "count"), env).code == Exit.OK


def test_programs_get_the_password_by_their_environment_and_nothing_else_of_ours(
    env: dict[str, str], marks: Callable[[], str], live_url: str, postgres: EmbeddedPostgres
) -> None:
    secrets = {"UNIONCORE_PUSH_TOKEN": "push-sesame", "AWS_SECRET_ACCESS_KEY": "aws-sesame", "PGOPTIONS": "-c wrong=1"}
    password = postgres.password.encode()
    # Every command line and child environment there is, from the start of the job to its end.
    process = Forked((ODD, "dump", str(postgres.bin("pg_dump"))), env | secrets | {"DATABASE_URL": live_url})
    lines, environments = set(), set()
    while process.poll() is None:
        for number in [process.pid, *map(int, re.findall(r"child (\d+)", marks()))]:
            try:
                lines.add(Path(f"/proc/{number}/cmdline").read_bytes())
                if number != process.pid:
                    environments.add(Path(f"/proc/{number}/environ").read_bytes())
            except OSError:
                continue
    ended = end(process)
    assert (ended.code, ended.result["items"], ended.result["details"]["status"]) == (0, 18, 0)
    assert any(b"pg_dump" in line for line in lines)
    assert not any(password in line or b"sesame" in line for line in lines)
    assert any(password in environment_ for environment_ in environments)
    assert not any(b"sesame" in variables or b"PGOPTIONS" in variables for variables in environments)
    assert postgres.password not in ended.log + json.dumps(ended.result)


def test_a_terminal_gets_bars_and_a_line_for_people_but_no_json(env: dict[str, str]) -> None:
    shown = on_a_terminal((ODD, "progress"), env)
    assert re.search(r"4 / 4 rows", shown)
    assert "20.0 MB" in shown
    assert "done" in shown
    assert '"succeeded"' not in shown


def test_the_commands_show_json_on_a_terminal_if_asked(env: dict[str, str]) -> None:
    shown = on_a_terminal((*CLEANUP, "--json"), env)
    assert '"exit": 7' in shown


def on_a_terminal(argv: tuple[str, ...], env: dict[str, str]) -> str:
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [*map(str, (sys.executable, "-m", *argv))],
        env=env | {"COLUMNS": "200", "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:  # the terminal's last user is gone
            break
        shown += chunk
        if not chunk:
            break
    process.wait(10)
    os.close(main)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
