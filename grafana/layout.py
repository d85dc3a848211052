"""A dashboard as a whole: its place in Grafana, what all of them share, and where each panel stands.

The SDK gives panels no id, and its grid lets a panel begin on a line that has no room left for it; so both are done
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import common, dashboard

from grafana import fields
from grafana.fields import APPLICATION, DATASOURCE, EXPORTER, LOGS, P1, P3, RUNBOOKS
from grafana.panels import PROMETHEUS, Graph
from grafana.queries import firing, own
from scripts.alerting.rules import SITE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grafana.panels import Panel

COLUMNS = 24
TAG = "unioncore"
PROMETHEUS_UID, LOKI_UID = "unioncore-prometheus", "unioncore-loki"
_SEEN = "10 * 60"
"""How long a mark lasts, in seconds: longer than two points of 30 days are apart."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title.

    Attributes:
        title: Of the row; the first row of a dashboard needs none.
        panels: From left to right, line by line.
        collapsed: It is opened by a click; until then its panels ask nothing.
    """

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard.

    Attributes:
        name: One of `DASHBOARDS`; the uid is made of it.
        description: Which question it answers.
        since: Where its time range begins, as `now-30d`.
        refresh: How often it asks again.
        rows: What is on it.
        links: Further links at its top.
        logs: It has panels of Loki's.
    """

    name: str
    description: str
    since: str
    refresh: str
    rows: Sequence[Row]
    links: Sequence[dashboard.DashboardLink] = ()
    logs: bool = False

    def build(self) -> dashboard.Dashboard:
        """Return it as Grafana reads it."""
        panels = place(self.rows)
        return dashboard.Dashboard(
            uid=f"unioncore-{self.name}",
            title=f"UnionCore: {fields.title(self.name)}",
            description=self.description,
            tags=[TAG, self.name],
            editable=False,
            graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
            time=dashboard.DashboardDashboardTime(self.since, "now"),
            timepicker=dashboard.TimePickerConfig(),
            refresh=self.refresh,
            panels=panels,
            templating=dashboard.DashboardDashboardTemplating(list_val=_variables(logs=self.logs)),
            annotations=dashboard.AnnotationContainer(list_val=_annotations(self._marked(panels))),
            links=[*_links(), *self.links],
        )

    def _marked(self, panels: Iterable[dashboard.Panel | dashboard.RowPanel]) -> list[int]:
        """Return the ids of the panels in which backups are marked."""
        marked = {tile.title for row in self.rows for tile in row.panels if isinstance(tile, Graph) and tile.backups}
        return [panel.id_val for panel in panels if panel.title in marked and panel.id_val is not None]


