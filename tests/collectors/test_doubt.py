"""What the statistics can't tell is not believed: changes held back, another database's, rows from elsewhere."""

import asyncio
from time import monotonic

import asyncpg
import pytest

from exporter.board import Board
from exporter.holding import CountPolicy
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql
from tests.looking import Clock, Exporter, exporting
from tests.rows import writing

# Where no count is made anew unless it must.
LARGE = CountPolicy(small_rows=-1)
SLOW = """
create table stall (seconds float);
insert into stall values (0);
create function wait() returns boolean language plpgsql as
$$ begin perform pg_sleep((select seconds from stall)); return true; end $$;
"""


def slow(*tables: str) -> str:
    """What makes reading tables take as long as `stall` says, each."""
    return SLOW + "".join(
        f"alter table {table} rename to real_{table};"
        f"create view {table} as select * from real_{table} where (select wait());"
        for table in tables
    )


async def board_of(exporter: Exporter, seconds: float) -> Board:
    """Look once, within so many seconds."""
    board = Board([collector.name for collector in exporter.reader.collectors], [])
    await exporter.reader.look(board, monotonic() + seconds)
    return board


@pytest.mark.parametrize("way", ["begin", "procedure"])
async def test_what_a_session_holds_back_in_transactions_that_follow_is_counted_at_the_second_scrape(
    live_url: str, way: str
) -> None:
    psql(
        live_url,
        "create procedure toil() language plpgsql as $$ begin loop commit; perform pg_sleep(0.2); end loop; end $$",
    )
    async with exporting(live_url, policy=LARGE) as exporter, writing(live_url) as writer:
        session = writer.connection
        await exporter.check()
        # It publishes nothing within the second that follows this.
        await session.execute("update users set updated_at = now() where id = 1")
        await session.execute("update refresh_tokens set is_revoked = true; update members set status = 'RETIRED'")
        if way == "begin":
            await session.execute("begin")
            toil = asyncio.create_task(session.execute("select 1"))
            await toil
        else:
            toil = asyncio.create_task(session.execute("call toil()"))
        for number in range(2):
            await asyncio.sleep(0.5)
            psql(live_url, f"create table other{number} ()")
            published = await exporter.look()
        assert published["unioncore_login_sessions", ("live",)] == 0
        assert published["unioncore_members", ("retired", "foreman")] > 0
        if way == "begin":
            await exporter.check()
            await session.execute("rollback")
        toil.cancel()
        await asyncio.gather(toil, return_exceptions=True)


async def test_a_copy_that_takes_the_databases_name_is_counted_anew(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("first")
    create(postgres.url("first"), "live", SCALES["small"], seed=1)
    postgres.psql("vacuum analyze", "first")
    postgres.create_database("copy", template="first")
    clock = Clock()
    try:
        async with exporting(postgres.url("first"), policy=LARGE, clock=clock) as exporter:
            postgres.psql(
                "insert into audit_logs (table_name, record_id, action) select 'members', '1', 'UPDATE'"
                " from generate_series(1, 50)",
                "first",
            )
            before = await exporter.look()
            await exporter._connection.close()
            postgres.psql("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'first'")
            postgres.psql("alter database first rename to broken; alter database copy rename to first")
            after = await exporter.look()
            assert exporter.errors == {}
        events = ("unioncore_audit_events", ("today",))
        assert before[events] - after[events] == 50
    finally:
        for name in ("first", "copy", "broken"):
            postgres.drop_database(name)


async def test_rows_that_change_without_a_transaction_are_counted_at_every_scrape(live_url: str) -> None:
    psql(
        live_url,
        "alter table members rename to every_member; alter table every_member add column until timestamptz;"
        " update every_member set until = clock_timestamp() + interval '1 s' where status = 'ACTIVE';"
        " create view members as select * from every_member where until is null or until > clock_timestamp()",
    )
    async with exporting(live_url, policy=LARGE) as exporter:
        first = await exporter.look()
        assert first["unioncore_members", ("active", "foreman")] > 0
        await asyncio.sleep(1.1)
        assert (await exporter.look())["unioncore_members", ("active", "foreman")] == 0
        assert exporter.errors == {}


async def test_a_look_that_had_hardly_any_time_left_does_not_make_the_next_one_call_the_database_down(
    live_url: str,
) -> None:
    psql(live_url, slow("users", "members", "dues_payments", "students"))
    async with exporting(live_url, policy=LARGE) as exporter:
        await exporter.look()
        psql(live_url, "update stall set seconds = 5")
        await board_of(exporter, 0.6)
        connection = await asyncpg.connect(live_url)
        async with connection.transaction():
            await connection.execute("lock table pg_enum in access exclusive mode")
            looking = asyncio.create_task(board_of(exporter, 5))
            await asyncio.sleep(0.3)
        await connection.close()
        assert (await looking).database_error is None


async def test_a_slow_collector_gets_all_the_time_that_the_others_leave_from_the_second_look_on(live_url: str) -> None:
    psql(live_url, slow("dues_payments"))
    psql(live_url, "update stall set seconds = 1.8")
    async with exporting(live_url, policy=LARGE) as exporter:
        for fails in (True, False):
            outcomes = (await board_of(exporter, 3)).outcomes()
            assert bool(outcomes["dues"].error) is fails
            assert not any(outcome.error for name, outcome in outcomes.items() if name != "dues")
