"""The trickle changes the database as the application would, and survives the database's absence."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import asyncpg
import pytest

from scripts.dev.generate import SCALES, create
from scripts.dev.trickle import HAPPENINGS, Happening, trickle
from scripts.embedded.postgres import EmbeddedPostgres, psql


@contextmanager
def trickling(url: str, seen: list[str], *, rate: float = 1e6) -> Iterator["asyncio.Task[None]"]:
    task = asyncio.create_task(trickle(url, seed=5, rate=rate, notice=seen.append))
    yield task
    task.cancel()


async def until(seen: list[str], number: int, task: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(30):
        while len(seen) < number and not task.done():  # noqa: ASYNC110 -- the list is no event
            await asyncio.sleep(0.01)
    if task.done():
        task.result()


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda happening: happening.name)
async def test_each_happening_changes_a_row_and_is_audited(happening: Happening, live_url: str) -> None:
    connection = await asyncpg.connect(live_url)
    newest = await connection.fetchval("select max(id) from audit_logs")
    await connection.execute(happening.sql, 0.2)
    late = await connection.fetch(
        "select abs(extract(epoch from changed_at - (now() at time zone 'UTC'))) as seconds"
        " from audit_logs where id > $1",
        newest,
    )
    assert late
    assert all(row["seconds"] < 10 for row in late)
    await connection.close()


async def test_much_happens_in_the_same_order_for_the_same_seed(live_url: str) -> None:
    first: list[str] = []
    with trickling(live_url, first) as task:
        await until(first, 300, task)
    second: list[str] = []
    with trickling(live_url, second) as task:
        await until(second, 300, task)
    assert first[:300] == second[:300]
    assert set(first) == {happening.name for happening in HAPPENINGS}
    assert int(psql(live_url, "select count(*) from audit_logs")) > SCALES["small"].audit_events + 600
    assert psql(live_url, "select count(*) > 5 from users where last_login > now() - interval '1 minute'") == "t"
    assert psql(live_url, "select count(*) > 10 from dues_payments where receipt_number like 'T%'") == "t"


async def test_a_database_that_comes_back_is_used_again() -> None:
    with EmbeddedPostgres() as server:
        server.create_database("x")
        create(server.url("x"), "live", SCALES["small"])
        seen: list[str] = []
        with trickling(server.url("x"), seen, rate=500) as task:
            await until(seen, 5, task)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.2)
            before = len(seen)
            await asyncio.to_thread(server.start)
            await until(seen, before + 5, task)


async def test_a_wrong_database_is_an_error(documented_url: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await asyncio.wait_for(trickle(documented_url, rate=1e6), 20)


async def test_it_ends_when_it_is_cancelled(live_url: str) -> None:
    seen: list[str] = []
    with trickling(live_url, seen) as task:
        await until(seen, 1, task)
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
