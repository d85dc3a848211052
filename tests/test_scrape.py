"""What a scrape does when the database is slow, locked, closed to it, or asked by many at once."""

import asyncio
import time
from collections.abc import Sequence

from exporter.board import HEALTH, Board
from exporter.database import Database, DatabaseLimits
from exporter.dsn import parse
from exporter.metrics import Family, Sample
from scripts.embedded.postgres import EmbeddedPostgres
from tests.exporting import (
    connected,
    end_exporter_sessions,
    errors,
    exporter_sessions,
    families,
    locking,
    no_exporter_sessions,
    scraping,
)

HEALTH_NAMES = {family.name for family in HEALTH}


class Hanging:
    """A source that never answers: the first so many times, or ever."""

    name = "hanging"
    families: tuple[Family, ...] = ()

    def __init__(self, times: float = float("inf")) -> None:
        self.asked = 0
        self._times = times

    async def collect(self, now: float) -> Sequence[Sample]:  # noqa: ARG002 - Source's parameter
        """Hang, or find nothing."""
        self.asked += 1
        if self.asked <= self._times:
            await asyncio.Event().wait()
        return ()


async def test_a_scrape_of_a_healthy_database_has_no_failure(shape_url: str) -> None:
    async with scraping(shape_url) as scraper:
        snapshot = await scraper.scrape(5)
    assert snapshot.database_error is None
    assert errors(snapshot) == {}
    assert "unioncore_members" in families(snapshot)


async def test_all_connections_are_closed_with_the_exporter(live_url: str) -> None:
    async with scraping(live_url) as scraper:
        await scraper.scrape(5)
        assert 1 <= len(await exporter_sessions(live_url)) <= 2
    assert await no_exporter_sessions(live_url)


