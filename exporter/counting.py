"""Counting what changed: what a domain's count is made of, and the collector that keeps it while it holds.

A count is taken in one snapshot of the database, and kept by the rules of `exporter.holding`. Changes that time alone
brings within its horizon (a lock that expires, a session that ends) are counted beforehand, with their moment.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from exporter.holding import CountPolicy, Holding, Pulse, Taken
from exporter.metrics import Family, Sample
from exporter.schema import Schema

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
