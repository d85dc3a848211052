"""When a count still holds, and when it must be made anew.

A count is taken in one snapshot of the database. It holds, exactly, for as long as

- no transaction has completed since (`pg_current_snapshot()` is the same: visibility is a function of it), or
- the table's statistics counters have not moved, where the table is too large to be counted for every
  transaction elsewhere. PostgreSQL publishes these up to some seconds after the commit (at once when the
  session last did so over a second ago, else within 10 s of its going idle; its `pgstat_report_stat`), so such
  a count can lag the commit by that much; `CountPolicy.recount_seconds` bounds what is left. A session that begins
  its next transaction before that publishes nothing until that ends. So a transaction that *lasts*, which is to say
  from one pulse to the next, casts doubt on what was counted before it, once: a count is older than it, or sees all
  that its session did before it;

and until a moment that the data itself names: a lock that expires, a session that ends, midnight.
Changes that time alone brings within the horizon are counted beforehand, as *changes* with their moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from exporter.windows import Windows


class TableState(NamedTuple):
    """What the catalog and the statistics say of a table, without reading it.

    Attributes:
        oid: Its own.
        own: Whether its rows are this database's and change by transactions only: it is no view, nor foreign.
        filenode: Its file's name: another one after TRUNCATE or a rewrite.
        plain: Whether its rows are its own: it is no view, and not partitioned or inherited.
        inserted: Rows inserted since the counters began.
        updated: Rows updated since then.
        deleted: Rows deleted since then.
        rows: How many it has, roughly.
    """

    oid: int
    own: bool
    filenode: int
    plain: bool
    inserted: int
    updated: int
    deleted: int
    rows: int


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
        epoch: Changes with every start of the server, every recovery from a crash, every reset of the counters, and
            where another database has taken the name.
        shape: Of what the tables are made (`exporter.schema.SHAPE`).
        tables: The state of each table that a collector reads.
        open: The transactions that other sessions had open: PostgreSQL's virtual ones, the session before the slash.
        lasting: Those of them whose sessions had one open at the pulse before, too.
    """

    now: datetime
    snapshot: str
    settled: bool
    statistics: bool
    epoch: str
    shape: str
    tables: Mapping[str, TableState]
    open: frozenset[str] = frozenset()
    lasting: frozenset[str] = frozenset()

    def after(self, before: "Pulse | None") -> "Pulse":
        """Return this pulse as the one that follows another: with `lasting`."""
        sessions = {_session(transaction) for transaction in before.open} if before else set()
        return replace(self, lasting=frozenset(one for one in self.open if _session(one) in sessions))

    def are_own(self, tables: Iterable[str]) -> bool:
        """Say whether all that tables show, if they are there, depends on transactions in this database only."""
        return all(state.own for state in map(self.tables.get, tables) if state)

    def state_of(self, tables: Iterable[str], *, inserts: bool = True) -> tuple[object, ...] | None:
        """Return what must be the same for tables not to have changed; None if the counters can't tell.

        They can't for views and partitioned or inherited tables, whose rows are counted elsewhere.

        Args:
            tables: The tables' names.
            inserts: Whether an insert is a change.
        """
        states = [state and state._replace(rows=0) for state in map(self.tables.get, tables)]
        if not states or not self.statistics or any(state and not state.plain for state in states):
            return None
        if not inserts:
            states = [state and state._replace(inserted=0) for state in states]
        return (self.epoch, *states)

    def rows_of(self, tables: Iterable[str]) -> int:
        """Return how many rows tables have together, roughly."""
        return sum(state.rows for state in map(self.tables.get, tables) if state)


def _session(transaction: str) -> str:
    return transaction.partition("/")[0]


@dataclass(frozen=True, slots=True)
class CountPolicy:
    """How long a count is believed.

    Attributes:
        recount_seconds: The longest that any count is kept.
        small_rows: Tables with no more rows are counted again whenever any transaction has completed; statistics are
            believed only of larger ones. Rows, not seconds: what is believed must not depend on how busy a machine is.
    """

    recount_seconds: float = 300.0
    small_rows: int = 10_000


@dataclass(frozen=True, slots=True)
class Taken:
    """The circumstances of a count.

    Attributes:
        pulse: The pulse before it.
        snapshot: The snapshot it was taken in.
        windows: The windows it used.
        horizon: Until when it knows the changes that time brings.
    """

    pulse: Pulse
    snapshot: str
    windows: Windows
    horizon: datetime


class Holding:
    """Whether a count still holds, by the module's rules."""

    def __init__(self, policy: CountPolicy, tables: tuple[str, ...], *, inserts: bool = True) -> None:
        self._policy = policy
        self._tables = tables
        self._inserts = inserts
        self._taken: Taken | None = None
        self._state: tuple[object, ...] | None = None
        self._until: datetime | None = None

    def keep(self, taken: Taken) -> None:
        """A count was taken."""
        self._taken = taken
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
        if not pulse.are_own(self._tables):
            return True
        if pulse.settled and pulse.snapshot == taken.snapshot:
            return False
        if pulse.rows_of(self._tables) <= self._policy.small_rows or not pulse.lasting <= taken.pulse.open:
            return True
        state = pulse.state_of(self._tables, inserts=self._inserts)
        return state is None or state != self._state
