"""The dashboards keep the rules of the house, and those of Grafana's dashboard-linter."""

import json
import re
from collections import Counter
from itertools import combinations

import pytest
from promql_parser import AggregateExpr, Call, MatrixSelector, SubqueryExpr, VectorSelector

from grafana import fields, generate
from grafana.layout import COLUMNS, Row, place
from grafana.panels import Stat
from scripts.alerting import rules
from scripts.alerting.model import DASHBOARDS as NAMES
from scripts.alerting.thresholds import THRESHOLDS as LIMITS
from tests.grafana.shipped import ASKING, DASHBOARDS, DIRECTORY, PANELS, REPOSITORY, Panel, expressions, nodes

# Frozen: alerts, bookmarks and other dashboards lead to them.
UIDS = {
    "unioncore-overview",
    "unioncore-members",
    "unioncore-dues",
    "unioncore-audit",
    "unioncore-backups",
    "unioncore-service",
    "unioncore-watchers",
}
# Those that Grafana 12 and 13 have, and that no newer kind replaces.
MODERN = {"stat", "bargauge", "timeseries", "table", "text", "state-timeline", "logs"}
# A window of its own is said in the title or in the description.
SAID = {
    "15m": r"15 minutes",
    "5m": r"5 minutes",
    "1h": r"\bhour\b",
    "1d": r"24 hours",
    "3d": r"3 days",
}
UNITS = {
    "string",
    "none",
    "locale",
    "s",
    "bytes",
    "ops",
    "percentunit",
    "dtdurations",
    "suffix: h",
    "currencyUSD",
    fields.DOLLARS,
}
# What a description tells one to do.
DOING = re.compile(r"\b(open|follow|look|ask|tell|find out|put off|renew|revoke|see|begin|deserves)\b", re.IGNORECASE)