def place(rows: Iterable[Row]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Number panels and rows from 1, and place them: line by line, as high as the highest of each line.

    Raises:
        ValueError: A panel is wider than the grid.
    """
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    number = y = 0
    for row in rows:
        panels: list[dashboard.Panel] = []
        if row.title:
            number += 1
            head = dashboard.RowPanel(
                title=row.title,
                id_val=number,
                collapsed=row.collapsed,
                grid_pos=dashboard.GridPos(h=1, w=COLUMNS, x=0, y=y),
                panels=panels if row.collapsed else [],
            )
            placed.append(head)
            y += 1
        x = height = 0
        for tile in row.panels:
            if tile.width > COLUMNS:
                raise ValueError(f"{tile.title} is wider than {COLUMNS} columns")
            if x + tile.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            panel = tile.build()
            panel.id_val = number
            panel.grid_pos = dashboard.GridPos(h=tile.height, w=tile.width, x=x, y=y)
            panels.append(panel)
            x, height = x + tile.width, max(height, tile.height)
        y += height
        if not (row.title and row.collapsed):
            placed += panels
    return placed


def _variables(*, logs: bool) -> list[dashboard.VariableModel]:
    variables = [
        _datasource(DATASOURCE, "Data source", "prometheus", "Prometheus", PROMETHEUS_UID),
        _instances(EXPORTER, "Exporter", 'up{job="unioncore-exporter"}'),
        _instances(APPLICATION, "Application", 'probe_success{job="unioncore-live"}'),
        dashboard.VariableModel(
            type_val=dashboard.VariableType.CONSTANT,
            name=RUNBOOKS,
            hide=dashboard.VariableHide.HIDE_VARIABLE,
            description="Where docs/runbooks is served.",
            query=SITE.runbooks,
            current=dashboard.VariableOption(selected=True, text=SITE.runbooks, value=SITE.runbooks),
            skip_url_sync=True,
        ),
    ]
    if logs:
        loki = _datasource(LOGS, "Logs", "loki", "Loki", LOKI_UID)
        loki.hide = dashboard.VariableHide.HIDE_VARIABLE
        variables.append(loki)
    return variables


def _datasource(name: str, label: str, kind: str, text: str, uid: str) -> dashboard.VariableModel:
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE,
        name=name,
        label=label,
        query=kind,
        current=dashboard.VariableOption(selected=True, text=text, value=uid),
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
    )


def _instances(name: str, label: str, series: str) -> dashboard.VariableModel:
    query = f"label_values({series},instance)"
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=name,
        label=label,
        datasource=PROMETHEUS,
        definition=query,
        query={"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_ASC,
    )


def _annotations(marked: list[int]) -> list[dashboard.AnnotationQuery]:
    newest = own("unioncore_backup_last_success_timestamp_seconds")
    seen = own("unioncore_exporter_build_info")
    found = own("unioncore_schema_info")
    scraped = own("up", job="unioncore-exporter")
    before = f"on (instance) {scraped} offset 10m == 1"
    deployed = (
        f"count by (version) ({seen} unless on (version) {seen} offset 10m and {before})\n"
        f"or count by (fact) ({found} unless on (fact, table, column) {found} offset 10m and {before})"
    )
    backup = _annotation("Backup", fields.WELL, f"time() - {newest} < {_SEEN}", "Backup finished", "{{location}}")
    backup.enable = bool(marked)
    backup.filter_val = dashboard.AnnotationPanelFilter(exclude=False, ids=marked) if marked else None
    return [
        dashboard.AnnotationQuery(
            name="Annotations & Alerts",
            built_in=1,
            datasource=common.DataSourceRef(type_val="grafana", uid="-- Grafana --"),
            enable=True,
            hide=True,
            icon_color="rgba(0, 211, 255, 1)",
            type_val="dashboard",
        ),
        _annotation("Alert P1, P2", P1, firing(priority="=~P1|P2"), "{{alertname}}", "{{service}}, {{priority}}"),
        _annotation("Alert P3, P4", P3, firing(priority="=~P3|P4"), "{{alertname}}", "{{service}}, {{priority}}"),
        backup,
        _annotation("Deployment", fields.UNKNOWN, deployed, "Deployment seen", "exporter {{version}} {{fact}}"),
    ]


def _annotation(name: str, color: str, expr: str, title: str, text: str) -> dashboard.AnnotationQuery:
    return dashboard.AnnotationQuery(
        name=name,
        datasource=PROMETHEUS,
        enable=True,
        icon_color=color,
        expr=expr,
        step="60s",
        title_format=title,
        text_format=text,
    )


def _links() -> list[dashboard.DashboardLink]:
    return [
        dashboard.DashboardLink(
            title="UnionCore dashboards",
            type_val=dashboard.DashboardLinkType.DASHBOARDS,
            tags=[TAG],
            as_dropdown=True,
            include_vars=True,
        ),
        dashboard.DashboardLink(
            title="Runbooks",
            type_val=dashboard.DashboardLinkType.LINK,
            icon="doc",
            url=f"${{{RUNBOOKS}}}",
            target_blank=True,
        ),
    ]
