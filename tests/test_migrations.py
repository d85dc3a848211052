"""Migrations of UnionCore's database that run while the exporter does: no count is wrong meanwhile or afterwards."""

import asyncio

import asyncpg
import pytest

from exporter.board import Snapshot
from exporter.database import DatabaseLimits, Link
from exporter.holding import CountPolicy, Pulse
from exporter.schema import Schema
from scripts.embedded.postgres import EmbeddedPostgres
from tests.exporting import connected, errors, scraping
from tests.looking import exporting

LARGE, SMALL = CountPolicy(small_rows=0), CountPolicy(small_rows=10**9)
REWRITTEN = {"members": "phone", "audit_logs": "ip_address", "dues_payments": "receipt_number"}
PATIENT = DatabaseLimits(lock=5)


def counts(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    """Return what was counted, less the times."""
    return {
        (sample.family.name, *sample.labels): sample.value
        for sample in snapshot.samples()
        if sample.family.name in {"unioncore_members", "unioncore_dues_payments", "unioncore_audit_events"}
    }


async def somebody_waits(connection: asyncpg.Connection) -> None:
    for _ in range(500):
        if await connection.fetchval("select exists (select from pg_locks where not granted)"):
            return
        await asyncio.sleep(0.01)
    pytest.fail("nobody waits for a lock")


async def test_a_table_that_is_rewritten_while_a_scrape_waits_for_it_is_not_counted_as_empty(live_url: str) -> None:
    async with scraping(live_url, limits=PATIENT) as scraper, connected(live_url) as connection:
        before = counts(await scraper.scrape(10))
        assert len(before) > 5
        # A statement that the session has prepared waits elsewhere than one that it has not.
        for number in range(3):
            await connection.execute("select pg_current_xact_id()")  # so that the counts are due
            async with connection.transaction():
                for table, column in REWRITTEN.items():
                    await connection.execute(
                        f"alter table {table} alter {column} type varchar({60 + number}) using trim({column})"
                    )
                scrape = asyncio.create_task(scraper.scrape(10))
                await somebody_waits(connection)
            during = await scrape
            assert errors(during) == {}
            assert counts(during) == before


ALTERED = {
    "a label renamed": "alter type duespaymentstatus rename value 'PAID' to 'SETTLED'",
    "labels swapped": "alter type duespaymentstatus rename value 'PAID' to 'OTHER';"
    " alter type duespaymentstatus rename value 'PENDING' to 'PAID';"
    " alter type duespaymentstatus rename value 'OTHER' to 'PENDING'",
    "columns swapped": "alter table dues_payments rename column amount_due to other;"
    " alter table dues_payments rename column amount_paid to amount_due;"
    " alter table dues_payments rename column other to amount_paid",
    "rows deleted by the migration": "alter table dues_payments drop column is_deleted;"
    " alter table dues_payments add column is_deleted boolean not null default true",
    "tables swapped": "alter table dues_payments rename to other; alter table dues_adjustments rename to dues_payments;"
    " alter table other rename to dues_adjustments",
}


@pytest.mark.parametrize("policy", [LARGE, SMALL], ids=["held", "counted"])
@pytest.mark.parametrize("migration", ALTERED.values(), ids=ALTERED)
async def test_what_a_migration_makes_of_a_table_is_counted_at_the_next_scrape_as_by_a_new_exporter(
    live_url: str, migration: str, policy: CountPolicy
) -> None:
    async with exporting(live_url, policy=policy) as exporter, connected(live_url) as connection:
        await exporter.check()
        await connection.execute(migration)
        published = await exporter.look()
        async with exporting(live_url) as another:
            assert published == await another.look()
        assert exporter.errors == another.errors


@pytest.mark.parametrize("migration", ALTERED.values(), ids=ALTERED)
async def test_tables_that_are_altered_between_two_statements_of_a_scrape_fail_it_and_are_right_at_the_next(
    live_url: str, migration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with exporting(live_url, policy=SMALL) as exporter, connected(live_url) as connection:
        await exporter.check()
        resolve = exporter.reader.resolve

        async def altered(link: Link, pulse: Pulse) -> Schema:
            schema = await resolve(link, pulse)
            await connection.execute(migration)
            return schema

        await connection.execute("select pg_current_xact_id()")
        with monkeypatch.context() as patch:
            patch.setattr(exporter.reader, "resolve", altered)
            published = await exporter.look()
        assert not [key for key in published if key[0].startswith("unioncore_dues")]
        assert "altered while" in exporter.errors["dues"] or "does not exist" in exporter.errors["dues"]
        async with exporting(live_url) as another:
            assert await exporter.look() == await another.look()
        assert exporter.errors == another.errors


async def test_row_security_that_comes_while_the_exporter_runs_is_a_failure_not_a_zero(
    live_url: str, postgres: EmbeddedPostgres
) -> None:
    database = live_url.rpartition("/")[2]
    postgres.psql("create role limited login password 'limited'; grant pg_read_all_data to limited", database)
    try:
        async with exporting(postgres.url(database, user="limited", password="limited"), policy=SMALL) as exporter:
            before = await exporter.look()
            assert exporter.errors == {}
            postgres.psql("alter table members enable row level security", database)
            published = await exporter.look()
            assert "row security" in exporter.errors["members"]
            assert "unioncore_members" not in {family for family, _ in published}
            postgres.psql("alter table members disable row level security", database)
            assert await exporter.look() == before
    finally:
        postgres.psql("drop owned by limited; drop role limited", database)
