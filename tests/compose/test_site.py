"""docker compose against a site's own UnionCore, set up as the README says: with .env and secrets/."""

from __future__ import annotations

import re
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.compose.composing import REPOSITORY, Compose, docker, told, until
from tests.compose.conftest import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

HA = ("docker-compose.yml", "docker-compose.ha.yml")
NEEDED = ("docker-compose.yml", "docker-compose.ha.yml", "compose", "grafana", "prometheus", "secrets", ".env.example")
QUIET_SECONDS = 45
"""Longer than the last of three Alertmanagers waits for the others to tell it (15 s for each before it)."""


@pytest.fixture
def site(demo: Compose, tmp_path: Path) -> Iterator[Compose]:
    """A checkout with .env and secrets of its own, before it is brought up; its UnionCore is the demo's."""
    for name in NEEDED:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    url = demo("exec", "-T", "demo-data", "cat", "/run/secrets/database_url")
    password = demo("exec", "-T", "demo-data", "cat", "/run/secrets/database_password")
    for name, secret in {
        "database_url": url,
        "jobs_database_url": url,
        "postgres_exporter_uri": "database:5432/unioncore?sslmode=disable",
        "postgres_exporter_password": password,
        "push_token": "a-push-token",
        "grafana_admin_password": "a-long-password",
        "alerting/page_url": "http://sink:9999/site/",
    }.items():
        (tmp_path / "secrets" / name).write_text(f"{secret}\n")
    (tmp_path / "secrets").chmod(0o700)
    env = (tmp_path / ".env.example").read_text()
    env = re.sub(r"(?m)^UNIONCORE_URL=.*", "UNIONCORE_URL=http://application:8000", env)
    env += "UNIONCORE_PAGE_WEBHOOK_URL_FILE=/run/secrets/alerting/page_url\n"
    env += f"UNIONCORE_DATABASE_NETWORK={demo.project}_demo-database\nUNIONCORE_DATABASE_EXTERNAL=true\n"
    env += "UNIONCORE_POSTGRES_EXPORTER_USER=unioncore\n"
    (tmp_path / ".env").write_text(env)
    project = Compose("unioncore-test-site", directory=tmp_path, files=HA, env_file=tmp_path / ".env")
    project.variables |= {
        "UNIONCORE_IMAGE": OURS,
        "UNIONCORE_GRAFANA_TARGETS": demo.variables.get("UNIONCORE_GRAFANA_TARGETS", "grafana:3000"),
    }
    project.remove()
    try:
        yield project
    finally:
        for service in ("demo-sink", "demo-application"):
            network = f"{project.project}_monitoring"
            docker("network", "disconnect", "--force", network, demo.containers()[service]["Name"], check=False)
        project.remove()


def failure(site: Compose) -> list[str]:
    """Bring it up in vain, and return the lines that say why: docker compose's last one, and those of what ended."""
    done = site.run("up", "--detach")
    assert done.returncode
    assert not [name for name, one in site.containers().items() if one["State"]["Running"]]
    container = site.containers().get("render-config")
    said = "" if container is None else site("logs", "--no-log-prefix", "render-config")
    return [*done.stderr.strip().splitlines()[-1:], *said.splitlines()]


@pytest.mark.parametrize("name", ["database_url", "grafana_admin_password", "postgres_exporter_password"])
def test_without_a_secret_nothing_starts_and_one_line_names_it(site: Compose, name: str) -> None:
    (site.directory / "secrets" / name).unlink()
    (line,) = failure(site)
    assert f"secrets/{name}" in line
    assert re.search(r"does not exist|no such file", line)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "grafana_admin_password",
            "admin",
            "UNIONCORE_GRAFANA_PASSWORD_FILE: /run/secrets/grafana_admin_password must",
        ),
        ("grafana_admin_password", "", "/run/secrets/grafana_admin_password is empty"),
        ("alerting/page_url", "", "UNIONCORE_PAGE_WEBHOOK_URL_FILE: /run/secrets/alerting/page_url is empty"),
    ],
)
def test_with_a_poor_secret_nothing_starts_and_one_line_says_why(
    site: Compose, name: str, content: str, complaint: str
) -> None:
    (site.directory / "secrets" / name).write_text(content)
    lines = failure(site)
    assert "render-config" in lines[0]
    assert len([line for line in lines if complaint in line]) >= 1


def test_with_nobody_to_tell_nothing_starts(site: Compose) -> None:
    env = site.env_file.read_text()
    site.env_file.write_text(env.replace("UNIONCORE_PAGE_WEBHOOK_URL_FILE", "#UNIONCORE_PAGE_WEBHOOK_URL_FILE"))
    assert [line for line in failure(site) if "nobody would be told of a P1" in line]


def test_one_notification_arrives_when_a_prometheus_and_an_alertmanager_die(demo: Compose, site: Compose) -> None:
    site.up()
    for service, alias in {"demo-sink": "sink", "demo-application": "application"}.items():
        network = f"{site.project}_monitoring"
        docker("network", "connect", "--alias", alias, network, demo.containers()[service]["Name"].lstrip("/"))
    for healthy in ("unioncore_up", "pg_up", "min(alertmanager_cluster_members)"):
        until(partial(site.value, healthy), healthy)
    until(lambda: site.value("min(alertmanager_cluster_members)") == 3, "three Alertmanagers know each other")
    second = partial(site.query, "unioncore_up == 1", server="PROMETHEUS_2")
    until(second, "the second Prometheus looks, too")

    site("kill", "prometheus", "alertmanager")
    demo("stop", "demo-database")
    try:
        page = partial(told, demo, "site", "UnionCoreDatabaseDown")
        first = until(page, "the page")[0]
        assert "replica" not in str(first["content"]["alerts"][0]["labels"])
        until_quiet(page)
        assert len(page()) == 1
        assert set(site.containers()) == {*site("config", "--services").split()}
        dead = {name for name, one in site.containers().items() if not one["State"]["Running"]}
        assert dead == {"prometheus", "alertmanager", "render-config"}
    finally:
        demo("start", "demo-database")


def until_quiet(page: Callable[[], list[Any]]) -> None:
    """Give a second notification the time to come that it would take."""
    with pytest.raises(AssertionError, match="not within"):
        until(lambda: len(page()) > 1, "a second page", seconds=QUIET_SECONDS)
