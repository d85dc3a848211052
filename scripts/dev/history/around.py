"""The past of what is not in the database: backups, jobs, probes, PostgreSQL's statistics, and alerts that fired."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from typing import TYPE_CHECKING

from scripts.alerting.rules import alerts
from scripts.alerting.thresholds import BURNS, DAY, HOUR, THRESHOLDS
from scripts.dev.history.local import constant, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.dev.history.clock import Clock, Spell
    from scripts.dev.history.local import Present, Series

_PHASES = {"resolve": 0.0004, "connect": 0.0011, "tls": 0.0, "processing": 0.019, "transfer": 0.0003}
_WINDOWS = {
    "5m": 300,
    "30m": 1800,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "6h": 6 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "30d": 30 * DAY,
}
_PERIODS = {"backup": DAY, "cleanup": DAY, "verify": 7 * DAY, "archive": 7 * DAY}


def stores(clock: Clock, present: Present) -> Iterator[Series]:
    """Yield the backups: one each night, but for one that came late."""
    finished = present["unioncore_backup_last_success_timestamp_seconds"]
    for own, newest in finished.items():
        last = _last_nightly(clock, newest)
        yield "unioncore_backup_last_success_timestamp_seconds", own, last
        yield "unioncore_backup_age_seconds", own, _age(last)
        yield "unioncore_backup_size_bytes", own, _growing(last, present["unioncore_backup_size_bytes"][own], clock.now)
        yield "unioncore_backups", own, constant(present["unioncore_backups"][own])
    # Proven once a week, a day after it was made.
    proven = _last_nightly(clock, max(finished.values()), every=7 * DAY, after=DAY)
    yield "unioncore_backup_last_verified_timestamp_seconds", (), proven


def _last_nightly(clock: Clock, newest: float, *, every: float = DAY, after: float = 0) -> Callable[[float], float]:
    """Return when the newest backup at a moment had been made; the newest of all is just made, the others at night."""
    nights = [clock.midnight(days) + 2.2 * HOUR for days in range(70, -1, -1)]
    if every > DAY:
        nights = nights[:: -int(every // DAY)][::-1]
    late = clock.late_backup
    made = [late.end + 600 if late.begin - 4 * HOUR < night < late.begin else night for night in nights]
    made = [moment for moment in made if moment < newest]

    def last(moment: float) -> float:
        return newest if moment >= newest else made[max(bisect_right(made, moment - after) - 1, 0)]

    return last


def _age(last: Callable[[float], float]) -> Callable[[float], float]:
    return lambda moment: max(moment - last(moment), 0.0)


def _growing(last: Callable[[float], float], size: float, now: float) -> Callable[[float], float]:
    return lambda moment: round(size * (1 - 0.002 * (now - last(moment)) / DAY))


def jobs(clock: Clock, present: Present) -> Iterator[Series]:
    """Yield the jobs' results, at the same hour as the last one; the archive failed once."""
    for own, ended in present["unioncore_job_last_run_timestamp_seconds"].items():
        period = _PERIODS.get(dict(own)["job_name"], DAY)
        run = _last_run(ended, period)
        fails = clock.failed_job if dict(own)["job_name"] == "archive" else None
        yield "unioncore_job_last_run_timestamp_seconds", own, run
        yield "unioncore_job_last_success_timestamp_seconds", own, run
        yield "unioncore_job_last_run_succeeded", own, _but_for(fails)
        for name in ("duration_seconds", "items"):
            metric = f"unioncore_job_last_run_{name}"
            yield metric, own, _about(clock, metric, run, present[metric][own], ended)


