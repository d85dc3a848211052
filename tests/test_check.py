"""`unioncore-exporter check`, as an operator runs it."""

import logging
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from exporter.board import HEALTH
from exporter.check import check as dry_run
from exporter.cli import main
from exporter.collectors.build import BuildSource
from exporter.contract import CONTRACT
from exporter.facts import FACTS
from exporter.metrics import Sample
from exporter.settings import load
from scripts.embedded.postgres import EmbeddedPostgres, psql


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    monkeypatch.setenv("UNIONCORE_STATE_DIR", str(tmp_path))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def check(url: str, **more: str) -> Result:
    return CliRunner().invoke(main, ["check"], env={"DATABASE_URL": url, **more})


def line(report: str, first: str) -> list[str]:
    """The fields of the one line that begins so."""
    (found,) = re.findall(rf"^{re.escape(first)} .*$", report, re.MULTILINE)
    return re.split(r" {2,}", found)


def test_where_all_is_well_it_shows_every_fact_collector_and_family(shape_url: str) -> None:
    done = check(shape_url)
    assert (done.exit_code, done.stderr) == (0, "")
    for fact in FACTS:
        assert line(done.stdout, fact)
    for family in CONTRACT:
        assert (f"\n{family.name} " in done.stdout) == (family not in HEALTH)
    assert re.findall(r"^(\w+) +failed", done.stdout, re.MULTILINE) == []
    assert line(done.stdout, "backups_local")[1:3] == ["ok", "1"]
    assert "statistics usable" in done.stdout.lower().replace("  ", " ")


def test_it_says_in_which_column_of_which_type_each_fact_was_found(live_url: str, documented_url: str) -> None:
    live, documented = check(live_url).stdout, check(documented_url).stdout
    assert line(live, "audit.time") == ["audit.time", "audit_logs.changed_at", "timestamp, read as UTC"]
    assert line(documented, "audit.time")[1] == "audit_logs.created_at"
    assert line(live, "dues.paid")[1] == "dues_payments.amount_paid"
    assert line(documented, "dues.paid")[1] == "dues_payments.amount"
    assert line(live, "members.status")[1:] == [
        "members.status",
        "enum",
        "ACTIVE INACTIVE SUSPENDED RETIRED DECEASED",
    ]
    assert line(live, "users.deleted")[1:] == ["users.is_deleted", "bool"]
    assert line(documented, "users.deleted")[1] == "not in users, which is fine"


def test_the_values_are_those_of_the_database(live_url: str) -> None:
    report = check(live_url).stdout
    status = "select string_agg(lower(status::text) || ' ' || n, ', ' order by status)"
    for table in ("members", "students"):
        counted = f"from (select status, count(*) n from {table} where not is_deleted group by 1) s"
        assert line(report, f"unioncore_{table}")[2] == psql(live_url, f"{status} {counted}")
    newest = psql(live_url, "select to_char(max(changed_at), 'YYYY-MM-DD HH24:MI:SS') || ' UTC' from audit_logs")
    assert line(report, "unioncore_audit_last_event_timestamp_seconds")[2] == newest


