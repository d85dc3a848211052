"""Counting what changed: when a count still holds, and when it must be made anew.

A count is taken in one snapshot of the database. It holds, exactly, for as long as

- no transaction has completed since (`pg_current_snapshot()` is the same: visibility is a function of it), or
- the table's statistics counters have not moved, where the count is too dear to repeat for every
  transaction elsewhere. PostgreSQL publishes these up to some seconds after the commit (at once when the
  session last did so over a second ago, else within 10 s of its going idle), so such a count can lag
  the commit by that much; `CountPolicy.recount_seconds` bounds what is left;

and until a moment that the data itself names: a lock that expires, a session that ends, midnight.
Changes that time alone brings within the horizon are counted beforehand, as *changes* with their moment.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from exporter.metrics import Family, Sample
from exporter.schema import Schema
from exporter.windows import Windows

UNKNOWN = "unknown"

Key = tuple[str, tuple[str, ...]]


class Row(NamedTuple):
    """One row of a counting statement.

    Attributes:
        metric: A family's name.
        a: Its first label's value, as the database has it; null means `unknown`.
        b: Its second label's value.
        value: The count or sum; null: there is nothing to publish.
        at: Null for what holds now; else `value` is added at that moment.
    """

    metric: str
    a: str | None
    b: str | None
    value: float | None
    at: datetime | None


def label_value(text: str | None) -> str:
    """Return a database's value as a label: lower case, `unknown` for null."""
    return UNKNOWN if text is None else text.lower()


class TableState(NamedTuple):
    """What the catalog and the statistics say of a table, without reading it."""

    oid: int
    attributes: int
    filenode: int
    plain: bool
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """The database's answer to "what has happened?": one statement, no table read.

    It is taken *before* the snapshot that counts: a change that the counters show, but the snapshot does
    not yet, is then counted again next time. The other way round it would be lost.

    Attributes:
        now: The server's clock.
        snapshot: `pg_current_snapshot()`.
        settled: False on a standby, whose snapshots do not list what is in progress, and whose statistics
            do not count what is replayed: there, nothing that was counted is believed again.
        statistics: Whether the counters can be believed (`track_counts` is on, `settled`).
        epoch: Changes with every start of the server, every recovery from a crash, and every reset of the counters.
        tables: The state of each table that a collector reads.
    """

    now: datetime
    snapshot: str
    settled: bool
    statistics: bool
    epoch: str
    tables: Mapping[str, TableState]

    def state_of(self, tables: Iterable[str], *, inserts: bool = True) -> tuple[object, ...] | None:
        """Return what must be the same for tables not to have changed; None if the counters can't tell.

        They can't for views and partitioned or inherited tables, whose rows are counted elsewhere.

        Args:
            tables: The tables' names.
            inserts: Whether an insert is a change.
        """
        states = [self.tables.get(table) for table in tables]
        if not states or not self.statistics or any(state and not state.plain for state in states):
            return None
        if not inserts:
            states = [state and state._replace(inserted=0) for state in states]
        return (self.epoch, *states)


@dataclass(frozen=True, slots=True)
class CountPolicy:
    """How long a count is believed.

    Attributes:
        recount_seconds: The longest that any count is kept.
        cheap_seconds: A count that took no longer is repeated whenever any transaction has completed;
            statistics are believed only where counting is dear.
    """

    recount_seconds: float = 300.0
    cheap_seconds: float = 0.002


@dataclass(frozen=True, slots=True)
class Taken:
    """The circumstances of a count.

    Attributes:
        pulse: The pulse before it.
        snapshot: The snapshot it was taken in.
        windows: The windows it used.
        horizon: Until when it knows the changes that time brings.
        cost: Seconds that the server spent on it.
    """

    pulse: Pulse
    snapshot: str
    windows: Windows
    horizon: datetime
    cost: float


class Statement(NamedTuple):
    """A select of `Row`'s columns, and the parameters it has beyond those of the windows."""

    sql: str
    parameters: Mapping[str, object] = {}


class DatabaseCollector(Protocol):
    """A collector that reads UnionCore's database: knows a schema and rows, nothing of HTTP."""

    @property
    def name(self) -> str:
        """The value of the `collector` label."""
        ...

    @property
    def families(self) -> tuple[Family, ...]:
        """What it publishes."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose state it must know."""
        ...

    def due(self, pulse: Pulse) -> bool:
        """Say whether it must read the database for this scrape."""
        ...

    def statement(self, schema: Schema, pulse: Pulse) -> Statement:
        """Say what to read.

        Raises:
            CollectError: The schema lacks a fact.
        """
        ...

    def absorb(self, rows: Sequence[Row], taken: Taken) -> None:
        """Take in what was read."""
        ...

    def samples(self, now: datetime) -> list[Sample]:
        """Return what is known, as it stands at a moment before its horizon."""
        ...

    def forget(self) -> None:
        """Believe nothing that was counted: the connection or the schema is a new one."""
        ...


