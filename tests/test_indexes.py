"""The indexes that `indexes` offers, built on a real server."""

import re

import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.collectors import members
from exporter.database import Database, DatabaseLimits
from exporter.dsn import parse
from exporter.facts import TABLES
from exporter.indexes import INDEXES, advise
from scripts.embedded.postgres import EmbeddedPostgres, psql

NOTHING = "-- Nothing to add."


async def advice(url: str) -> str:
    database = Database(parse(url), DatabaseLimits())
    try:
        return await advise(database)
    finally:
        await database.close()


async def test_what_is_offered_is_built_once_and_used_by_the_exporters_own_statement(shape_url: str) -> None:
    offered = await advice(shape_url)
    assert offered.count("create index concurrently if not exists") == len(INDEXES)
    psql(shape_url, offered)
    psql(shape_url, offered)
    assert await advice(shape_url) == NOTHING
    psql(shape_url, "vacuum analyze members")
    database = Database(parse(shape_url), DatabaseLimits())
    async with database.link() as link:
        statement = members.SPEC.statement(await link.reflect(TABLES))
    await database.close()
    # So small a table is cheaper to read whole; that is not what is asked here.
    plan = psql(shape_url, f"set enable_seqscan = off; explain {statement}")
    assert "Index Only Scan using ix_members_exporter" in plan


@pytest.mark.parametrize(
    ("ddl", "enough"),
    [
        ("create index mine on members (status, classification) where is_deleted is not true", True),
        ("create index mine on members (status, classification, is_deleted)", True),
        ("create index mine on members (classification) include (status, is_deleted)", True),
        ("create index mine on members (status)", False),
        ("create index mine on members (status, classification)", False),
        ("create index mine on members (status, classification) where is_deleted", False),
        ("create index mine on members (status, classification, is_deleted) where hire_date is null", False),
    ],
)
async def test_an_index_that_serves_as_well_is_enough_whatever_its_name(live_url: str, ddl: str, enough: bool) -> None:
    psql(live_url, ddl)
    assert (await advice(live_url) == NOTHING) == enough


async def test_an_index_that_a_failed_attempt_left_invalid_is_made_anew(live_url: str) -> None:
    offered = await advice(live_url)
    psql(live_url, offered)
    psql(live_url, "update pg_index set indisvalid = false where indexrelid = 'ix_members_exporter'::regclass")
    again = await advice(live_url)
    assert re.search(r'^drop index concurrently if exists "public"."ix_members_exporter";$', again, re.MULTILINE)
    psql(live_url, again)
    assert await advice(live_url) == NOTHING


async def test_a_fact_that_is_missing_is_said_and_nothing_is_offered_for_it(live_url: str) -> None:
    psql(live_url, "alter table members rename classification to kind")
    said = await advice(live_url)
    assert "table members has no column classification" in said
    assert "create index" not in said


async def test_a_view_is_offered_no_index(live_url: str) -> None:
    psql(live_url, "alter table members rename to members_base; create view members as select * from members_base")
    assert await advice(live_url) == NOTHING


def test_the_command_prints_sql_that_psql_runs(live_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", live_url)
    for last in (False, True):
        done = CliRunner().invoke(main, ["indexes"])
        assert (done.exit_code, done.stderr) == (0, "")
        assert (done.stdout == f"{NOTHING}\n") == last
        psql(live_url, done.stdout)


def test_a_database_that_is_down_is_one_line(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url(password="a-secret"))
    done = CliRunner().invoke(main, ["indexes"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(
        r"unioncore-exporter: the database \S+ does not answer: password authentication .*\n", done.stderr
    )
    assert "a-secret" not in done.stderr
