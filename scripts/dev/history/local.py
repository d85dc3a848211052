"""The past of what the exporter counts in the database: members, dues, users, the audit log."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from scripts.dev.history.clock import DAYS, Clock, Days

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels, Callable[[float], float | None]]
"""A metric's name, its labels, and its value at a moment; None where there was none."""
Present = Mapping[str, Mapping[Labels, float]]
"""What is measured now: the values of each metric by their labels, which are in the order of their names."""

_MOVES: Mapping[str, Sequence[tuple[Mapping[str, str], Mapping[str, str], int]]] = {
    "unioncore_members": (
        ({}, {"status": "active", "classification": "apprentice_1st_year"}, 21),
        (
            {"status": "active", "classification": "journeyman"},
            {"status": "retired", "classification": "retiree"},
            9,
        ),
        (
            {"status": "active", "classification": "apprentice_4th_year"},
            {"status": "active", "classification": "apprentice_5th_year"},
            14,
        ),
        (
            {"status": "active", "classification": "journeyman"},
            {"status": "suspended", "classification": "journeyman"},
            6,
        ),
        (
            {"status": "inactive", "classification": "journeyman"},
            {"status": "active", "classification": "journeyman"},
            11,
        ),
        (
            {"status": "active", "classification": "journeyman"},
            {"status": "deceased", "classification": "journeyman"},
            2,
        ),
    ),
    "unioncore_students": (
        ({}, {"status": "applicant"}, 26),
        ({"status": "applicant"}, {"status": "enrolled"}, 19),
        ({"status": "enrolled"}, {"status": "completed"}, 8),
        ({"status": "enrolled"}, {"status": "on_leave"}, 9),
        ({"status": "on_leave"}, {"status": "enrolled"}, 6),
        ({"status": "enrolled"}, {"status": "dropped"}, 3),
    ),
    "unioncore_dues_payments": (
        ({}, {"status": "pending"}, 120),
        ({"status": "pending"}, {"status": "due"}, 150),
        ({"status": "due"}, {"status": "paid"}, 90),
        ({"status": "pending"}, {"status": "paid"}, 190),
        ({"status": "due"}, {"status": "partial"}, 22),
        ({"status": "due"}, {"status": "overdue"}, 48),
        ({"status": "overdue"}, {"status": "paid"}, 31),
    ),
}
"""What moved in these days: from where, to where, and how often; from nowhere what is new."""
_WINDOWS = {"today": 0, "7d": 7, "30d": 30}
_METHODS = "unioncore_dues_collected_dollars"


def labels(**named: str) -> Labels:
    """Return labels in the order of their names."""
    return tuple(sorted(named.items()))


def series(clock: Clock, present: Present) -> Iterator[Series]:
    """Yield the series of what is counted in the database; while it was down there were none.

    Args:
        clock: The past.
        present: What it leads up to.
    """
    for name, own, value in _counted(clock, present):
        yield name, own, _unless_down(clock, value)
    yield "unioncore_up", (), lambda moment: 0.0 if moment in clock.outage else 1.0


def _unless_down(clock: Clock, value: Callable[[float], float | None]) -> Callable[[float], float | None]:
    return lambda moment: None if moment in clock.outage else value(moment)


def _counted(clock: Clock, present: Present) -> Iterator[Series]:
    for metric in _MOVES:
        yield from _stock(clock, metric, present[metric])
    yield from _outstanding(clock, present)
    yield from _dues(clock, present[_METHODS])
    yield from _users(clock, present)
    yield from _audit(clock, present)


def _stock(clock: Clock, metric: str, now: Mapping[Labels, float]) -> Iterator[Series]:
    moves: dict[Labels, list[tuple[float, int]]] = {own: [] for own in now}
    for source, target, times in _MOVES[metric]:
        chance = clock.dice(metric, sorted(source.items()), sorted(target.items()))
        for _ in range(times):
            moment = clock.working_moment(chance)
            for side, step in ((source, -1), (target, 1)):
                if side:
                    moves.setdefault(labels(**side), []).append((moment, step))
    for own, value in now.items():
        yield metric, own, _steps(value, moves[own])


def _steps(now: float, moves: Sequence[tuple[float, int]]) -> Callable[[float], float]:
    """Return the value at a moment of what is `now` after these moves."""
    ordered = sorted(moves)
    moments = [moment for moment, _ in ordered]
    made = list(accumulate((step for _, step in ordered), initial=0))
    return lambda moment: max(now - made[-1] + made[bisect_right(moments, moment)], 0.0)


def _outstanding(clock: Clock, present: Present) -> Iterator[Series]:
    metric = "unioncore_dues_outstanding_dollars"
    counts = {
        own: value for _, own, value in _stock(clock, "unioncore_dues_payments", present["unioncore_dues_payments"])
    }
    for own, dollars in present[metric].items():
        yield metric, own, _proportional(counts[own], dollars, clock.now)


def _proportional(count: Callable[[float], float | None], dollars: float, now: float) -> Callable[[float], float]:
    each = dollars / (count(now) or 1)
    return lambda moment: round(each * (count(moment) or 0), 2)


