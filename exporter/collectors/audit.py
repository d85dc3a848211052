"""Audit events: exact counts that cost what is new, not what is there.

There is no index on the event time, and the table only grows. But ids are nearly in time order, and the
primary key is an index on them. So:

- a *survey* finds by bisection the id at which the widest window starts (with a margin, since ids are only
  nearly in order), and counts from there; where probes tell that they are not in order, it counts the whole table;
- then each scrape *follows*: it asks for ids above the highest seen, and for the gaps below it, where a row
  that commits late will appear (`exporter.gaps`);
- altered or removed rows, a new day, or the end of a count's life (`exporter.holding`) bring a new survey.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from exporter.collectors import audit_sql as sql
from exporter.counting import Row, Statement, Tally, known_labels, label_value
from exporter.gaps import Gap, Transactions, after
from exporter.holding import CountPolicy, Holding, Pulse, Taken
from exporter.metrics import Family, Sample
from exporter.schema import Schema

AUDIT_EVENTS = Family(
    "unioncore_audit_events",
    "Audit events in the window, exact; today is the local's calendar day.",
    ("window",),
    example='unioncore_audit_events{window="today"}',
)
AUDIT_EVENTS_TOTAL = Family(
    "unioncore_audit_events_total",
    "Audit events seen since the exporter started; those beyond 500 pairs of labels are counted as other.",
    ("table", "action"),
    kind="counter",
    example="sum by (action) (rate(unioncore_audit_events_total[5m]))",
)
AUDIT_LAST = Family(
    "unioncore_audit_last_event_timestamp_seconds",
    "Time of the newest audit event kept whose time has come, as a Unix timestamp.",
    example="time() - unioncore_audit_last_event_timestamp_seconds",
)
AUDIT_OLDEST = Family(
    "unioncore_audit_oldest_event_timestamp_seconds",
    "Time of the oldest audit event kept, as a Unix timestamp.",
    example="(time() - unioncore_audit_oldest_event_timestamp_seconds) / 86400",
)
# Ids are out of time order by up to 90 s (unioncore.md); bisection without a margin was wrong in 8 of 300.
MARGIN = timedelta(minutes=10)
MOST_PAIRS = 500
"""How many pairs of table and action are told apart: what they are called is up to who writes the event."""
OTHER = "other"
_MOST_ACTIONS = 20


class AuditCollector:
    """Follows audit_logs by its ids."""

    name = "audit"
    families = (AUDIT_EVENTS, AUDIT_EVENTS_TOTAL, AUDIT_LAST, AUDIT_OLDEST)
    tables = ("audit_logs",)

    def __init__(self, policy: CountPolicy) -> None:
        self._holding = Holding(policy, self.tables, inserts=False)
        self._last: Taken | None = None
        self._windows = Tally()
        self._seen: Counter[tuple[str, str]] = Counter()
        # The highest id seen; None: not one look was taken, so what is there is not "since the start".
        self._top: int | None = None
        self._gaps: list[Gap] = []
        self._coming: list[datetime] = []  # when an event's time comes that was written ahead of it
        self._newest: float | None = None
        self._oldest: float | None = None

    def due(self, pulse: Pulse) -> bool:
        """Look for new events unless no transaction has completed since the last look."""
        return self._last is None or self._over(pulse) or pulse.snapshot != self._last.snapshot

    def statement(self, schema: Schema, pulse: Pulse) -> Statement:
        """Survey or follow."""
        make = sql.survey if self._over(pulse) else sql.follow
        return Statement(
            make(schema, AUDIT_EVENTS),
            {
                "top": self._top,
                "firsts": [gap.first for gap in self._gaps],
                "lasts": [gap.last for gap in self._gaps],
                "margin": MARGIN,
            },
        )

    def _over(self, pulse: Pulse) -> bool:
        # What followed the survey was counted as of its own moment: a clock set back makes that the future.
        return self._holding.over(pulse) or (self._last is not None and pulse.now < self._last.pulse.now)

    def absorb(self, rows: Sequence[Row], taken: Taken) -> None:
        """Take in what is new; after a survey, replace what was counted."""
        by_metric: dict[str, list[Row]] = {}
        for row in rows:
            by_metric.setdefault(row.metric, []).append(row)
        surveyed = sql.SURVEYED in by_metric
        if surveyed:
            self._windows = Tally()
            self._windows.values.update(dict.fromkeys(known_labels(AUDIT_EVENTS, sql.WINDOWS), 0.0))
            self._newest = self._oldest = None
            self._holding.keep(taken)
            self._coming = []
        for row in by_metric.get(AUDIT_EVENTS.name, ()):
            self._windows.add(AUDIT_EVENTS, row)
            if row.at is not None:
                self._coming.append(row.at)
        for row in by_metric.get(sql.SEEN, ()):
            self._seen[self._pair(label_value(row.a), label_value(row.b))] += int(row.value or 0)
        self._newest = max(_values(by_metric, sql.NEWEST, self._newest), default=None)
        self._oldest = min(_values(by_metric, sql.OLDEST, self._oldest), default=None)
        self._advance(by_metric, taken, surveyed=surveyed)
        self._last = taken

    def _pair(self, table: str, action: str) -> tuple[str, str]:
        # What is deleted is to be told of whatever table that is.
        for pair, most in (((table, action), MOST_PAIRS), ((OTHER, action), MOST_PAIRS + _MOST_ACTIONS)):
            if pair in self._seen or len(self._seen) < most:
                return pair
        return OTHER, OTHER

    def _advance(self, by_metric: Mapping[str, Sequence[Row]], taken: Taken, *, surveyed: bool) -> None:
        highest = int(max(_values(by_metric, sql.TOP), default=0))
        # Another history: the table was emptied, the newest rows removed, or the database restored. Its next ids
        # may be ones seen, and where its gaps are must be learnt anew.
        anew = self._top is None or (surveyed and highest < self._top)
        now = taken.pulse.now
        found = [
            Gap(int(row.value or 0), int(row.a or 0), since=min(now, row.at) if anew and row.at else now)
            for row in by_metric.get(sql.GAP, ())
        ]
        self._gaps = after(
            [] if anew else self._gaps,
            filled=[int(row.value or 0) for row in by_metric.get(sql.FILLED, ())],
            found=found,
            transactions=Transactions(
                oldest=int(taken.snapshot.partition(":")[0]), next=int(max(_values(by_metric, sql.NEXT)))
            ),
            now=now,
            margin=MARGIN,
        )
        self._top = highest if anew else max(highest, self._top or 0)

    def samples(self, now: datetime) -> list[Sample]:
        """Return the counts as they stand at a moment."""
        samples = [AUDIT_EVENTS(value, *labels) for (_, labels), value in self._windows.at(now).items()]
        samples += [AUDIT_EVENTS_TOTAL(count, *labels) for labels, count in self._seen.items()]
        newest = [
            *([] if self._newest is None else [self._newest]),
            *(at.timestamp() for at in self._coming if at <= now),
        ]
        samples += [AUDIT_LAST(max(newest))] if newest else []
        samples += [AUDIT_OLDEST(self._oldest)] if self._oldest is not None else []
        return samples

    def forget(self) -> None:
        """Survey next time; what was seen since the start stays seen."""
        self._holding.drop()


def _values(by_metric: Mapping[str, Sequence[Row]], metric: str, *more: float | None) -> list[float]:
    """Return the values of a metric's rows, and more, but for nulls."""
    return [value for value in (*(row.value for row in by_metric.get(metric, ())), *more) if value is not None]