class Tally:
    """Counted values, and the changes that time will bring to them."""

    def __init__(self) -> None:
        self.values: dict[Key, float] = {}
        self._changes: list[tuple[datetime, Key, float]] = []

    def add(self, family: Family, row: Row) -> None:
        """Add a row: to the values, or as a change at its moment. Labels that differ in case are one."""
        if row.value is None:
            return
        labels = tuple(label_value(label) for label in [row.a, row.b][: len(family.labels)])
        key = (family.name, labels)
        if row.at is None:
            self.values[key] = self.values.get(key, 0.0) + row.value
        else:
            insort(self._changes, (row.at, key, row.value))

    def at(self, now: datetime) -> dict[Key, float]:
        """Return the values at a moment."""
        due = [change for change in self._changes if change[0] <= now]
        values = dict(self.values)
        for _, key, delta in due:
            values[key] = values.get(key, 0.0) + delta
        return values


class Holding:
    """Whether a count still holds, by the module's rules."""

    def __init__(self, policy: CountPolicy, tables: tuple[str, ...], *, inserts: bool = True) -> None:
        self._policy = policy
        self._tables = tables
        self._inserts = inserts
        self._taken: Taken | None = None
        self._state: tuple[object, ...] | None = None
        self._until: datetime | None = None
        # The best of the last few: a server that is busy for a moment does not make a small table a dear one.
        self._costs: deque[float] = deque(maxlen=8)

    def keep(self, taken: Taken) -> None:
        """A count was taken."""
        self._taken = taken
        self._costs.append(taken.cost)
        self._state = taken.pulse.state_of(self._tables, inserts=self._inserts)
        age = timedelta(seconds=self._policy.recount_seconds)
        self._until = min(taken.horizon, taken.windows.until, taken.pulse.now + age)

    def drop(self) -> None:
        """The count is not to be believed any more."""
        self._taken = None

    def over(self, pulse: Pulse) -> bool:
        """Say whether the count must be made anew."""
        taken, until = self._taken, self._until
        if taken is None or until is None or not taken.pulse.now <= pulse.now < until:
            return True
        if pulse.settled and pulse.snapshot == taken.snapshot:
            return False
        state = pulse.state_of(self._tables, inserts=self._inserts)
        return min(self._costs) <= self._policy.cheap_seconds or state is None or state != self._state


@dataclass(frozen=True, slots=True)
class CountSpec:
    """A domain that is counted by one statement.

    Attributes:
        name: The collector's name.
        families: What it publishes; a row's `metric` is one of their names.
        tables: What it reads. Empty: only catalogs, which no counter watches.
        statement: Makes the select of `Row`'s columns.
        known: The series that are always present, 0 when counted as none.
    """

    name: str
    families: tuple[Family, ...]
    tables: tuple[str, ...]
    statement: Callable[[Schema], str]
    known: Callable[[Schema], Iterable[Key]] = field(default=lambda _: ())


class CountCollector:
    """Runs a `CountSpec`, and keeps its count for as long as that holds."""

    def __init__(self, spec: CountSpec, policy: CountPolicy) -> None:
        self._spec = spec
        self._families = {family.name: family for family in spec.families}
        self._holding = Holding(policy, spec.tables)
        self._schema: Schema | None = None
        self._known: tuple[Key, ...] = ()
        self._sql = ""
        self._tally = Tally()

    @property
    def name(self) -> str:
        """The spec's name."""
        return self._spec.name

    @property
    def families(self) -> tuple[Family, ...]:
        """The spec's families."""
        return self._spec.families

    @property
    def tables(self) -> tuple[str, ...]:
        """The spec's tables."""
        return self._spec.tables

    def due(self, pulse: Pulse) -> bool:
        """Count again unless the count still holds."""
        return self._holding.over(pulse)

    def statement(self, schema: Schema, pulse: Pulse) -> Statement:  # noqa: ARG002 - the protocol's form
        """Make the statement for this schema."""
        if schema is not self._schema:
            self._known, self._sql = tuple(self._spec.known(schema)), self._spec.statement(schema)
            self._schema = schema
        return Statement(self._sql)

    def absorb(self, rows: Sequence[Row], taken: Taken) -> None:
        """Replace the count."""
        tally = Tally()
        tally.values.update(dict.fromkeys(self._known, 0.0))
        for row in rows:
            tally.add(self._families[row.metric], row)
        self._tally = tally
        self._holding.keep(taken)

    def samples(self, now: datetime) -> list[Sample]:
        """Return the count as it stands at a moment."""
        return [self._families[name](value, *labels) for (name, labels), value in self._tally.at(now).items()]

    def forget(self) -> None:
        """Count again next time."""
        self._holding.drop()


def known_labels(family: Family, *choices: Iterable[str]) -> list[Key]:
    """Return the keys of every combination of label values."""
    keys: list[tuple[str, ...]] = [()]
    for values in choices:
        keys = [(*key, value.lower()) for key in keys for value in values]
    return [(family.name, key) for key in keys]
