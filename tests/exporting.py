"""An exporter in the test's own process, on a real database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

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
