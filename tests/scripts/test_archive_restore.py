"""What is restored into a table that is there already is what was archived, or nothing is."""

from datetime import UTC, datetime, timedelta

import pytest

from scripts.archive.restore import Wanted
from scripts.job.exits import Exit
from tests.scripts.archiving import Archives, AuditLog

TABLE = "auditors"
LIKE = f"create table {TABLE} (like audit_logs)"


@pytest.mark.parametrize("primary_key", ["", " including indexes"])
def test_a_table_that_is_like_the_audit_log_gets_every_row(
    live_log: AuditLog, archives: Archives, primary_key: str
) -> None:
    archives.archive()
    live_log.execute(LIKE.replace(")", f"{primary_key})"))
    held = archives.rows()
    middle = sorted(held)[len(held) // 2]
    first = archives.restore(Wanted(TABLE, last=middle))
    second = archives.restore(Wanted(TABLE, first=middle + 1, append=True))
    assert (first.code, second.code) == (0, 0), first.error + second.error
    assert (first.rows or 0) + (second.rows or 0) == len(held)
    assert live_log.value(f"select count(*) from (select * from audit_logs intersect select * from {TABLE}) r") == len(
        held
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(f"alter table {TABLE} alter changed_at type timestamp(0)", id="times are rounded"),
        pytest.param(f"alter table {TABLE} alter notes type char(30)", id="texts are filled"),
        pytest.param(
            "create function other() returns trigger language plpgsql as 'begin new.notes = 1; return new; end';"
            f"create trigger t before insert on {TABLE} for each row execute function other()",
            id="a trigger changes rows",
        ),
        pytest.param(
            "create function less() returns trigger language plpgsql as"
            " 'begin if new.id % 100 = 0 then return null; end if; return new; end';"
            f"create trigger t before insert on {TABLE} for each row execute function less()",
            id="a trigger drops rows",
        ),
        pytest.param(
            "create function later() returns trigger language plpgsql as"
            f" 'begin delete from {TABLE}; return null; end';"
            f"create trigger t after insert on {TABLE} for each statement execute function later()",
            id="a trigger deletes rows",
        ),
        pytest.param(f"create rule r as on insert to {TABLE} do instead nothing", id="a rule does nothing"),
    ],
)
def test_a_table_that_does_not_keep_what_was_archived_is_refused(
    live_log: AuditLog, archives: Archives, change: str
) -> None:
    live_log.add(20, days=50, notes="trailing  ")
    archives.archive()
    live_log.execute(LIKE)
    live_log.execute(change)
    ended = archives.restore(Wanted(TABLE))
    assert ended.code == Exit.REFUSED
    assert f"{TABLE} does not hold what" in ended.error
    assert live_log.value(f"select count(*) from {TABLE}") == 0


def test_no_event_is_restored_twice_into_a_table_without_a_key(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    live_log.execute(LIKE)
    assert archives.restore(Wanted(TABLE)).code == 0
    before = live_log.value(f"select count(*) from {TABLE}")
    for wanted in (Wanted(TABLE, append=True), Wanted(TABLE, first=500, last=500, append=True)):
        ended = archives.restore(wanted)
        assert ended.code == Exit.REFUSED
        assert f"{TABLE} does not hold what" in ended.error
    assert live_log.value(f"select count(*) from {TABLE}") == before


@pytest.mark.parametrize("type_", ["enum ('READ')", "enum ('READ', 'CREATE', 'UPDATE', 'DELETE', 'BULK_READ')"])
def test_a_type_of_the_databases_own_is_restored_as_text_whatever_it_has_become(
    live_log: AuditLog, archives: Archives, type_: str
) -> None:
    live_log.execute(
        "create type deed as enum ('READ', 'BULK_READ', 'CREATE', 'UPDATE', 'DELETE');"
        "alter table audit_logs alter action type deed using action::deed, add also deed[] default '{READ}'"
    )
    archives.archive()
    live_log.execute(f"alter type deed rename to former; create type deed as {type_}")
    ended = archives.restore(Wanted(TABLE))
    assert ended.code == 0, ended.error
    assert live_log.value(
        f"select count(*) from audit_logs a join {TABLE} t on a.id = t.id and a.action::text = t.action::text"
        " and a.also::text = t.also::text"
    ) == len(archives.rows())
    # Those of a table that is there already are what that says.
    live_log.execute("create table others (like audit_logs)")
    assert archives.restore(Wanted("others")).rows == len(archives.rows())
    live_log.execute("drop table others; create table others (like audit_logs); alter table others drop also")
    live_log.execute("alter table others alter action type deed using action::text::deed, add also text")
    assert archives.restore(Wanted("others")).code == (Exit.OK if "CREATE" in type_ else Exit.FAILED)


@pytest.mark.parametrize("append", [True, False])
def test_it_is_told_if_no_event_is_within_the_time_that_is_asked_for(
    live_log: AuditLog, archives: Archives, append: bool
) -> None:
    first = live_log.add(1, days=20)
    live_log.add(1, days=19)
    archives.archive()
    if append:
        live_log.execute(LIKE)
    now = datetime.now(UTC)
    since, until = now - timedelta(days=19.6), now - timedelta(days=19.4)
    ended = archives.restore(Wanted(TABLE, first=first, since=since, until=until, append=append))
    assert (ended.code, ended.rows) == (Exit.FAILED, None)
    assert "has no such audit events" in ended.error
    assert live_log.value(f"select to_regclass('{TABLE}') is null") is not append
