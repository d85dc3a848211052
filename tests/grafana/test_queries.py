"""Every query of the dashboards names what exists, and the running demo has an answer to it."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from promql_parser import VectorSelector

from scripts.dev.generate import SCALES
from scripts.dev.history.clock import DAYS
from scripts.dev.servers import Prometheus
from scripts.dev.sink import Sink
from scripts.dev.stack import start
from scripts.dev.watching import notify
from tests.grafana.shipped import ASKING, DASHBOARDS, PANELS, Panel, concrete, expressions, nodes
from tests.prometheus.shipped import promtool

DAY = 86400
# Metrics that the demo does not have, and why.
ABSENT = {
    "probe_ssl_earliest_cert_expiry": "the stand-in for UnionCore speaks no TLS",
    "node_filesystem_avail_bytes": "the demo starts no node_exporter",
    "node_filesystem_size_bytes": "the demo starts no node_exporter",
}
# Values of labels that only appear in trouble, or with what the demo does not have, and why.
NOT_NOW = {
    'job="unioncore-certificate"': "the stand-in for UnionCore speaks no TLS",
    'job="node"': "the demo starts no node_exporter",
    'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"': "the demo starts no node_exporter",
}
# Queries without an answer in a demo in which all is well, and why.
EMPTY = {
    ("overview", "Firing alerts", "table"): "no alert fires",
    ("service", "Firing alerts", "table"): "no alert fires",
    ("watchers", "Firing alerts", "table"): "no alert fires",
    ("service", "Certificate", "stat"): "the stand-in for UnionCore speaks no TLS",
    ("watchers", "Free space of disks", "timeseries"): "the demo starts no node_exporter",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The demo's Prometheus, with its past, once everything has been scraped twice and evaluated."""
    with ExitStack() as life:
        # Alertmanager counts for each receiver that it has: without any, there is nothing to look at.
        variables = notify(life.enter_context(Sink()), tmp_path_factory.mktemp("secrets"))
        server = start(life, scale=SCALES["small"], history=True, variables=variables).prometheus
        started = time.time()
        recorded = (
            "instance:unioncore_availability:avg30d",
            "location:unioncore_backup_size_bytes:median7d",
            "table:unioncore_audit_events:deletes15m",
            "instance:pg_connections:ratio",
            "instance:unioncore_dues_online_dollars:sum_today",
            "prometheus_notifications_sent_total",
        )
        # Not what the past holds: what was measured within the last seconds.
        waiting = [f"{name} and timestamp({name}) > {started:.0f}" for name in recorded]
        while missing := (
            [query for query in waiting if not server.query(query)] or scraped_less_than_twice(server, since=started)
        ):
            assert time.time() < started + 60, missing
            time.sleep(0.5)
        yield server


def scraped_less_than_twice(server: Prometheus, *, since: float) -> list[str]:
    """Name the targets that lack the two samples that an increase needs: the past does not have all metrics."""
    twice = server.query(f"sum_over_time(up[{max(time.time() - since, 1):.0f}s]) >= 2")
    scraped = {(series["metric"]["job"], series["metric"]["instance"]) for series in twice}
    targets = server.get("/api/v1/targets", params={"state": "active"}).json()["data"]["activeTargets"]
    every = {(target["labels"]["job"], target["labels"]["instance"]) for target in targets}
    return [f"{job} of {instance}" for job, instance in every - scraped]


@pytest.fixture(scope="module")
def variables(demo: Prometheus) -> dict[str, str]:
    """What Grafana would choose for the variables, by asking as it does."""
    chosen = {}
    for variable in DASHBOARDS["overview"]["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+),(\w+)\)", variable["query"]["query"])
            assert found
            answer = demo.get(f"/api/v1/label/{found[2]}/values", params={"match[]": found[1]}).json()
            (chosen[variable["name"]],) = answer["data"]
    assert set(chosen) == {"exporter", "application"}
    return chosen