def _dues(clock: Clock, now: Mapping[Labels, float]) -> Iterator[Series]:
    for method in sorted({dict(own)["method"] for own in now}):
        ends = [(days, now[labels(method=method, window=window)]) for window, days in _WINDOWS.items()]
        yield from _windows(clock, Days.leading_to(clock, method, ends), _METHODS, cents=True, method=method)


def _windows(clock: Clock, days: Days, metric: str, *, cents: bool, **more: str) -> Iterator[Series]:
    for window, back in _WINDOWS.items():
        yield metric, labels(window=window, **more), _window(clock, days, back, 0.25 if cents else 1.0)


def _window(clock: Clock, days: Days, back: int, unit: float) -> Callable[[float], float]:
    return lambda moment: unit * round(days.window(clock, moment, back) / unit)


def _users(clock: Clock, present: Present) -> Iterator[Series]:
    metric = "unioncore_users"
    users = {dict(own)["state"]: value for own, value in present[metric].items()}
    locked_at = [clock.working_moment(clock.dice("locked", index)) for index in range(40)]

    def locked(moment: float) -> float:
        if clock.now - moment < 1800:
            return users["locked"]
        return sum(moment - 1800 < at <= moment for at in locked_at) + (6.0 if moment in clock.wave else 0.0)

    yield metric, labels(state="locked"), locked
    yield metric, labels(state="inactive"), lambda _: users["inactive"]
    yield metric, labels(state="active"), lambda moment: users["active"] + users["locked"] - locked(moment)
    active = "unioncore_users_active"
    windows = {dict(own)["window"]: value for own, value in present[active].items()}
    for window, value in windows.items():
        yield active, labels(window=window), _logged_in(clock, window, value)
    sessions = "unioncore_login_sessions"
    for own, value in present[sessions].items():
        yield sessions, own, _sessions(clock, dict(own)["state"], value)


def _logged_in(clock: Clock, window: str, now: float) -> Callable[[float], float]:
    if window == "today":
        full = now / max(clock.done(clock.now), 0.02) / clock.busy(0)
        return lambda moment: round(full * clock.busy(clock.day(moment)) * clock.done(moment))
    return lambda moment: round(
        now + (clock.dice(window, clock.day(moment)).uniform(-2, 2) if clock.day(moment) else 0)
    )


def _sessions(clock: Clock, state: str, now: float) -> Callable[[float], float]:
    # Expired and revoked ones gather until the nightly clean-up.
    if state == "live":
        return lambda moment: round(now + 9 * (clock.done(moment) - clock.done(clock.now)))
    return lambda moment: round(now * (0.9 + 0.1 * ((moment - clock.now) % 86400) / 86400))


def _audit(clock: Clock, present: Present) -> Iterator[Series]:
    windows = present["unioncore_audit_events"]
    ends = [(_WINDOWS[window], windows[labels(window=window)]) for window in ("today", "7d")]
    days = Days.leading_to(clock, "audit", ends)
    for window in ("today", "7d"):
        yield "unioncore_audit_events", labels(window=window), _window(clock, days, _WINDOWS[window], 1)
    metric = "unioncore_audit_events_total"
    shares = {own: _share(**dict(own)) for own in present[metric]}
    whole = sum(shares.values())
    for own, share in shares.items():
        yield metric, own, _counter(clock, days, share / whole)
    (oldest,) = present["unioncore_audit_oldest_event_timestamp_seconds"].values()
    yield "unioncore_audit_oldest_event_timestamp_seconds", (), lambda _: oldest
    last = "unioncore_audit_last_event_timestamp_seconds"
    yield last, (), lambda moment: moment - _silence(clock, moment)
    for own, value in present["unioncore_audit_immutable"].items():
        yield "unioncore_audit_immutable", own, constant(value)
    deletes = Counter(clock.working_moment(clock.dice("delete", index)) for index in range(25))
    for table in sorted({dict(own)["table"] for own in present[metric]}):
        yield "table:unioncore_audit_events:deletes15m", labels(table=table), _burst(clock, table, deletes)


def _share(*, table: str, action: str) -> float:
    """Return how much of all events these are."""
    often = {"members": 40, "dues_payments": 25, "users": 12, "students": 10}.get(table, 3)
    return often * {"read": 60, "bulk_read": 8, "create": 10, "update": 21, "delete": 0.2}[action]


def _counter(clock: Clock, days: Days, share: float) -> Callable[[float], float]:
    most = sum(days.amounts[: DAYS + 2])
    return lambda moment: int(share * (most - days.before(clock, moment)))


def _silence(clock: Clock, moment: float) -> float:
    """Return how long before a moment the last event was: minutes by day, growing at night."""
    hour = (moment - clock.midnights[-1 - clock.day(moment)]) / 3600
    night = (hour - 18.5) % 24
    slot = int(moment // 600)
    return clock.dice("silence", slot).uniform(5, 240) if night > 12 else (night * 3600) % 5400 * 0.4 + 30


def _burst(clock: Clock, table: str, deletes: Mapping[float, int]) -> Callable[[float], float]:
    chosen = [at for at in deletes if clock.dice("table", at).choice(("dues_payments", "members", "students")) == table]
    return lambda moment: float(sum(1 + int(at) % 4 for at in chosen if moment - 900 < at <= moment))


def constant(value: float) -> Callable[[float], float]:
    """Return a value that never changes."""
    return lambda _: value