def on_each(sequence: list[Panel]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("panel", sequence, ids=lambda panel: panel.place)


def test_the_committed_dashboards_are_those_that_the_code_makes() -> None:
    rendered = generate.render()
    assert {path.name for path in DIRECTORY.iterdir()} == set(rendered)
    for name, text in rendered.items():
        assert (DIRECTORY / name).read_text(encoding="utf-8") == text, f"{name}: run `make dashboards`"


def test_uids_and_titles_are_unique_and_frozen() -> None:
    assert tuple(sorted(DASHBOARDS)) == tuple(sorted(NAMES))
    assert {dashboard["uid"] for dashboard in DASHBOARDS.values()} == UIDS
    for name, dashboard in DASHBOARDS.items():
        assert dashboard["uid"] == f"unioncore-{name}"
    titles = [dashboard["title"] for dashboard in DASHBOARDS.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_is_complete(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["schemaVersion"] == 42
    assert dashboard["editable"] is False
    assert dashboard["title"].startswith("UnionCore: ")
    assert dashboard["description"].endswith(".")
    assert "unioncore" in dashboard["tags"]
    assert re.fullmatch(r"now-\d+[hd]", dashboard["time"]["from"])
    assert dashboard["time"]["to"] == "now"
    assert re.fullmatch(r"\d+[sm]", dashboard["refresh"])
    assert "id" not in dashboard
    (others,) = [link for link in dashboard["links"] if link["type"] == "dashboards"]
    assert others["tags"] == ["unioncore"]
    assert others["includeVars"]
    assert "Runbooks" in {link["title"] for link in dashboard["links"]}
    marks = {mark["name"]: mark for mark in dashboard["annotations"]["list"]}
    assert set(marks) == {"Annotations & Alerts", "Alert P1, P2", "Alert P3, P4", "Backup", "Deployment"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_data_source_is_a_variable_whose_value_is_what_is_provisioned(name: str) -> None:
    variables = {variable["name"]: variable for variable in DASHBOARDS[name]["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["datasource"]["current"]["value"] == "unioncore-prometheus"
    assert variables["exporter"]["datasource"]["uid"] == "${datasource}"
    assert variables["runbooks"]["query"] == rules.SITE.runbooks
    text = (DIRECTORY / f"{name}.json").read_text(encoding="utf-8")
    for foreign in ("__inputs", "${DS_", "__requires", "127.0.0.1", "localhost"):
        assert foreign not in text
    # Out of sight, in a menu: the SDK's own choice.
    assert "inControlsMenu" not in text


@on_each(PANELS)
def test_every_panel_says_what_it_shows_and_what_to_do(panel: Panel) -> None:
    assert 3 <= len(panel.title) <= 42
    assert not panel.title.endswith(".")
    description = panel.json["description"]
    assert description.endswith(".")
    assert len(description) >= 60
    assert DOING.search(description), description
    assert panel.json["links"], "leads nowhere"
    assert panel.defaults["noValue"]
    assert panel.kind in MODERN


@on_each(ASKING)
def test_every_panel_with_values_has_a_unit_and_a_templated_data_source(panel: Panel) -> None:
    assert panel.defaults["unit"] in UNITS
    templated = {"type": "prometheus", "uid": "${datasource}"}
    assert panel.json["datasource"] == templated
    assert panel.targets
    for target in panel.targets:
        assert target["datasource"] == templated
        assert target["expr"].strip()
        # The present, or the whole range: never the last of a range, which may be a month old.
        over_time = panel.kind in ("timeseries", "state-timeline")
        assert (target["instant"], target["range"]) == (not over_time, over_time)


@on_each([panel for panel in ASKING if panel.kind == "table"])
def test_an_empty_cell_does_not_say_what_an_empty_table_says(panel: Panel) -> None:
    first, *_ = panel.json["fieldConfig"]["overrides"]
    assert first["matcher"] == {"id": "byRegexp", "options": "/.*/"}
    assert first["properties"] == [{"id": "noValue", "value": "-"}]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_ids_are_unique_and_nothing_overlaps(name: str) -> None:
    dashboard = DASHBOARDS[name]
    everything = [*dashboard["panels"], *(panel for row in dashboard["panels"] for panel in row.get("panels", []))]
    ids = [panel["id"] for panel in everything]
    assert min(ids) >= 1
    assert len(set(ids)) == len(ids)
    titles = Counter((panel["type"], panel["title"]) for panel in everything)
    assert max(titles.values()) == 1
    for panel in (panel.json for panel in PANELS if panel.board == name):
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(letters)) == len(letters)
    for one in everything:
        assert one["gridPos"]["x"] + one["gridPos"]["w"] <= COLUMNS
    for a, b in combinations((panel["gridPos"] for panel in dashboard["panels"]), 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


@pytest.mark.parametrize(("where", "expr"), expressions(), ids=[where for where, _ in expressions()])
def test_counters_are_counted_over_an_interval_that_fits(where: str, expr: str) -> None:
    for node, around in nodes(expr):
        if isinstance(node, VectorSelector):
            counter = str(node.name).endswith("_total") or str(node.name).startswith("pg_stat_database_")
            functions = [outer.func.name for outer in around if isinstance(outer, Call)]
            if counter:
                assert functions[-1:] in (["rate"], ["increase"]), f"{node.name} is a counter"
                assert isinstance(around[-1], MatrixSelector)
            else:
                assert not {"rate", "increase", "irate"} & set(functions), f"{node.name} is no counter"
        if isinstance(node, Call) and node.func.name == "irate":
            pytest.fail("irate looks at two samples only")
        if isinstance(node, AggregateExpr):
            assert not isinstance(node.expr, MatrixSelector)
    panel = next((panel for panel in PANELS if where.startswith(f"{panel.place} ")), None)
    for window in re.findall(r"\[([^\]]+)\]", expr):
        if window not in ("$__rate_interval", "$__interval"):
            assert panel, where
            said = f"{panel.title} {panel.json['description']}"
            assert re.search(SAID[window.partition(":")[0]], said), f"{window} is not what it says: {said}"
        if window == "$__interval":
            assert "max_over_time" in expr


@on_each([panel for panel in ASKING if "below 0" in panel.json["description"]])
def test_what_can_be_below_0_is_drawn_below_0(panel: Panel) -> None:
    assert "min" not in panel.defaults


@on_each([panel for panel in ASKING if " in an hour" in panel.json["description"]])
def test_what_is_said_of_an_hour_is_of_an_hour_however_far_apart_the_points_are(panel: Panel) -> None:
    for target in panel.targets:
        assert re.fullmatch(r"3600 \* sum by \(\w+\) \(rate\(.+\[\$__rate_interval\]\)\)", target["expr"])


def test_a_subquery_has_a_step_of_its_own() -> None:
    for where, expr in expressions():
        for node, _ in nodes(expr):
            if isinstance(node, SubqueryExpr):
                assert node.step, where


def links() -> list[tuple[str, str]]:
    found = []
    for panel in PANELS:
        values = [
            link["url"]
            for override in panel.json["fieldConfig"]["overrides"]
            for one in override["properties"]
            if one["id"] == "links"
            for link in one["value"]
        ]
        written = re.findall(r"\]\(([^)]+)\)", panel.json["options"].get("content", ""))
        found += [(panel.place, url) for url in (*(link["url"] for link in panel.json["links"]), *values, *written)]
    return found


def test_every_link_leads_to_a_runbook_a_dashboard_or_the_application() -> None:
    alerts = {alert.name for alert in rules.alerts()}
    applications = {"/admin/audit-logs", "/reports", "/health/ready"}
    for place_, url in links():
        if board := re.fullmatch(r"/d/([a-z-]+)\?\$\{datasource:queryparam\}&\$\{__url_time_range\}", url):
            assert board[1] in UIDS, place_
        elif page := re.fullmatch(r"\$\{runbooks\}/(\w+)\.md", url):
            assert page[1] in alerts, place_
            assert (REPOSITORY / "docs" / "runbooks" / f"{page[1]}.md").is_file()
        elif page := re.fullmatch(r"\$\{application\}(/.*)", url):
            assert page[1] in applications
        else:
            assert url in ("${runbooks}", "${runbooks}/${__value.raw}.md"), place_


def test_the_overview_has_the_quick_actions_of_the_page_that_it_replaces() -> None:
    urls = {link["title"]: link.get("url") for link in DASHBOARDS["overview"]["links"]}
    assert urls["Audit logs"] == "${application}/admin/audit-logs"
    assert urls["Reports"] == "${application}/reports"
    assert urls["Health check"] == "${application}/health/ready"
    (application,) = [v for v in DASHBOARDS["overview"]["templating"]["list"] if v["name"] == "application"]
    # The base URL is the probe's label.
    assert application["query"]["query"] == 'label_values(probe_success{job="unioncore-live"},instance)'


# By hand: which alert's limit a panel shows, in its own unit.
DRAWN = {
    ("overview", "Newest backup", "stat"): [LIMITS.backup_stale, LIMITS.backup_very_stale],
    ("overview", "Age of the newest backup", "timeseries"): [26, 50],
    ("overview", "Availability, 30 days", "stat"): [0.999],
    ("overview", "Time to answer", "timeseries"): [LIMITS.slow],
    ("backups", "Newest off site", "stat"): [26 * 3600],
    ("backups", "Proven by a restore", "stat"): [8 * 86400],
    ("backups", "Size against the week", "stat"): [0.5],
    ("audit", "Locked accounts", "stat"): [LIMITS.locked_accounts],
    ("audit", "Newly locked", "stat"): [LIMITS.lock_wave],
    ("audit", "Deletions within 15 minutes", "timeseries"): [LIMITS.audit_deletes],
    ("audit", "Last archived", "stat"): [LIMITS.archive_overdue],
    ("service", "Certificate", "stat"): [3 * 86400, 14 * 86400],
    ("service", "Connections in use", "stat"): [0.8],
    ("service", "Longest transaction", "timeseries"): [1800],
    ("service", "How fast the budget burns", "timeseries"): [1, 3, 6, 14.4],
    ("watchers", "Failed notifications", "stat"): [0.01, 0.5],
}


@pytest.mark.parametrize(("key", "limits"), DRAWN.items(), ids=str)
def test_limits_are_those_of_the_alerts(key: tuple[str, str, str], limits: list[float]) -> None:
    (panel,) = [panel for panel in PANELS if (panel.board, panel.title, panel.kind) == key]
    first, *others = panel.defaults["thresholds"]["steps"]
    assert first["value"] is None
    assert [step["value"] for step in others] == limits


def test_a_limit_that_moves_for_the_alerts_moves_on_the_dashboards() -> None:
    boards = "".join(path.read_text() for path in (REPOSITORY / "grafana").rglob("*.py"))
    for name in ("backup_stale", "slow", "connections", "locked_accounts", "availability", "audit_deletes"):
        assert f"LIMITS.{name}" in boards


def stat(width: int, height: int = 4) -> Stat:
    return Stat(title=f"t{width}", description="d", links=[], width=width, height=height)


def test_a_line_that_is_full_ends_before_the_panel_that_does_not_fit() -> None:
    # The SDK's own grid would begin the third panel at column 16 and let it end at 28.
    placed = place([Row("", [stat(8), stat(8, height=6), stat(12), stat(12)])])
    grid = [(p.grid_pos.x, p.grid_pos.y) for p in placed if p.grid_pos]
    assert grid == [(0, 0), (8, 0), (0, 6), (12, 6)]


def test_a_closed_row_holds_its_panels_and_an_open_one_stands_before_them() -> None:
    (closed, last) = place([Row("a", [stat(8)], collapsed=True), Row("b", [])])
    written = json.loads(generate._Encoder().encode(closed))
    assert [panel["id"] for panel in written["panels"]] == [2]
    assert last.grid_pos
    # Nothing but its title takes room.
    assert last.grid_pos.y <= 5


def test_what_can_not_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="wider than 24"):
        place([Row("", [stat(25)])])
    with pytest.raises(ValueError, match="no alert"):
        fields.runbook("UnionCoreNone")
    with pytest.raises(ValueError, match="no dashboard"):
        fields.board("none")
