"""Puts the exporter's parts together, as the configuration says."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from starlette.applications import Starlette

from exporter.collectors import database_collectors
from exporter.collectors.source import Source
from exporter.counting import CountPolicy
from exporter.database import Database, DatabaseLimits
from exporter.reading import Reader
from exporter.scrape import Scraper
from exporter.server import Exporter, application
from exporter.settings import Settings


@dataclass(frozen=True)
class Parts:
    """The exporter's long-lived parts."""

    database: Database
    reader: Reader
    scraper: Scraper

    async def close(self) -> None:
        """End what is under way, and close every connection."""
        await self.scraper.close()
        await self.database.close()


def assemble(settings: Settings) -> Parts:
    """Make the parts; nothing is connected to yet."""
    limits = DatabaseLimits(settings.connect_seconds, settings.statement_seconds, settings.lock_seconds)
    policy = CountPolicy(recount_seconds=settings.recount_seconds)
    database = Database(settings.address(), limits)
    reader = Reader(database, database_collectors(policy), zone=ZoneInfo(settings.timezone), policy=policy)
    return Parts(database, reader, Scraper(reader, sources(settings)))


def sources(settings: Settings) -> list[Source]:
    """Return the collectors that do not read the database."""
    return []


def serving(settings: Settings) -> Starlette:
    """Return the application that `serve` runs."""
    parts = assemble(settings)
    exporter = Exporter(
        parts.scraper,
        seconds=settings.scrape_seconds,
        offset=settings.scrape_offset_seconds,
        token=settings.metrics_token,
    )
    return application(exporter.routes(), parts.close)
