"""Puts the exporter's parts together, as the configuration says."""

from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from starlette.applications import Starlette

from exporter.collectors import database_collectors
from exporter.collectors.backups import BackupsSource
from exporter.collectors.build import BuildSource
from exporter.collectors.jobs import JobsSource
from exporter.collectors.source import Source
from exporter.database import Database, DatabaseLimits
from exporter.holding import CountPolicy
from exporter.jobs import JobStore
from exporter.push import push_routes
from exporter.reading import Reader
from exporter.scrape import Scraper
from exporter.server import Exporter, application
from exporter.settings import Settings
from exporter.storage import LocalStore


@dataclass(frozen=True)
class Parts:
    """The exporter's long-lived parts."""

    database: Database
    reader: Reader
    scraper: Scraper
    jobs: JobStore

    async def close(self) -> None:
        """End what is under way, and close every connection."""
        await self.scraper.close()
        await self.database.close()
        self.jobs.close()


def assemble(settings: Settings, jobs: JobStore | None = None) -> Parts:
    """Make the parts; nothing is connected to yet.

    Args:
        settings: The configuration.
        jobs: Where pushed results are held; made anew if not given.
    """
    jobs = jobs or JobStore(settings.state_directory)
    limits = DatabaseLimits(settings.connect_seconds, settings.statement_seconds, settings.lock_seconds)
    policy = CountPolicy(recount_seconds=settings.recount_seconds)
    database = Database(settings.address(), limits)
    reader = Reader(database, database_collectors(policy), zone=ZoneInfo(settings.timezone), policy=policy)
    return Parts(database, reader, Scraper(reader, _sources(settings, jobs)), jobs)


def _sources(settings: Settings, jobs: JobStore) -> list[Source]:
    source = partial(BackupsSource, database=settings.address().database)
    local = source(LocalStore(settings.backup_directory), beside=None if settings.s3_bucket else ())
    found: list[Source] = [BuildSource(), JobsSource(jobs), local]
    if settings.s3_bucket:
        # boto3 takes 30 MB of memory: only where there is a bucket.
        from exporter.s3 import S3Store, s3_client  # noqa: PLC0415

        client = partial(s3_client, path_style=settings.s3_path_style, timeout=settings.s3_seconds)
        store = S3Store(settings.s3_bucket, settings.s3_prefix, client=client)
        found.append(source(store, time_limit=settings.s3_seconds, refresh=settings.s3_refresh_seconds, beside=[local]))
    return found


def serving(settings: Settings) -> Starlette:
    """Return the application that `serve` runs."""
    jobs = JobStore(settings.state_directory)
    parts = assemble(settings, jobs)
    exporter = Exporter(
        parts.scraper,
        seconds=settings.scrape_seconds,
        offset=settings.scrape_offset_seconds,
        token=settings.metrics_token,
    )
    token = settings.push_token.get_secret_value() if settings.push_token else None
    pushes = push_routes(jobs, token=token, loopback=settings.is_loopback())
    return application([*exporter.routes(), *pushes], parts.close)
