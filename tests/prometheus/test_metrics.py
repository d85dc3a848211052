"""Every rule names only metrics that are really there, and the real Prometheus can evaluate it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.contract import CONTRACT
from scripts.alerting.groups.database import DISK
from scripts.dev.servers import Alertmanager, Prometheus
from scripts.dev.watchers import BlackboxExporter, PostgresExporter
from scripts.embedded.postgres import EmbeddedPostgres
from tests.prometheus.shipped import DIRECTORY, rules

OWN = {family.name: set(family.labels) for family in CONTRACT}
GIVEN = {"job", "instance"}
# What the values of a label can be, where a rule that names another would never be true.
VALUES = {
    "window": {"today", "7d", "30d"},
    "state": {"active", "inactive", "locked", "live", "expired", "revoked"},
    "location": {"local", "s3"},
    "operation": {"update", "delete", "truncate"},
    "action": {"read", "bulk_read", "create", "update", "delete"},
    "collector": {"audit", "schema", "jobs"},
    "job_name": {"backup", "verify", "archive", "cleanup", "archive-delete", "archive-verify"},
}
POSTGRES = {
    "pg_up",
    "pg_stat_activity_count",
    "pg_stat_activity_max_tx_duration",
    "pg_settings_max_connections",
    "pg_settings_superuser_reserved_connections",
    "pg_settings_reserved_connections",
    "pg_stat_database_deadlocks",
    "pg_database_size_bytes",
}
BLACKBOX = {
    "blackbox_exporter_config_last_reload_successful",
    "probe_success",
    "probe_duration_seconds",
    "probe_http_duration_seconds",
}
ALERTMANAGER = {
    "alertmanager_notification_requests_failed_total",
    "alertmanager_notification_requests_total",
    "alertmanager_config_last_reload_successful",
    "alertmanager_integrations",
}
PROMETHEUS = {
    "prometheus_config_last_reload_successful",
    "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_errors_total",
    "prometheus_notifications_sent_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_tsdb_compactions_failed_total",
    "prometheus_tsdb_head_truncations_failed_total",
    "prometheus_tsdb_wal_truncations_failed_total",
    "prometheus_tsdb_wal_writes_failed_total",
}
# Not looked at here: the first needs TLS (test_probes.py has it), the others a node_exporter.
UNSEEN = {"probe_ssl_earliest_cert_expiry", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
# Made by Prometheus itself.
MADE = {"up", "ALERTS"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, dict[str, str]]]:
    """Prometheus with the shipped rules, and the pages of metrics of it and of all that it is shipped with."""
    directory = tmp_path_factory.mktemp("prometheus")
    # Attempts are counted by receiver, from the start on of those that a route leads to.
    receivers = [{"name": "none"}, {"name": "page", "webhook_configs": [{"url": "http://127.0.0.1:9/"}]}]
    never = {"receiver": "page", "matchers": ['alertname="never"']}
    notifying = {"route": {"receiver": "none", "routes": [never]}, "receivers": receivers}
    (directory / "alertmanager.yml").write_text(yaml.safe_dump(notifying))
    (directory / "rules").mkdir()
    for path in (DIRECTORY / "rules").glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            group.pop("interval", None)
        (directory / "rules" / path.name).write_text(yaml.safe_dump(content))
    with ExitStack() as life:
        postgres = life.enter_context(EmbeddedPostgres())
        database = life.enter_context(PostgresExporter(postgres.url("postgres")))
        blackbox = life.enter_context(BlackboxExporter(DIRECTORY / "blackbox.yml"))
        alertmanager = life.enter_context(Alertmanager(directory / "alertmanager.yml"))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]},
            "scrape_configs": [
                {"job_name": "postgres", "static_configs": [{"targets": [f"127.0.0.1:{database.port}"]}]}
            ],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        server = life.enter_context(Prometheus(directory / "prometheus.yml"))
        # Prometheus counts for an Alertmanager once it has found it.
        deadline = time.monotonic() + 30
        while "prometheus_notifications_sent_total{" not in server.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        probe = {"module": "live", "target": blackbox.url}
        pages = {
            "postgres": database.get("/metrics").text,
            "blackbox": blackbox.get("/metrics").text + blackbox.get("/probe", params=probe).text,
            "alertmanager": alertmanager.get("/metrics").text,
            "prometheus": server.get("/metrics").text,
        }
        yield server, pages


def nodes(server: Prometheus, expression: str) -> Iterator[dict[str, Any]]:
    """Every node of an expression, as Prometheus' own parser sees it."""

    def walk(node: object) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
            for child in node.values():
                yield from walk(child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(child)

    yield from walk(server.get("/api/v1/parse_query", params={"query": expression}).json()["data"])


def selectors(server: Prometheus, expression: str) -> Iterator[dict[str, Any]]:
    for node in nodes(server, expression):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node


def test_every_metric_of_a_rule_exists(prometheus: tuple[Prometheus, dict[str, str]]) -> None:
    server, _ = prometheus
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = set(OWN) | POSTGRES | BLACKBOX | ALERTMANAGER | PROMETHEUS | UNSEEN | MADE | recorded | {DISK}
    used = set()
    for rule in rules():
        for selector in selectors(server, rule["expr"]):
            # One without a name chooses by a pattern: PostgreSQL's reserved connections.
            assert selector["name"] or "pg_settings_" in str(selector["matchers"])
            used.add(selector["name"])
    assert used - known == {""}
    # A recording rule that no alert uses is for the dashboards; an exporter's metric that none uses is a leftover.
    assert (
        used
        | {
            "pg_settings_superuser_reserved_connections",
            "pg_settings_reserved_connections",
        }
        >= POSTGRES | BLACKBOX | ALERTMANAGER | PROMETHEUS | UNSEEN
    )


def test_every_label_of_a_rule_exists(prometheus: tuple[Prometheus, dict[str, str]]) -> None:
    server, _ = prometheus
    for rule in rules():
        for selector in selectors(server, rule["expr"]):
            for matcher in selector["matchers"]:
                name = matcher["name"]
                if name == "__name__" or selector["name"] not in OWN:
                    continue
                assert name in OWN[selector["name"]] | GIVEN, rule["expr"]
                if name in VALUES:
                    assert set(matcher["value"].split("|")) <= VALUES[name], rule["expr"]


@pytest.mark.parametrize(
    ("program", "metrics"),
    [("postgres", POSTGRES), ("blackbox", BLACKBOX), ("alertmanager", ALERTMANAGER), ("prometheus", PROMETHEUS)],
)
def test_the_real_program_has_the_metrics(
    prometheus: tuple[Prometheus, dict[str, str]], program: str, metrics: set[str]
) -> None:
    _, pages = prometheus
    found = {line.partition("{")[0].partition(" ")[0] for line in pages[program].splitlines()}
    assert metrics <= found


def test_what_pages_has_a_watcher_of_its_own(prometheus: tuple[Prometheus, dict[str, str]]) -> None:
    server, _ = prometheus
    watched = {
        node["args"][0]["name"]
        for rule in rules()
        for node in nodes(server, rule["expr"])
        if node.get("type") == "call" and node["func"]["name"] == "absent"
    }
    # Published by the same collector, or by the same program, as one that is watched; some rightly are not there.
    together = {
        "probe_ssl_earliest_cert_expiry": "probe_success",
        "unioncore_backup_age_seconds": "unioncore_backups",
        "unioncore_backup_size_bytes": "unioncore_backups",
        "unioncore_backup_last_success_timestamp_seconds": "unioncore_backups",
        "unioncore_job_last_success_timestamp_seconds": "unioncore_job_last_run_timestamp_seconds",
        "unioncore_job_last_run_succeeded": "unioncore_job_last_run_timestamp_seconds",
        "unioncore_collector_success": "unioncore_up",
        "unioncore_audit_last_event_timestamp_seconds": "unioncore_audit_events",
        "unioncore_audit_oldest_event_timestamp_seconds": "unioncore_audit_events",
        "unioncore_audit_events_total": "unioncore_audit_events",
        "unioncore_users_active": "unioncore_users",
        "prometheus_notifications_errors_total": "prometheus_notifications_alertmanagers_discovered",
        "prometheus_notifications_sent_total": "prometheus_notifications_alertmanagers_discovered",
        "prometheus_tsdb_compactions_failed_total": "prometheus_tsdb_wal_writes_failed_total",
        "prometheus_tsdb_head_truncations_failed_total": "prometheus_tsdb_wal_writes_failed_total",
        "prometheus_tsdb_wal_truncations_failed_total": "prometheus_tsdb_wal_writes_failed_total",
    }
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}

    def sources(expression: str) -> Iterator[str]:
        for selector in selectors(server, expression):
            if made := recorded.get(selector["name"]):
                yield from sources(made)
            else:
                yield selector["name"]

    # node_exporter is optional; what the site tells is no measurement; ALERTS are Prometheus' own.
    optional = {"node_filesystem_avail_bytes", "node_filesystem_size_bytes", DISK, "ALERTS", ""}
    for rule in rules():
        if rule.get("labels", {}).get("priority") in ("P1", "P2"):
            for name in set(sources(rule["expr"])) - optional:
                assert together.get(name, name) in watched, f"{rule['alert']}: nobody notices if there is no {name}"


def test_the_real_prometheus_can_evaluate_every_rule(prometheus: tuple[Prometheus, dict[str, str]]) -> None:
    server, _ = prometheus
    # Every group has been evaluated at least once.
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        groups = server.get("/api/v1/rules").json()["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in found):
            break
        time.sleep(0.5)
    assert len(found) == len(list(rules()))
    assert {rule["name"]: rule["lastError"] for rule in found if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == ["UnionCoreWatchdog"]
    pages = Path(server.directory, "log").read_text()
    assert "level=ERROR" not in pages