def look(demo: Prometheus, panel: Panel, target: dict[str, Any], variables: dict[str, str]) -> list[dict[str, Any]]:
    """Ask as the panel does."""
    expr = concrete(target["expr"], variables)
    if target["instant"]:
        return demo.query(expr)
    amount, unit = re.fullmatch(r"now-(\d+)([hd])", DASHBOARDS[panel.board]["time"]["from"]).groups()  # type: ignore[union-attr]
    seconds = int(amount) * {"h": 3600, "d": DAY}[unit]
    end = time.time()
    params = {"query": expr, "start": end - seconds, "end": end, "step": max(seconds // 300, 15)}
    answer = demo.get("/api/v1/query_range", params=params, timeout=30).json()
    series: list[dict[str, Any]] = answer["data"]["result"]
    return series


def test_every_metric_and_every_label_exists(demo: Prometheus, variables: dict[str, str]) -> None:
    metrics: dict[str, set[str]] = {}
    wrong, absent = [], set()
    for where, expr in expressions():
        for node, _ in nodes(expr, variables):
            if isinstance(node, VectorSelector):
                name = str(node.name)
                if name not in metrics:
                    series = demo.get("/api/v1/series", params={"match[]": f'{{__name__="{name}"}}'}).json()["data"]
                    metrics[name] = {label for labels in series for label in labels}
                if not metrics[name]:
                    absent.add(name)
                    if name not in ABSENT:
                        wrong.append(f"{where}: {name} does not exist")
                    continue
                unknown = {matcher.name for matcher in node.matchers.matchers} - metrics[name]
                wrong += [f"{where}: {name} has no label {label}" for label in unknown]
    assert not wrong, "\n".join(wrong)
    assert absent == set(ABSENT), "an exception that is none any more"


def test_every_selector_finds_something(demo: Prometheus, variables: dict[str, str]) -> None:
    wrong, excused = [], set()
    for where, expr in expressions():
        for node, _ in nodes(expr, variables):
            if isinstance(node, VectorSelector) and str(node.name) not in {*ABSENT, "ALERTS", "ALERTS_FOR_STATE"}:
                text = node.prettify().partition(" offset ")[0]
                if not demo.query(f"count(last_over_time({text}[{DAYS}d]))"):
                    reasons = {matcher for matcher in NOT_NOW if matcher in text}
                    excused |= reasons
                    if not reasons:
                        wrong.append(f"{where}: {text} finds nothing")
    assert not wrong, "\n".join(wrong)
    assert excused <= set(NOT_NOW)


def test_no_panel_is_empty(demo: Prometheus, variables: dict[str, str]) -> None:
    wrong, excused = [], set()
    for panel in ASKING:
        key = (panel.board, panel.title, panel.kind)
        for target in panel.targets:
            series = look(demo, panel, target, variables)
            values = [value for one in series for _, value in (one.get("values") or [one["value"]])]
            if any(value != "NaN" for value in values):
                labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                lacking = {label for label in labels for one in series if label not in one["metric"]}
                wrong += [f"{panel.place} {target['refId']}: the legend's {label} is missing" for label in lacking]
            elif key in EMPTY:
                excused.add(key)
            else:
                wrong.append(f"{panel.place} {target['refId']}: no answer to {target['expr']}")
    assert not wrong, "\n".join(wrong)
    assert excused == set(EMPTY), "an exception that is none any more"


def test_trends_reach_back_over_the_whole_range(demo: Prometheus, variables: dict[str, str]) -> None:
    for panel in ASKING:
        if DASHBOARDS[panel.board]["time"]["from"] == "now-30d" and panel.kind in ("timeseries", "state-timeline"):
            for target in panel.targets:
                series = look(demo, panel, target, variables)
                first = min(float(one["values"][0][0]) for one in series)
                # What compares with the week before begins a week later than the past does.
                reach = 20 if "offset" in target["expr"] else 29
                assert time.time() - first > reach * DAY, f"{panel.place} {target['refId']}"


def test_every_kind_of_mark_is_seen(demo: Prometheus, variables: dict[str, str]) -> None:
    end = time.time()
    for mark in DASHBOARDS["overview"]["annotations"]["list"]:
        if "expr" in mark:
            query = concrete(mark["expr"], variables)
            params = {"query": query, "start": end - 30 * DAY, "end": end, "step": 300}
            answer = demo.get("/api/v1/query_range", params=params, timeout=30).json()["data"]["result"]
            assert answer, mark["name"]
            for one in answer:
                # A mark, not a state that lasts: of each day of the 30, less than a fifth.
                assert len(one["values"]) * 300 < 6 * DAY, mark["name"]


def test_in_ten_seconds_the_overview_says_that_all_is_well(demo: Prometheus, variables: dict[str, str]) -> None:
    verdicts = [panel for panel in PANELS if panel.board == "overview" and panel.json["gridPos"]["y"] == 0]
    assert [panel.title for panel in verdicts[:3]] == ["Service", "Backups", "Money"]
    for panel in verdicts:
        (target,) = panel.targets
        (answer,) = look(demo, panel, target, variables)
        (texts,) = (mapping["options"] for mapping in panel.defaults["mappings"] if mapping["type"] == "value")
        assert texts[answer["value"][1]]["text"] == "All right", panel.title


def test_what_is_not_measured_is_not_called_well(demo: Prometheus) -> None:
    # An application and an exporter that are not there.
    nowhere = {"exporter": "nowhere", "application": "nowhere"}
    for panel in PANELS:
        if panel.board == "overview" and panel.json["gridPos"]["y"] == 0:
            (target,) = panel.targets
            (answer,) = look(demo, panel, target, nowhere)
            (texts,) = (mapping["options"] for mapping in panel.defaults["mappings"] if mapping["type"] == "value")
            assert texts[answer["value"][1]]["text"] == "Not known", panel.title


def test_no_subject_is_called_well_while_one_of_its_collectors_fails(tmp_path: Path) -> None:
    series = {
        'ALERTS{alertname="UnionCoreWatchdog",alertstate="firing",severity="none"}': 1,
        'unioncore_backups{instance="e",location="local"}': 5,
        'unioncore_audit_immutable{instance="e",operation="delete"}': 1,
        'unioncore_collector_success{instance="e",collector="backups_s3"}': 0,
        'unioncore_collector_success{instance="e",collector="audit"}': 0,
        'pg_up{instance="p",job="postgres"}': 0,
    }
    wanted = {("overview", "Backups"): -1, ("overview", "Audit log"): -1, ("service", "Longest transaction"): None}
    found = [panel for panel in PANELS if (panel.board, panel.title) in wanted]
    looks = [
        {
            "expr": concrete(target["expr"], {"exporter": "e", "application": "a"}),
            "eval_time": "1m",
            "exp_samples": []
            if (value := wanted[panel.board, panel.title]) is None
            else [{"labels": "", "value": value}],
        }
        for panel in found
        for target in panel.json["targets"]
    ]
    inputs = [{"series": name, "values": f"{value}x5"} for name, value in series.items()]
    (tmp_path / "t.yml").write_text(
        json.dumps({"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": looks}]})
    )
    assert len(found) >= len(wanted)
    promtool("test", "rules", tmp_path / "t.yml")


