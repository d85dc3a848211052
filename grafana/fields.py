"""What a value means: colours, limits, mappings, and where one looks next.

A colour says the same everywhere. Red, orange, yellow and blue are the severities P1 to P4, green is well, purple is
not known; whatever has no limit has none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.models import dashboard

from scripts.alerting.model import DASHBOARDS, Severity
from scripts.alerting.rules import alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WELL, UNKNOWN, PLAIN = "green", "purple", "text"
P1, P2, P3, P4 = "red", "orange", "yellow", "blue"
DEEP, BRIGHT, PALE = "semi-dark-blue", "light-blue", "#9AA7BD"
"""What is drawn, but not judged."""
SEVERITIES: Mapping[Severity, str] = {
    Severity.CRITICAL: P1,
    Severity.HIGH: P2,
    Severity.MEDIUM: P3,
    Severity.LOW: P4,
}
_ALERTS = frozenset(alert.name for alert in alerts())
_NAMES = {
    "overview": "Overview",
    "members": "Members and students",
    "dues": "Dues",
    "audit": "Audit and security",
    "backups": "Backups and jobs",
    "service": "Service",
    "watchers": "The watchers",
}
BACKGROUND, COLOURED = {"type": "color-background", "mode": "basic"}, {"type": "color-text"}
"""The looks of a table's cell: its value's colour fills it, or colours the text."""
DOLLARS = "currency:financial:$"
"""Every dollar, where there is room; an axis has `currencyUSD`, which shortens thousands."""
RUNBOOKS, DATASOURCE, EXPORTER, APPLICATION, LOGS = "runbooks", "datasource", "exporter", "application", "logs"
"""The dashboards' variables."""


class DataLink(dashboard.DashboardLink):
    """A link on a value: the SDK's type for it is that of a dashboard's links, whose further fields Grafana refuses."""

    def to_json(self) -> dict[str, object]:
        """Return it as Grafana reads it."""
        return {"title": self.title, "url": self.url, "targetBlank": self.target_blank}


def steps(*limits: tuple[float, str], below: str = WELL) -> dashboard.ThresholdsConfig:
    """Return thresholds.

    Args:
        limits: From which value on which colour, ascending.
        below: The colour of all that is less.
    """
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[dashboard.Threshold(None, below), *(dashboard.Threshold(value, colour) for value, colour in limits)],
    )


def plain() -> dashboard.ThresholdsConfig:
    """Return the thresholds of a value that has no limit."""
    return steps(below=PLAIN)


def words(texts: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Return a mapping of values to a text and its colour."""
    results = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return [dashboard.ValueMap(options=results)]


def yes_no(yes: str, no: str, *, bad: str = P1) -> list[dashboard.ValueMapping]:
    """Return a mapping of 1 to a good text and of 0 to a bad one, in the colour of that severity."""
    return words({"1": (yes, WELL), "0": (no, bad)})


def runbook(alert: str) -> dashboard.DashboardLink:
    """Return a link to an alert's runbook.

    Raises:
        ValueError: There is no such alert.
    """
    if alert not in _ALERTS:
        raise ValueError(f"there is no alert {alert}")
    return dashboard.DashboardLink(title=f"Runbook: {alert}", url=f"${{{RUNBOOKS}}}/{alert}.md", target_blank=True)


def board(name: str) -> dashboard.DashboardLink:
    """Return a link to another dashboard, with the same data source and the same time.

    Raises:
        ValueError: There is no such dashboard.
    """
    if name not in DASHBOARDS:
        raise ValueError(f"there is no dashboard {name}")
    url = f"/d/unioncore-{name}?${{{DATASOURCE}:queryparam}}&${{__url_time_range}}"
    return dashboard.DashboardLink(title=f"Dashboard: {title(name)}", url=url)


def title(name: str) -> str:
    """Return the title of a dashboard."""
    return _NAMES[name]


def override(column: str, **properties: object) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Return how one field differs from the panel's others.

    Args:
        column: The field's name.
        **properties: As Grafana calls them; `custom_width` is `custom.width`.
    """
    return _override("byName", column, properties)


def each(**properties: object) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Return how every field differs from the panel as a whole, as from what it says when it has no field."""
    return _override("byRegexp", "/.*/", properties)


def _override(
    matcher: str, options: str, properties: Mapping[str, object]
) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(matcher, options),
        properties=[
            dashboard.DynamicConfigValue(name.replace("custom_", "custom."), value)
            for name, value in properties.items()
        ],
    )


def colour(name: str) -> dashboard.FieldColor:
    """Return a fixed colour."""
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=name)


def coloured(colours: Mapping[str, str]) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    """Return the overrides that give each of these fields its colour."""
    return [override(field, color=colour(name)) for field, name in colours.items()]


def transformation(kind: str, **options: Any) -> dashboard.DataTransformerConfig:
    """Return a transformation."""
    return dashboard.DataTransformerConfig(id_val=kind, options=options)


def organized(names: Mapping[str, str], hidden: Iterable[str] = ()) -> dashboard.DataTransformerConfig:
    """Return the transformation that names a table's columns, in this order.

    Args:
        names: What each column is called, by its field.
        hidden: The fields that are not shown.
    """
    return transformation(
        "organize",
        renameByName=dict(names),
        indexByName={field: index for index, field in enumerate(names)},
        excludeByName=dict.fromkeys(("Time", *hidden), True),
    )


def joined(label: str, names: Mapping[str, str], hidden: Iterable[str] = ()) -> list[dashboard.DataTransformerConfig]:
    """Return the transformations that make one table of several queries, a row for each value of a label."""
    return [transformation("joinByField", byField=label, mode="outer"), organized(names, hidden)]