async def test_a_connection_that_nobody_waited_for_is_closed_too(live_url: str) -> None:
    database = Database(parse(live_url), DatabaseLimits())
    link = database.link()
    waiting = asyncio.ensure_future(link.__aenter__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert database._opening is not None
    await asyncio.wait({database._opening})
    assert await exporter_sessions(live_url)
    await database.close()
    assert await no_exporter_sessions(live_url)


async def test_the_session_is_read_only_limited_and_in_utc(live_url: str) -> None:
    async with connected(live_url) as connection:
        database = await connection.fetchval("select current_database()")
        await connection.execute(f"alter database {database} set timezone = 'America/Los_Angeles'")
        await connection.execute(f"alter database {database} set jit = on")
    async with scraping(live_url) as scraper:
        database_ = scraper._reader._database
        async with database_.link() as link:
            rows = (
                await link._connection.exec_driver_sql(
                    "select name, setting from pg_settings where name in ('default_transaction_read_only',"
                    " 'statement_timeout', 'lock_timeout', 'TimeZone', 'jit')"
                )
            ).all()
            await link._connection.rollback()
    assert {tuple(row) for row in rows} == {
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "8000"),
        ("lock_timeout", "500"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
    }


async def test_a_locked_table_costs_only_its_own_families_and_no_deadline(live_url: str) -> None:
    async with scraping(live_url, limits=DatabaseLimits(lock=30)) as scraper:
        async with locking(live_url, "members"):
            for _ in range(2):
                began = time.monotonic()
                snapshot = await scraper.scrape(3)
                assert time.monotonic() - began < 3.2
                assert snapshot.database_error is None
                assert set(errors(snapshot)) == {"members"}
                assert "another session holds the table" in errors(snapshot)["members"]
                assert "unioncore_members" not in families(snapshot)
                assert {"unioncore_users", "unioncore_audit_events", "unioncore_students"} <= families(snapshot)
        snapshot = await scraper.scrape(3)
        assert errors(snapshot) == {}
        assert "unioncore_members" in families(snapshot)


async def test_a_count_that_provably_holds_is_served_though_its_table_is_locked(live_url: str) -> None:
    async with scraping(live_url) as scraper:
        before = await scraper.scrape(5)
        async with locking(live_url, "members"):
            during = await scraper.scrape(5)
        assert errors(during) == {}
        assert during.outcomes["members"].samples == before.outcomes["members"].samples


async def test_with_every_table_locked_the_answer_still_comes_before_the_deadline(live_url: str) -> None:
    tables = ("users", "members", "students", "audit_logs", "dues_payments", "refresh_tokens")
    async with scraping(live_url, limits=DatabaseLimits(lock=30)) as scraper, locking(live_url, *tables):
        began = time.monotonic()
        snapshot = await scraper.scrape(2)
        assert time.monotonic() - began < 2.2
        assert snapshot.database_error is None
        assert {"users", "members", "students", "audit", "dues", "sessions"} <= set(errors(snapshot))
        assert "unioncore_audit_immutable" in families(snapshot)


async def test_a_statement_that_outlives_the_deadline_is_cancelled_on_the_server(live_url: str) -> None:
    # A view in the table's place that never ends: the catalog answers, the count does not.
    async with connected(live_url) as connection:
        await connection.execute("alter table students rename to slow_students")
        await connection.execute(
            "create view students as select s.* from slow_students s, lateral (select pg_sleep(60 + s.id * 0)) z"
        )
    async with scraping(live_url, limits=DatabaseLimits(statement=60)) as scraper:
        began = time.monotonic()
        snapshot = await scraper.scrape(2)
        assert time.monotonic() - began < 2.2
        assert "students" in errors(snapshot)
        assert "unioncore_members" in families(snapshot)
        for _ in range(40):
            busy = [row for row in await exporter_sessions(live_url) if row["state"] == "active"]
            if not busy:
                break
            await asyncio.sleep(0.1)
        assert busy == []
        assert len(await exporter_sessions(live_url)) <= 2
    assert await no_exporter_sessions(live_url)


async def test_a_hundred_scrapes_at_once_cost_the_database_one_set_of_queries(live_url: str) -> None:
    async with scraping(live_url) as scraper:
        reader = scraper._reader
        looks = 0
        original = reader.look

        async def counted(board: Board, deadline: float) -> None:
            nonlocal looks
            looks += 1
            await original(board, deadline)

        reader.look = counted  # type: ignore[method-assign]
        snapshots = await asyncio.gather(*(scraper.scrape(5) for _ in range(100)))
    assert looks == 1
    assert len({id(snapshot) for snapshot in snapshots}) == 1


async def test_the_last_to_leave_cancels_the_look_on_the_server_too(live_url: str) -> None:
    async with scraping(live_url, limits=DatabaseLimits(lock=30, statement=30)) as scraper:
        async with locking(live_url, "members"):
            waiting = [asyncio.create_task(scraper.scrape(30)) for _ in range(3)]
            await asyncio.sleep(0.5)
            assert [row["state"] for row in await exporter_sessions(live_url)] == ["active"]
            waiting[0].cancel()
            waiting[1].cancel()
            await asyncio.sleep(0.5)
            assert [row["state"] for row in await exporter_sessions(live_url)] == ["active"]
            waiting[2].cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for _ in range(40):
                if all(row["state"] != "active" for row in await exporter_sessions(live_url)):
                    break
                await asyncio.sleep(0.1)
            assert all(row["state"] != "active" for row in await exporter_sessions(live_url))
        assert errors(await scraper.scrape(5)) == {}


async def test_one_in_a_hurry_gets_what_is_there_and_costs_the_patient_nothing(live_url: str) -> None:
    limits = DatabaseLimits(lock=30, statement=30)
    async with scraping(live_url, limits=limits) as scraper:
        async with locking(live_url, "members"):
            patient = asyncio.create_task(scraper.scrape(30))
            await asyncio.sleep(0.5)
            snapshot = await scraper.scrape(0.5)
            assert snapshot.database_error is None
            assert "not reached" in errors(snapshot)["members"]
            assert scraper.latest is None
            assert not patient.done()
        whole = await patient
        assert errors(whole) == {}
        assert scraper.latest is whole


async def test_one_who_joins_a_hurried_look_goes_on_where_that_is_cut(live_url: str) -> None:
    limits = DatabaseLimits(lock=30, statement=30)
    async with scraping(live_url, limits=limits) as scraper:
        async with locking(live_url, "members"):
            hurried = asyncio.create_task(scraper.scrape(0.6))
            await asyncio.sleep(0.1)
            patient = asyncio.create_task(scraper.scrape(30))
            assert "members" in errors(await hurried)
            await asyncio.sleep(0.3)
            assert not patient.done()
        assert errors(await patient) == {}


async def test_one_who_joins_a_hurried_look_goes_on_though_that_one_can_wait_only_a_little_longer(
    live_url: str,
) -> None:
    async with scraping(live_url, sources=[Hanging(times=1)]) as scraper:
        hurried, patient = await asyncio.gather(scraper.scrape(0.1), scraper.scrape(0.9))
        assert errors(await scraper.scrape(5)) == {}
    assert "hanging" in errors(hurried)
    assert "hanging" not in errors(patient)


async def test_no_look_is_begun_that_has_less_time_than_the_one_that_failed(live_url: str) -> None:
    # It would find less: what the first look counted well, a shorter one may not have the time to count.
    source = Hanging()
    async with scraping(live_url, sources=[source]) as scraper:
        first = asyncio.create_task(scraper.scrape(3))
        await asyncio.sleep(1.5)
        second = await scraper.scrape(3)
        assert second is await first
        assert scraper.latest is second
    assert set(errors(second)) == {"hanging"}
    assert source.asked == 1


async def test_a_success_that_one_in_a_hurry_was_told_of_is_remembered(live_url: str) -> None:
    async with scraping(live_url, limits=DatabaseLimits(lock=30, statement=30)) as scraper:
        async with locking(live_url, "members"):
            patient = asyncio.create_task(scraper.scrape(20))
            await asyncio.sleep(0.5)
            told = (await scraper.scrape(0.5)).last_success
            await end_exporter_sessions(live_url)
            remembered = (await patient).last_success
        assert told
        assert told.items() <= remembered.items()
        assert errors(await scraper.scrape(5)) == {}


async def test_a_connection_killed_during_a_look_is_a_database_down_and_the_next_scrape_is_whole(live_url: str) -> None:
    async with scraping(live_url, limits=DatabaseLimits(lock=30, statement=30)) as scraper:
        async with locking(live_url, "members"):
            looking = asyncio.create_task(scraper.scrape(20))
            await asyncio.sleep(0.5)
            await end_exporter_sessions(live_url)
            snapshot = await looking
            assert snapshot.database_error is not None
            assert families(snapshot) <= HEALTH_NAMES
        assert errors(await scraper.scrape(5)) == {}


async def test_a_table_whose_rows_are_hidden_by_row_security_is_a_failure_not_a_zero(
    live_url: str, postgres: EmbeddedPostgres
) -> None:
    database = live_url.rpartition("/")[2]
    postgres.psql(
        "create role hidden login password 'hidden'; grant pg_read_all_data to hidden;"
        " alter table members enable row level security",
        database,
    )
    try:
        async with scraping(postgres.url(database, user="hidden", password="hidden")) as scraper:
            snapshot = await scraper.scrape(5)
        assert set(errors(snapshot)) == {"members"}
        assert "row security" in errors(snapshot)["members"]
        assert "unioncore_members" not in families(snapshot)
    finally:
        postgres.psql("drop role hidden", database)
