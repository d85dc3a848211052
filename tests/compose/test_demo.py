"""docker compose's profile demo, as a new user brings it up."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.job.reporting import Result
from tests.compose.composing import Compose, told, until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

ONCE = {"demo-secrets", "demo-render-config"}
AT_THE_DATABASE = {
    "demo-application",
    "demo-data",
    "demo-database",
    "demo-exporter",
    "demo-jobs",
    "demo-postgres-exporter",
}
PUBLISHED = {"demo-exporter", "demo-prometheus", "demo-alertmanager", "demo-grafana"}
MEMBERS = "sum(unioncore_members)"


def test_everything_is_healthy_and_what_runs_once_has_ended_well(demo: Compose) -> None:
    states = {service: container["State"] for service, container in demo.containers().items()}
    assert set(states) == set(demo("config", "--services").split())
    assert {service: states[service]["ExitCode"] for service in ONCE} == dict.fromkeys(ONCE, 0)
    health = {service: state["Health"]["Status"] for service, state in states.items() if service not in ONCE}
    assert set(health.values()) == {"healthy"}


def test_every_target_of_prometheus_is_up(demo: Compose) -> None:
    def targets() -> list[dict[str, Any]]:
        answer = httpx.get(f"{demo.server('PROMETHEUS')}/api/v1/targets", trust_env=False).json()
        found: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return found

    def down() -> dict[str, str]:
        return {target["labels"]["job"]: target["lastError"] for target in targets() if target["health"] != "up"}

    with suppress(AssertionError):
        until(lambda: not down(), "every target is up", seconds=60)
    assert down() == {}
    assert {target["labels"]["job"] for target in targets()} >= {
        *("unioncore-exporter", "unioncore-live", "unioncore-serving", "unioncore-ready"),
        *("blackbox", "postgres", "alertmanager", "prometheus"),
    }
    for healthy in ("unioncore_up", "pg_up", 'probe_success{job="unioncore-ready"}'):
        assert until(partial(demo.value, healthy), healthy) == 1
    counted = "select count(*) from members where not is_deleted"
    members = demo(
        "exec", "-T", "demo-database", "psql", "-h", "/var/run/postgresql", "-U", "unioncore", "-Atc", counted
    )
    assert until(lambda: demo.value(MEMBERS), "members are counted") == int(members) > 2900


def test_the_jobs_have_run_and_told_it(demo: Compose) -> None:
    def succeeded() -> dict[str, str] | None:
        jobs = {one["metric"]["job_name"]: one["value"][1] for one in demo.query("unioncore_job_last_run_succeeded")}
        return jobs if len(jobs) == 4 else None

    assert until(succeeded, "four jobs have told") == dict.fromkeys(("archive", "backup", "cleanup", "verify"), "1")
    assert demo.value('unioncore_backups{location="local"}') == 1


def test_every_container_is_hardened(demo: Compose) -> None:
    for service, container in demo.containers().items():
        config, host = container["Config"], container["HostConfig"]
        assert config["User"].split(":")[0] not in {"", "0", "root"}, service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert 0 < host["Memory"] <= 2 << 30, service
        assert 0 < host["PidsLimit"] <= 256, service
        assert host["LogConfig"]["Config"]["max-size"], service
        assert host["LogConfig"]["Config"]["max-file"], service
        assert "host" not in {host["NetworkMode"], host["PidMode"], host["IpcMode"]}, service
        assert config["Image"].rpartition(":")[2] not in {"", "latest"}, service
        assert not [mount for mount in container["Mounts"] if mount["Source"].endswith("docker.sock")], service
        assert not [mount for mount in container["Mounts"] if mount["Type"] == "bind" and mount["RW"]], service


def test_a_root_file_system_can_not_be_written(demo: Compose) -> None:
    for service in sorted(set(demo.containers()) - ONCE):
        done = demo.run("exec", "-T", service, "sh", "-c", "echo >/etc/written")
        assert done.returncode != 0, service
        assert "ead-only file system" in done.stderr, f"{service}: {done.stderr}"


def test_only_what_must_reaches_the_database_and_ports_are_this_machines_own(demo: Compose) -> None:
    containers = demo.containers()
    network = f"{demo.project}_demo-database"
    there = {name for name, one in containers.items() if network in one["NetworkSettings"]["Networks"]}
    assert there == AT_THE_DATABASE
    bindings = {name: one["HostConfig"]["PortBindings"] or {} for name, one in containers.items()}
    assert {name for name, ports in bindings.items() if ports} == PUBLISHED
    addresses = {host["HostIp"] for ports in bindings.values() for hosts in ports.values() for host in hosts}
    assert addresses == {"127.0.0.1"}


def test_no_secret_is_in_an_environment_or_on_a_command_line(demo: Compose) -> None:
    secrets = [
        demo("exec", "-T", "demo-data", "cat", f"/run/secrets/{name}")
        for name in ("database_password", "push_token", "grafana_admin_password")
    ]
    shown = json.dumps(list(demo.containers().values()))
    assert all(len(secret) >= 12 for secret in secrets)
    assert not [secret for secret in secrets if secret in shown]


def test_grafana_is_closed(demo: Compose) -> None:
    variables = dict(one.split("=", 1) for one in demo.containers()["demo-grafana"]["Config"]["Env"])
    assert "GF_SECURITY_ADMIN_PASSWORD" not in variables
    assert variables["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_admin_password"
    for name in (
        "GF_AUTH_ANONYMOUS_ENABLED",
        "GF_USERS_ALLOW_SIGN_UP",
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
    ):
        assert variables[name] == "false"
    assert variables["GF_SECURITY_CONTENT_SECURITY_POLICY"] == "true"
    assert variables["GF_SECURITY_COOKIE_SAMESITE"] == "strict"


def test_a_database_that_is_stopped_reaches_the_sink(demo: Compose) -> None:
    demo("stop", "demo-database")
    page = until(lambda: told(demo, "page", "UnionCoreDatabaseDown"), "the page")[0]
    assert page["content"]["commonLabels"]["severity"] == "critical"
    assert until(lambda: told(demo, "heartbeat", "UnionCoreWatchdog"), "the heartbeat")
    demo("start", "demo-database")
    until(lambda: demo.value("unioncore_up") == 1, "the database is back")


def members_and_restore(demo: Compose) -> tuple[float, float]:
    """How many members the exporter itself counts, and when it was told that a restore had ended."""
    # Not Prometheus': for five minutes it goes on with the last sample that it has.
    page = httpx.get(f"{demo.server('EXPORTER')}/metrics", trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    members = sum(one.value for one in samples if one.name == "unioncore_members")
    name, labels = "unioncore_job_last_success_timestamp_seconds", {"job_name": "restore"}
    (finished,) = (one.value for one in samples if one.name == name and one.labels == labels)
    return members, finished


@pytest.mark.parametrize("again", [("restart",), ("down", "up")], ids=" and ".join)
def test_data_survive(demo: Compose, again: tuple[str, ...]) -> None:
    # A job that the demo does not run again by itself.
    result = Result("restore", time.time(), 1.0, 46)
    token = demo("exec", "-T", "demo-data", "cat", "/run/secrets/push_token")
    url, header = f"{demo.server('EXPORTER')}/metrics/job/restore", {"Authorization": f"Bearer {token}"}
    httpx.post(url, content=result.body(), headers=header, trust_env=False).raise_for_status()
    until(lambda: demo.value("unioncore_up") == 1, "there is a sample from before")
    members, finished = members_and_restore(demo)
    assert finished == result.finished_at
    backups = set(demo("exec", "-T", "demo-jobs", "ls", "/var/backups/unioncore").split())
    silence = {
        "matchers": [{"name": "alertname", "value": "Nothing", "isRegex": False}],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "test",
        "comment": " ".join(again),
    }
    silences = f"{demo.server('ALERTMANAGER')}/api/v2/silences"
    httpx.post(silences, json=silence, trust_env=False).raise_for_status()
    password = demo("exec", "-T", "demo-data", "cat", "/run/secrets/grafana_admin_password")
    stopped = time.time()
    for command in again:
        match command:
            case "up":
                demo.up()
            case "down":
                demo.down()
            case _:
                demo(command)

    # Zero as long as the database is not up again.
    assert until(lambda: (found := members_and_restore(demo))[0] and found, "members") == (members, finished)
    assert any(name.endswith(".dump") for name in backups)
    assert set(demo("exec", "-T", "demo-jobs", "ls", "/var/backups/unioncore").split()) >= backups
    # Prometheus still has samples from before, Alertmanager the silence, and the secrets are the same.
    assert demo.query(f"unioncore_up @ {stopped:.0f}")
    comments = [one["comment"] for one in until(lambda: httpx.get(silences, trust_env=False).json(), "silences")]
    assert " ".join(again) in comments
    assert demo("exec", "-T", "demo-data", "cat", "/run/secrets/grafana_admin_password") == password
