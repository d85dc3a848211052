"""An exporter whose every count is held against the naive one, and whose clock the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from exporter.board import Board
from exporter.collectors import database_collectors
from exporter.database import Database, DatabaseLimits
from exporter.dsn import parse
from exporter.holding import CountPolicy
from exporter.metrics import Sample
from exporter.reading import Reader
from tests.recount import Counts, Visible, fetch, recount
from tests.rows import Writer

Inserts = list[tuple[str, dict[str, Any]]]
# By how much a series has changed: its family without the prefix and its labels, and the difference as text.
Changes = dict[tuple[str, ...], str]

_IMMUTABLE = "unioncore_audit_immutable"
_TOTAL = "unioncore_audit_events_total"
_LIMITS = DatabaseLimits(connect=20.0, statement=30.0, lock=10.0)


class Clock:
    """Maps the server's clock to the exporter's: moved by `offset`, or stopped `at` a moment."""

    def __init__(self, at: datetime | None = None) -> None:
        self.at = at
        self.offset = timedelta()
        self.now = at or datetime.now(UTC)

    def __call__(self, server: datetime) -> datetime:
        self.now = self.at or server + self.offset
        return self.now


def counts_of(samples: list[Sample]) -> Counts:
    """Return what is published, dollars to the cent and moments to the microsecond."""
    counts: Counts = {}
    for family, labels, value in samples:
        digits = 2 if family.name.endswith("_dollars") else 6 if family.name.endswith("_seconds") else 0
        key, exact = (family.name, labels), Decimal(value)
        assert key not in counts, f"{key} is published twice"
        counts[key] = round(exact, digits) if digits else exact
        assert abs(counts[key] - exact) < Decimal("1e-6"), f"{key} is {value!r}"
    return counts


def difference(published: Counts, expected: Counts) -> str:
    """Return a line for each series that is not as expected."""
    return "\n".join(
        f"{key}: published {published.get(key)}, counted {expected.get(key)}"
        for key in sorted(published.keys() | expected.keys())
        if published.get(key) != expected.get(key)
    )


class Exporter:
    """The database side of the exporter: reads, and is compared."""

    def __init__(self, reader: Reader, connection: asyncpg.Connection, clock: Clock, zone: ZoneInfo) -> None:
        self.reader = reader
        self.clock = clock
        self._connection = connection
        self._zone = zone
        self._visible = Visible()
        self.errors: dict[str, str] = {}

    async def look(self) -> Counts:
        """Look once; return what is published, and keep what failed."""
        board = Board([collector.name for collector in self.reader.collectors], [])
        await self.reader.look(board, monotonic() + 60)
        assert board.database_error is None, board.database_error
        outcomes = board.outcomes()
        self.errors = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
        return counts_of([sample for outcome in outcomes.values() for sample in outcome.samples])

    async def recount(self) -> Counts:
        """Count naively, as of the exporter's last look."""
        tables = await fetch(self._connection)
        live = bool(await self._connection.fetchval("select to_regtype('memberstatus') is not null"))
        counted = recount(tables, self.clock.now, self._zone, live=live)
        counted |= self._visible.look(tables["audit_logs"])
        for operation, refused in (("update", 1), ("delete", 1), ("truncate", 0)):
            counted[_IMMUTABLE, (operation,)] = Decimal(refused)
        return counted

    async def check(self) -> Counts:
        """Look, and compare every family, every label set and every value with the naive count."""
        published = await self.look()
        assert not self.errors, self.errors
        # A counter's series begins at 0 for the kinds of event that were there before.
        compared = {key: value for key, value in published.items() if key[0] != _TOTAL or value}
        counted = await self.recount()
        assert compared == counted, difference(compared, counted)
        return published


@asynccontextmanager
async def exporting(
    url: str, *, zone: str = "UTC", policy: CountPolicy | None = None, clock: Clock | None = None
) -> AsyncIterator[Exporter]:
    """Lend an exporter; everything is closed afterwards."""
    policy, clock = policy or CountPolicy(), clock or Clock()
    database = Database(parse(url), _LIMITS)
    reader = Reader(database, database_collectors(policy), zone=ZoneInfo(zone), policy=policy, clock=clock)
    # Without a cache: a migration would make its statements invalid.
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield Exporter(reader, connection, clock, ZoneInfo(zone))
    finally:
        await connection.close()
        await database.close()


async def changed_by(url: str, writer: Writer, inserts: Inserts, *, zone: str, now: datetime) -> Changes:
    """Insert rows under a stopped clock, and return what that changes; everything is recounted before and after."""
    async with exporting(url, zone=zone, clock=Clock(now)) as exporter:
        before = await exporter.check()
        for table, values in inserts:
            await writer.insert(table, **values)
        after = await exporter.check()
    zero = Decimal(0)
    ends = (_TOTAL, "unioncore_audit_last_event_timestamp_seconds", "unioncore_audit_oldest_event_timestamp_seconds")
    return {
        (name.removeprefix("unioncore_"), *labels): str(delta)
        for name, labels in before.keys() | after.keys()
        if (delta := after.get((name, labels), zero) - before.get((name, labels), zero)) and name not in ends
    }