def _last_run(ended: float, period: float) -> Callable[[float], float]:
    return lambda moment: ended - max(-((moment - ended) // period), 0.0) * period


def _but_for(spell: Spell | None) -> Callable[[float], float]:
    return lambda moment: 0.0 if spell and moment in spell else 1.0


def _about(
    clock: Clock, name: str, run: Callable[[float], float], value: float, ended: float
) -> Callable[[float], float]:
    def at(moment: float) -> float:
        which = run(moment)
        return value if which >= ended else round(value * clock.dice(name, round(which)).uniform(0.85, 1.15), 1)

    return at


def probes(clock: Clock, url: str) -> Iterator[Series]:
    """Yield what blackbox_exporter measured of the application, and what is recorded of it.

    Args:
        clock: The past.
        url: The application's, the `instance` of its series.
    """
    serving = labels(instance=url, job="unioncore-serving")
    for job in ("live", "serving", "ready"):
        own = labels(instance=url, job=f"unioncore-{job}")
        yield "probe_success", own, constant(1.0) if job == "live" else partial(_up, clock)
    duration = [_took(clock, moment) for moment in clock.moments]
    for name in ("probe_duration_seconds", "instance:probe_duration_seconds:avg5m"):
        yield name, serving, _at(clock, duration)
    for phase, share in _PHASES.items():
        # Whatever is slow is the application itself.
        own = labels(instance=url, job="unioncore-serving", phase=phase)
        rest = sum(_PHASES.values()) - _PHASES["processing"]
        took = [whole - rest for whole in duration] if phase == "processing" else [share] * len(duration)
        yield "instance_phase:probe_http_duration_seconds:avg5m", own, _at(clock, took)
    budget = 1 - THRESHOLDS.availability
    for window, seconds in _WINDOWS.items():
        means = [_available(clock, moment, seconds) for moment in clock.moments]
        yield f"instance:unioncore_availability:avg{window}", serving, _at(clock, means)
        if window in {window for burn in BURNS for window in (burn.long, burn.short)}:
            burns = [(1 - mean) / budget for mean in means]
            yield f"instance:unioncore_error_budget:burn{window}", serving, _at(clock, burns)
        if window == "30d":
            left = [1 - (1 - mean) / budget for mean in means]
            yield "instance:unioncore_error_budget:left30d", serving, _at(clock, left)


def _up(clock: Clock, moment: float) -> float:
    return 0.0 if moment in clock.outage else 1.0


def _at(clock: Clock, values: list[float]) -> Callable[[float], float]:
    places = {moment: index for index, moment in enumerate(clock.moments)}
    return lambda moment: values[places[moment]]


def _available(clock: Clock, moment: float, seconds: float) -> float:
    """Return which share of the seconds before a moment, as far as the past reaches, was not in the outage."""
    begin = max(moment - seconds, clock.always[0])
    lost = min(moment, clock.outage.end) - max(begin, clock.outage.begin)
    return 1 - max(lost, 0.0) / max(moment - begin, 1.0)


def _took(clock: Clock, moment: float) -> float:
    chance = clock.dice("took", moment)
    if moment in clock.outage:
        return 5.0
    if moment in clock.slow:
        return chance.uniform(2.3, 3.4)
    load = 1 + 1.5 * clock.busy(clock.day(moment)) * 4 * clock.done(moment) * (1 - clock.done(moment))
    return sum(_PHASES.values()) * load * chance.lognormvariate(0, 0.18)


def statistics(clock: Clock, instance: str, present: Present) -> Iterator[Series]:
    """Yield what postgres_exporter measured, and what is recorded of it."""
    base = {"instance": instance, "job": "postgres"}
    alone = labels(instance=instance)
    (most,) = present["pg_settings_max_connections"].values()
    usable = most - 3

    def connections(moment: float) -> float:
        busy = clock.busy(clock.day(moment)) * 4 * clock.done(moment) * (1 - clock.done(moment))
        return round(usable * (0.07 + 0.22 * busy * clock.dice("connections", moment).uniform(0.8, 1.2)))

    yield "instance:pg_connections:ratio", alone, lambda moment: connections(moment) / usable
    for state, share in {"active": 0.2, "idle": 0.7, "idle in transaction": 0.1}.items():
        own = labels(**base, datname="unioncore", state=state)
        yield "pg_stat_activity_count", own, _rounded(connections, share)
    size = sum(present["pg_database_size_bytes"].values())
    yield (
        "instance:pg_database_size_bytes:sum",
        alone,
        lambda moment: round(size * (1 - 0.0012 * (clock.now - moment) / DAY)),
    )
    yield "pg_up", labels(**base), constant(1.0)
    yield (
        "pg_stat_activity_max_tx_duration",
        labels(
            **base,
            application_name="unioncore",
            backend_type="client backend",
            datname="unioncore",
            state="active",
            usename="unioncore",
        ),
        lambda moment: clock.dice("transaction", moment).expovariate(0.4) + (90 if moment in clock.slow else 0),
    )
    for name, rate in {"xact_commit": 11.0, "xact_rollback": 0.06, "deadlocks": 0.0}.items():
        own = labels(**base, datname="unioncore")
        yield f"pg_stat_database_{name}", own, _work(clock, rate)


def _rounded(value: Callable[[float], float], share: float) -> Callable[[float], float]:
    return lambda moment: round(value(moment) * share)


def _work(clock: Clock, rate: float) -> Callable[[float], float]:
    """Return a counter that grows by day."""
    begin = clock.moments[0]
    full = [rate * DAY * 0.6 * clock.busy(day) for day in range(71)]
    return lambda moment: (
        sum(full[clock.day(moment) + 1 : 50])
        + full[clock.day(moment)] * clock.done(moment)
        + 0.4 * rate * (moment - begin)
    )


def fired(clock: Clock, url: str) -> Iterator[Series]:
    """Yield the alerts that fired."""
    spells = {
        "UnionCoreDatabaseDown": (clock.outage, {}),
        "UnionCoreBackupStale": (clock.late_backup, {}),
        "UnionCoreSlow": (clock.slow, {"instance": url}),
        "UnionCoreFailedLoginWave": (clock.wave, {}),
        "UnionCoreJobFailed": (clock.failed_job, {"job_name": "archive"}),
    }
    for alert in alerts():
        if alert.name in spells:
            spell, more = spells.pop(alert.name)
            severity, priority = alert.severity.value
            own = labels(
                alertname=alert.name,
                alertstate="firing",
                severity=severity,
                priority=priority,
                service=alert.service,
                **more,
            )
            yield "ALERTS", own, _while(spell)


def _while(spell: Spell) -> Callable[[float], float | None]:
    return lambda moment: 1.0 if moment in spell else None
