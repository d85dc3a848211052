"""What a rule is: alerts that always say everything, and recording rules."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from scripts.alerting.thresholds import DAY, HOUR, MINUTE, THRESHOLDS

DASHBOARDS = ("overview", "members", "dues", "audit", "backups", "service", "watchers")
"""The dashboards; the uid of each is `unioncore-` and its name."""
SERVICES = (
    "application",
    "database",
    "exporter",
    "backups",
    "jobs",
    "audit",
    "security",
    "dues",
    "monitoring",
)
"""The values of the label `service`: what an alert is about."""


class Severity(Enum):
    """How soon somebody must respond: the labels `severity` and `priority`."""

    CRITICAL = ("critical", "P1")
    HIGH = ("high", "P2")
    MEDIUM = ("medium", "P3")
    LOW = ("low", "P4")
    NONE = ("none", "none")
    """Nobody: the watchdog, which must reach the dead man's switch and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What differs from site to site.

    Attributes:
        runbooks: The URL of docs/runbooks, as people who are alerted can open it.
        grafana: The URL of Grafana, likewise.
        database_disk: The size of the database's disk in bytes, which no exporter sees on a managed server; None if
            it is not known, and UnionCoreDatabaseDiskFilling can't fire.
    """

    runbooks: str
    grafana: str
    database_disk: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alerting rule.

    Attributes:
        name: As CamelCase, beginning with UnionCore; its runbook is called so.
        expr: When it is true.
        wait: How long it must be true before anybody is told (`for`), as Prometheus writes it.
        keep: How long it must be false before anybody is told that it is over (`keep_firing_for`).
        severity: How soon somebody must respond.
        service: What it is about.
        summary: What is wrong, in one line. A template, like the description.
        description: What that means, with the value.
        dashboard: Where to look.
    """

    name: str
    expr: str
    wait: str
    keep: str
    severity: Severity
    service: str
    summary: str
    description: str
    dashboard: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"UnionCore([A-Z0-9][a-z0-9]*)+", self.name):
            raise ValueError(f"{self.name} is not CamelCase that begins with UnionCore")
        if self.service not in SERVICES or self.dashboard not in DASHBOARDS:
            raise ValueError(f"{self.name}: no such service or dashboard")

    def render(self, site: Site) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        severity, priority = self.severity.value
        timing = {"for": self.wait, "keep_firing_for": self.keep}
        return {
            "alert": self.name,
            "expr": self.expr,
            **{key: value for key, value in timing.items() if value != "0s"},
            "labels": {"severity": severity, "priority": priority, "service": self.service},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{site.runbooks.rstrip('/')}/{self.name}.md",
                "dashboard_url": f"{site.grafana.rstrip('/')}/d/unioncore-{self.dashboard}",
            },
        }


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule.

    Attributes:
        name: `level:metric:operation`.
        expr: Its value.
    """

    name: str
    expr: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", self.name):
            raise ValueError(f"{self.name} is not level:metric:operation")

    def render(self, site: Site) -> dict[str, Any]:  # noqa: ARG002 - an alert's parameter
        """Return the rule as Prometheus reads it."""
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in order.

    Attributes:
        name: What it is called.
        rules: What is in it.
        interval: How often, where it is not the global `evaluation_interval`.
    """

    name: str
    rules: Sequence[Alert | Record]
    interval: str | None = None

    def render(self, site: Site) -> dict[str, Any]:
        """Return the group as Prometheus reads it."""
        interval = {"interval": self.interval} if self.interval else {}
        return {"name": self.name, **interval, "rules": [rule.render(site) for rule in self.rules]}


def lines(*parts: str) -> str:
    """Return an expression of several lines."""
    return "\n".join(parts)


def seen(selector: str, span: str = "5m", *, offset: str = "") -> str:
    """Return a series as it was last measured.

    A scrape that fails, or a collector, ends every series of it at once: an alert over the bare series is false for a
    moment, and its `for` begins anew. What fails now and then would so never be told of.

    Args:
        selector: Which.
        span: How long ago that may have been: no longer than the alert's `for`, so that one bad value before a silence
            alarms nobody.
        offset: As of when, if not of now.
    """
    return f"last_over_time({selector}[{span}]{offset and f' offset {offset}'})"


def held(selector: str) -> str:
    """Return a series as it was last measured within 6 hours, where nothing measures it now.

    For facts that don't end because nobody looks: an alert over the bare series would be told of as over when the
    exporter is updated, or the database is down, and a ticket be closed on it. What another instance measures now is
    newer.

    Args:
        selector: Which: a series of which the label `instance` says only who measures it.
    """
    return f"({selector} or {seen(selector, '6h')} unless ignoring (instance) {selector})"


def flaps(selector: str) -> str:
    """Return where a 0-or-1 is 0 now and then: the share of 1.

    Not what was 0 once, as in a restart: that is told of while it lasts, or not at all.

    Args:
        selector: Which.
    """
    return f"avg_over_time({selector}[30m]) < {THRESHOLDS.flapping} and changes({selector}[30m]) > 3"


def duration(seconds: float) -> str:
    """Return a time as PromQL writes it, in the largest unit that divides it."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def words(seconds: float) -> str:
    """Return a time as people say it: in days from two days on."""
    for unit, size, least in (("day", DAY, 2), ("hour", HOUR, 1), ("minute", MINUTE, 1), ("second", 1, 1)):
        if seconds % size == 0 and seconds >= least * size:
            return f"{seconds / size:.0f} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"


def number(value: float) -> str:
    """Return a number as PromQL writes it."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"
