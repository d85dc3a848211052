"""An exporter in the test's own process, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import asyncpg

from exporter.board import Snapshot
from exporter.collectors import database_collectors
from exporter.collectors.source import Source
from exporter.database import Database, DatabaseLimits
from exporter.dsn import parse
from exporter.holding import CountPolicy
from exporter.reading import Reader
from exporter.scrape import Scraper

LIMITS = DatabaseLimits(connect=5.0, statement=8.0, lock=0.5)


@asynccontextmanager
async def scraping(
    url: str, *, limits: DatabaseLimits = LIMITS, sources: Sequence[Source] = (), zone: str = "UTC"
) -> AsyncIterator[Scraper]:
    """Lend a scraper, and close all that it opened."""
    policy = CountPolicy()
    database = Database(parse(url), limits)
    scraper = Scraper(Reader(database, database_collectors(policy), zone=ZoneInfo(zone), policy=policy), sources)
    try:
        yield scraper
    finally:
        await scraper.close()
        await database.close()


def errors(snapshot: Snapshot) -> dict[str, str]:
    """Return what failed, and why."""
    return {name: outcome.error for name, outcome in snapshot.outcomes.items() if outcome.error}


def families(snapshot: Snapshot) -> set[str]:
    """Return the names of the families that a snapshot has."""
    return {sample.family.name for sample in snapshot.samples()}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def locking(url: str, *tables: str) -> AsyncIterator[None]:
    """Hold tables so that nobody else can read them."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute(f"lock table {', '.join(tables)} in access exclusive mode")
        yield


_EXPORTERS = "from pg_stat_activity where application_name like 'unioncore-exporter%' and datname = current_database()"
END_EXPORTERS = f"select pg_terminate_backend(pid) {_EXPORTERS}"
"""Ends the sessions that exporters have with a database, as an administrator does."""


async def exporter_sessions(url: str) -> list[asyncpg.Record]:
    """Return the sessions that exporters have with a database."""
    async with connected(url) as connection:
        return await connection.fetch(f"select pid, state, query {_EXPORTERS}")


async def end_exporter_sessions(url: str) -> None:
    """End them."""
    async with connected(url) as connection:
        await connection.execute(END_EXPORTERS)


async def no_exporter_sessions(url: str) -> bool:
    """Say whether all of them are closed, soon."""
    for _ in range(50):
        if not await exporter_sessions(url):
            return True
        await asyncio.sleep(0.1)
    return False