def test_every_problem_is_told_at_once_and_ends_it_with_1(
    live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    psql(
        live_url,
        "alter table audit_logs rename changed_at to happened; alter table users rename last_login to seen;"
        "drop table students; create role blind login password 'blind'; grant select on all tables in schema public"
        " to blind; revoke select on members from blind",
    )
    blind = postgres.url(live_url.rpartition("/")[2], user="blind", password="blind")
    done = check(blind, BACKUP_DIR=str(tmp_path / "nowhere"))
    psql(live_url, "drop owned by blind; drop role blind")
    assert done.exit_code == 1
    unread = "may not be read: run `unioncore-exporter grants`"
    nowhere = f"the backup directory {tmp_path}/nowhere does not exist: create it, or set BACKUP_DIR"
    assert [told.removeprefix("unioncore-exporter: ") for told in done.stderr.splitlines()] == [
        "fact users.last_login: table users has no column last_login or last_login_at",
        f"fact members.status: members.status {unread}",
        f"fact members.classification: members.classification {unread}",
        "fact audit.time: table audit_logs has no column changed_at or created_at",
        "fact students.status: there is no table students (for its status)",
        f"fact members.deleted: members.is_deleted {unread}",
        f"collector backups_local: {nowhere}",
    ]
    failed = re.findall(r"^(\w+) +failed", done.stdout, re.MULTILINE)
    assert failed == ["audit", "users", "members", "students", "backups_local"]
    assert line(done.stdout, "unioncore_dues_payments")[1] == "7", "the others go on"


def test_a_collector_that_fails_without_missing_a_fact_is_a_problem_too(live_url: str) -> None:
    psql(
        live_url,
        "alter table dues_payments rename to d; create function boom() returns numeric language plpgsql as"
        " $$ begin raise exception 'no [bold]sums[/bold] today'; end $$;"
        "create view dues_payments as select member_id, boom() as amount_paid, amount_due, payment_date,"
        " payment_method, status, is_deleted from d",
    )
    done = check(live_url)
    assert done.exit_code == 1
    assert done.stderr == "unioncore-exporter: collector dues: no [bold]sums[/bold] today\n"
    assert line(done.stdout, "dues")[-1] == "no [bold]sums[/bold] today"


def test_what_nobody_foresaw_is_in_the_log_too_with_its_place(live_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_self: BuildSource, _now: float) -> list[Sample]:
        raise ZeroDivisionError("never thought of that")

    monkeypatch.setattr(BuildSource, "collect", broken)
    done = check(live_url)
    assert done.exit_code == 1
    log, problem = done.stderr.splitlines()
    assert "never thought of that" in log
    assert "test_check.py" in log
    assert problem == "unioncore-exporter: collector build: unexpected ZeroDivisionError: see the log"


async def test_on_a_terminal_it_draws_tables_no_wider_than_that(live_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", live_url)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    assert await dry_run(load(), terminal) == []
    lines = terminal.getvalue().splitlines()
    assert sum(told.startswith("╭") for told in lines) == 4
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://reader:a-secret@127.0.0.1:1/unioncore", r".*Connect call failed.*"),
        ("postgresql://reader:a-secret@host.invalid/unioncore", r".*"),
        ("postgresql://reader:a-secret@{place}/unioncore", r"password authentication failed for user \"reader\""),
        ("postgresql://postgres:{password}@{place}/nowhere", r"database \"nowhere\" does not exist"),
    ],
)
def test_a_database_that_is_down_is_one_line_without_the_password(
    url: str, why: str, postgres: EmbeddedPostgres
) -> None:
    done = check(url.format(place=f"{postgres.host}:{postgres.port}", password=postgres.password))
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(rf"unioncore-exporter: the database \S+ does not answer: {why}\n", done.stderr)
    assert "a-secret" not in done.stderr
    assert postgres.password not in done.stderr


def test_a_configuration_that_can_not_be_used_ends_it_with_2() -> None:
    done = check("mysql://a-secret@127.0.0.1/x")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "DATABASE_URL: must begin with postgres://" in done.stderr


def test_the_servers_time_zone_is_told_where_it_is_another_than_utc(live_url: str) -> None:
    assert line(check(live_url).stdout, "TimeZone") == ["TimeZone", "UTC"]
    psql(live_url, "select format('alter database %I set timezone to ''America/Denver''', current_database()) \\gexec")
    told = check(live_url, UNIONCORE_TIMEZONE="America/Los_Angeles").stdout
    assert line(told, "TimeZone")[1].startswith("America/Denver; naive timestamps are read as UTC")
    assert line(told, "Today")[1] == "the calendar day in America/Los_Angeles"


def test_statistics_that_are_off_are_told(live_url: str) -> None:
    psql(live_url, "select format('alter database %I set track_counts to off', current_database()) \\gexec")
    assert "track_counts is off" in line(check(live_url).stdout, "Statistics")[1]
