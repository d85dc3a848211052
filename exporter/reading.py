"""One look at the database: ask what changed, then count only that, in one snapshot.

All collectors that are due are read by a single statement, a UNION ALL of theirs, so they see one moment and
cost one round trip. If it fails, each is read by itself, so that a failure costs only its own families; one
that failed last time is read by itself, last, until it succeeds.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import TextClause, text

from exporter.board import Board, Outcome
from exporter.counting import DatabaseCollector, Row, Statement
from exporter.database import Database, DatabaseDownError, Link, StatementError
from exporter.facts import TABLES
from exporter.holding import CountPolicy, Pulse, Taken
from exporter.logs import get_logger
from exporter.metrics import CollectError, Family
from exporter.schema import SHAPE, Schema, literal
from exporter.windows import Windows

SCHEMA = "schema"
"""The name under which the reader itself stands among the collectors."""
SCHEMA_INFO = Family(
    "unioncore_schema_info",
    "The column in which each fact was found: always 1, the labels tell.",
    ("fact", "table", "column"),
    example="unioncore_schema_info unless unioncore_schema_info offset 1h",
)
_SNAPSHOT = "snapshot"
_ROUND = 0.2
"""How many seconds the way to the server and back, and what is done with the answer, may take."""


def _combine(statements: Mapping[str, Statement]) -> str:
    """Return one select of (collector, Row's columns, clock) for several statements.

    The clock is read as each row leaves its part, so the last of each says when that was finished. The first
    row tells the snapshot, which all parts share, and the shape of the tables in it.
    """
    parts = "\n union all\n".join(
        f"select {literal(name)}, part.*, clock_timestamp() from ({statement.sql}) part(metric, a, b, value, at)"
        for name, statement in statements.items()
    )
    return f"""
    select '{_SNAPSHOT}' as collector, pg_current_snapshot()::text as metric, {SHAPE} as a, null::text as b,
           null::float8 as value, null::timestamptz as at, clock_timestamp() as clock
     union all
    {parts}"""


@dataclass(frozen=True, slots=True)
class _Read:
    """What one combined statement brought."""

    snapshot: str
    shape: str
    rows: Mapping[str, Sequence[Row]]
    seconds: Mapping[str, float]


def _split(names: Iterable[str], records: Sequence[Sequence[Any]]) -> _Read:
    began = finished = records[0][6]
    rows: dict[str, list[Row]] = {name: [] for name in names}
    seconds: dict[str, float] = {}
    for collector, metric, a, b, value, at, clock in records[1:]:
        rows[collector].append(Row(metric, a, b, value, at))
        if collector not in seconds:
            began = finished
        seconds[collector] = (clock - began).total_seconds()
        finished = clock
    return _Read(records[0][1], records[0][2], rows, seconds)


class Reader:
    """Reads all database collectors."""

    def __init__(
        self,
        database: Database,
        collectors: Sequence[DatabaseCollector],
        *,
        zone: ZoneInfo,
        policy: CountPolicy,
        clock: Callable[[datetime], datetime] = lambda now: now,
    ) -> None:
        """Make a reader that has read nothing yet.

        Args:
            database: Where from.
            collectors: In the order in which they are read.
            zone: Whose calendar day is "today".
            policy: How long a count is believed.
            clock: Maps the server's clock to the moment that counts as now.
        """
        self.collectors = tuple(collectors)
        self.schema: Schema | None = None
        self._database = database
        self._zone = zone
        self._policy = policy
        self._clock = clock
        self._reflected_at = 0.0
        self._before: Pulse | None = None
        # Those whose last statement failed, and those that failed for whatever reason.
        self._apart: set[str] = set()
        self._failing: set[str] = set()
        self._texts: dict[str, TextClause] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All that it writes outcomes of."""
        return (SCHEMA, *(collector.name for collector in self.collectors))

    async def look(self, board: Board, deadline: float) -> None:
        """Look once, and write each outcome on the board as soon as it is known.

        Args:
            board: Where to.
            deadline: When it must be over, by `time.monotonic()`.
        """
        try:
            try:
                await self._look(board, deadline)
            except DatabaseDownError as error:
                if not error.stale:
                    raise
                await self._look(board, deadline)
        except (DatabaseDownError, StatementError) as error:
            board.database_down(str(error))

    async def _look(self, board: Board, deadline: float) -> None:
        async with self._database.link() as link:
            await _Look(self, link, board, deadline).run()

    async def pulse(self, link: Link) -> Pulse:
        """Ask the database what has happened; another life of the server makes everything uncertain."""
        pulse = (await link.pulse(TABLES)).after(self._before)
        if self._before is None or pulse.epoch != self._before.epoch:
            self.forget()
        self._before = pulse
        return replace(pulse, now=self._clock(pulse.now))

    async def resolve(self, link: Link, pulse: Pulse) -> Schema:
        """Return where each fact is, looked up anew if that may have changed."""
        old = self.schema
        age = time.monotonic() - self._reflected_at
        if old and old.shape == pulse.shape and not self._failing and age < self._policy.recount_seconds:
            return old
        self.schema = await link.reflect(TABLES, old)
        self._reflected_at = time.monotonic()
        if self.schema != old:
            self.forget()
        return self.schema

    def forget(self) -> None:
        """Believe nothing that was counted before."""
        for collector in self.collectors:
            collector.forget()

    def text(self, sql: str) -> TextClause:
        """Return the statement object of a text, the same one each time, so that it is compiled once."""
        if len(self._texts) > 256:
            self._texts.clear()
        statement = self._texts.get(sql)
        if statement is None:
            statement = self._texts[sql] = text(sql)
        return statement

    def windows(self, now: datetime) -> Windows:
        """Return the windows at a moment."""
        return Windows.at(now, self._zone)

    def horizon(self, now: datetime) -> datetime:
        """Return until when a count taken now must know what time will bring."""
        return now + timedelta(seconds=self._policy.recount_seconds)

    def is_apart(self, name: str) -> bool:
        """Say whether a collector's last statement failed, so that it must not spoil the others'."""
        return name in self._apart

    def failed(self, name: str, *, statement: bool) -> None:
        """Remember a failure: of the collector's statement, or before there was one."""
        self._failing.add(name)
        if statement:
            self._apart.add(name)

    def succeeded(self, name: str) -> None:
        """Forget a failure."""
        self._failing.discard(name)
        self._apart.discard(name)

    def lock_limit(self, seconds: float) -> float:
        """Return how long a statement that has so many seconds may wait for a lock."""
        return min(self._database.limits.lock, seconds / 2)

    def statement_limit(self, seconds: float, *, last: bool = False) -> float:
        """Return how long a statement may take, where so many seconds are left for all.

        Args:
            seconds: How many.
            last: Whether no other statement need come after it.
        """
        # Half of what is left, so that one that stalls leaves room for the next; in whole tenths, so that
        # the server need not be told anew each time.
        share = seconds - _ROUND if last else seconds / 2
        return min(self._database.limits.statement, max(0.1, int(share * 10) / 10))


class _Look:
    """One look: what it knows while it lasts."""

    def __init__(self, reader: Reader, link: Link, board: Board, deadline: float) -> None:
        self._reader = reader
        self._link = link
        self._board = board
        self._deadline = deadline

    async def run(self) -> None:
        reader = self._reader
        # The look before may have ended with shorter ones, which must not make this pulse fail.
        await self._limit(last=False)
        pulse = await reader.pulse(self._link)
        self._board.database_answered()
        schema = await reader.resolve(self._link, pulse)
        found = [SCHEMA_INFO(1.0, fact, column.table, column.name) for fact, column in schema.columns.items()]
        self._board.record(SCHEMA, Outcome(found))
        wanted: dict[str, DatabaseCollector] = {}
        statements: dict[str, Statement] = {}
        for collector in reader.collectors:
            if not collector.due(pulse):
                self._publish(collector, pulse, 0.0)
                continue
            try:
                statements[collector.name] = collector.statement(schema, pulse)
                wanted[collector.name] = collector
            except CollectError as error:
                reader.failed(collector.name, statement=False)
                self._board.record(collector.name, Outcome(error=str(error)))
        together = [name for name in wanted if not reader.is_apart(name)]
        alone = [name for name in wanted if reader.is_apart(name)]
        try:
            await self._read(together, wanted, statements, schema, pulse, last=len(wanted) == 1)
        except StatementError:
            alone = together + alone if len(together) > 1 else alone + together
        for name in alone:
            try:
                await self._read([name], wanted, statements, schema, pulse, last=name == alone[-1])
            except StatementError as error:
                reader.failed(name, statement=True)
                self._board.record(name, Outcome(error=str(error)))

    async def _read(
        self,
        names: Sequence[str],
        wanted: Mapping[str, DatabaseCollector],
        statements: Mapping[str, Statement],
        schema: Schema,
        pulse: Pulse,
        *,
        last: bool,
    ) -> None:
        if not names:
            return
        reader = self._reader
        await self._limit(last=last)
        windows, horizon = reader.windows(pulse.now), reader.horizon(pulse.now)
        parameters = windows.parameters(horizon) | {"tables": list(TABLES)}
        for name in names:
            parameters.update(statements[name].parameters)
        sql = _combine({name: statements[name] for name in names})
        read = _split(names, await self._link.read(reader.text(sql), parameters))
        if read.shape != schema.shape:
            # What was counted may be something else than what was meant.
            for name in names:
                reader.failed(name, statement=False)
                self._board.record(name, Outcome(error="the tables were altered while they were being counted"))
            return
        taken = Taken(pulse, read.snapshot, windows, horizon)
        for name in names:
            try:
                wanted[name].absorb(read.rows[name], taken)
                self._publish(wanted[name], pulse, read.seconds.get(name, 0.0))
            except Exception as error:  # noqa: BLE001 - the boundary: it costs only this collector's families
                get_logger("exporter").exception("a collector failed unexpectedly", collector=name)
                wanted[name].forget()
                reader.failed(name, statement=False)
                self._board.record(name, Outcome(error=f"unexpected {type(error).__name__}: see the log"))

    async def _limit(self, *, last: bool) -> None:
        seconds = self._reader.statement_limit(self._deadline - time.monotonic(), last=last)
        await self._link.limit(statement=seconds, lock=self._reader.lock_limit(seconds))

    def _publish(self, collector: DatabaseCollector, pulse: Pulse, seconds: float) -> None:
        self._reader.succeeded(collector.name)
        self._board.record(collector.name, Outcome(collector.samples(pulse.now), seconds))
