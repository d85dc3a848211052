"""What is asked of Prometheus: a query, and the selectors that choose the one exporter and the one application."""

from __future__ import annotations

from dataclasses import dataclass

from grafana.fields import APPLICATION, EXPORTER, SEVERITIES

ACTIVE_STUDENTS = "=~active|enrolled|on_leave"
"""The students that count as active, in either shape of the database."""
_WATCHDOG = 'ALERTS{alertname="UnionCoreWatchdog"}'


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: In PromQL.
        legend: What its series are called; `{{label}}` is a label's value.
    """

    expr: str
    legend: str = ""


def select(metric: str, **labels: str) -> str:
    """Return a selector.

    Args:
        metric: Its name.
        **labels: What each label must be: a value, or a pattern after `=~`, `!=` or `!~`.
    """
    matchers = [
        f'{name}{value[:2]}"{value[2:]}"' if value.startswith(("=~", "!=", "!~")) else f'{name}="{value}"'
        for name, value in labels.items()
    ]
    return f"{metric}{{{','.join(matchers)}}}"


def own(metric: str, **labels: str) -> str:
    """Return the selector of the project's own metric: the series of the exporter that is chosen."""
    return select(metric, instance=f"${EXPORTER}", **labels)


def total(metric: str, *, by: str = "", offset: str = "", **labels: str) -> str:
    """Return the sum of the project's own metric: of all its series, or for each value of a label.

    Args:
        metric: Its name.
        by: The label.
        offset: How long ago, as `30d`.
        **labels: As `select` takes them.
    """
    return f"sum{f' by ({by}) ' if by else ''}({own(metric, **labels)}{f' offset {offset}' if offset else ''})"


def probe(metric: str, **labels: str) -> str:
    """Return the selector of what was measured of the application that is chosen."""
    return select(metric, instance=f"${APPLICATION}", **labels)


def firing(*, severity: str = "!=none", **labels: str) -> str:
    """Return the selector of the alerts that concern people: all that fire but the watchdog, which always does."""
    return select("ALERTS", alertstate="firing", severity=severity, **labels)


def worst(services: str, known: str, failing: str = "") -> str:
    """Return how severe the worst alert is that fires for any of these services: 4 for P1 to 1 for P4, 0 for none.

    Args:
        services: A pattern of the label `service`.
        known: What must be there for "none" to be worth anything, beside the watchdog, which shows that rules are
            evaluated at all; without both the answer is -1.
        failing: What there must not be either: as long as no alert fires because of it, the answer is -2.
    """
    ranks = []
    for rank, severity in enumerate(SEVERITIES):
        alerts = firing(severity=severity.value[0], service=f"=~{services}")
        ranks.append(f"{len(SEVERITIES) - rank} * (count({alerts}) > bool 0)")
    if failing:
        ranks.append(f"-2 * (count({failing}) > bool 0)")
    return "\nor ".join([*ranks, f"0 * count({known} and on () {_WATCHDOG})", "vector(-1)"])
