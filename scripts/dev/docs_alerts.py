"""The table of all alerts in the index of the runbooks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scripts.alerting.model import Severity
from scripts.alerting.rules import alerts

if TYPE_CHECKING:
    from scripts.alerting.model import Alert

_PLACE = re.compile(r"\{\{.*?\}\}")
_RESPOND = {
    Severity.CRITICAL: "15 minutes, at any hour",
    Severity.HIGH: "1 hour, at any hour",
    Severity.MEDIUM: "4 hours",
    Severity.LOW: "the next business day",
    Severity.NONE: "never told to a person",
}


def index() -> str:
    """Return a table of every alert, the most urgent first, each with a link to its page."""
    unique: dict[str, Alert] = {alert.name: alert for alert in alerts()}
    order = list(Severity)
    rows = [
        f"| [{alert.name}]({alert.name}.md) | {_priority(alert.severity)} | {_RESPOND[alert.severity]} "
        f"| {alert.service} | {_PLACE.sub('…', alert.summary)} |"
        for alert in sorted(unique.values(), key=lambda alert: (order.index(alert.severity), alert.service, alert.name))
    ]
    return "\n".join(["| alert | | respond within | about | what it says |", "| --- | --- | --- | --- | --- |", *rows])


def _priority(severity: Severity) -> str:
    priority = severity.value[1]
    return "" if priority == "none" else priority