def test_the_past_leads_up_to_the_present(demo: Prometheus) -> None:
    # Where the past ends and what is measured begins, nothing jumps, or alerts would fire. But at the local's midnight
    # a day's payments leave the window: what is before that, or too close to it, is no measure of them.
    now_there = datetime.now(ZoneInfo("America/Los_Angeles"))
    today = 60 * now_there.hour + now_there.minute - 20  # minutes that can be looked at
    for metric, tolerance in {
        "sum(unioncore_members)": 0.001,
        'sum(unioncore_dues_collected_dollars{window="30d"})': 0.03,
        "max(unioncore_backup_size_bytes)": 0.02,
        "sum(unioncore_users)": 0.001,
        "unioncore_audit_oldest_event_timestamp_seconds": 1e-9,
    }.items():
        minutes = min(120, today) if "dues" in metric else 120
        if minutes < 10:
            continue
        (now,) = demo.query(metric)
        (before,) = demo.query(f"max_over_time(({metric})[{minutes}m:10m] offset 10m)")
        assert float(before["value"][1]) == pytest.approx(float(now["value"][1]), rel=tolerance), metric
    firing = demo.query('ALERTS{alertstate="firing"}')
    assert [alert["metric"]["alertname"] for alert in firing] == ["UnionCoreWatchdog"]
