"""The past of what watches: how long scrapes, collectors and rules took in the last day, and what Alertmanager did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.alerting.rules import FILES
from scripts.alerting.thresholds import DAY
from scripts.dev.history.local import constant, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scripts.dev.history.clock import Clock
    from scripts.dev.history.local import Present, Series

_SCRAPES = {
    "unioncore-exporter": 0.021,
    "unioncore-live": 0.006,
    "unioncore-serving": 0.024,
    "unioncore-ready": 0.025,
    "postgres": 0.09,
    "blackbox": 0.004,
    "alertmanager": 0.012,
    "prometheus": 0.03,
}
"""How long a scrape takes, by job, in seconds."""
_STORE = {
    "prometheus_tsdb_head_series": 3300.0,
    "prometheus_tsdb_storage_blocks_bytes": 4.1e6,
    "prometheus_tsdb_wal_storage_size_bytes": 1.2e6,
}


def watching(clock: Clock, present: Present, instances: Mapping[str, str]) -> Iterator[Series]:
    """Yield the series of the last day.

    Args:
        clock: The past.
        present: What the exporter shows now.
        instances: The `instance` of each job's target.
    """
    for name, own, value in _watching(clock, present, instances):
        yield name, own, _lately(clock, value)


def _watching(clock: Clock, present: Present, instances: Mapping[str, str]) -> Iterator[Series]:
    own = {job: labels(instance=instances[job], job=job) for job in _SCRAPES}
    for job, seconds in _SCRAPES.items():
        yield "scrape_duration_seconds", own[job], _about(clock, job, seconds)
    for name, size in _STORE.items():
        yield name, own["prometheus"], _about(clock, name, size, spread=0.02)
    for groups in FILES.values():
        for group in groups:
            rules = labels(**dict(own["prometheus"]), rule_group=f"rules.yml;{group.name}")
            yield "prometheus_rule_group_last_duration_seconds", rules, _about(clock, group.name, 0.004)
    for collector, seconds in present["unioncore_collector_duration_seconds"].items():
        named = (*own["unioncore-exporter"], *collector)
        yield "unioncore_collector_duration_seconds", named, _about(clock, repr(collector), max(seconds, 2e-4))
    for state in ("active", "suppressed", "unprocessed"):
        named = labels(**dict(own["alertmanager"]), state=state)
        # The watchdog is always there.
        yield "alertmanager_alerts", named, constant(1.0 if state == "active" else 0.0)


def _about(clock: Clock, name: str, value: float, *, spread: float = 0.25) -> Callable[[float], float]:
    return lambda moment: value * clock.dice(name, moment).lognormvariate(0, spread)


def _lately(clock: Clock, value: Callable[[float], float | None]) -> Callable[[float], float | None]:
    return lambda moment: value(moment) if clock.now - moment < DAY else None
