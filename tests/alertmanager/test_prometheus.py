"""Prometheus' configuration as it is rendered, checked by promtool."""

import re
import time
from pathlib import Path
from typing import Any

from scripts.dev.servers import Prometheus
from tests.alertmanager.alerting import Site, load
from tests.prometheus.shipped import DIRECTORY, promtool


def rendered(site: Site) -> dict[str, Any]:
    output = site.set(ALERTS_MAY_GO_NOWHERE="yes").rendered()
    promtool("check", "config", output / "prometheus.yml")
    config: dict[str, Any] = load(output / "prometheus.yml")
    return config


def test_what_is_rendered_by_default_is_what_the_project_ships_but_for_replicas_whose_alerts_are_one(
    site: Site,
) -> None:
    config = rendered(site)
    assert config["alerting"].pop("alert_relabel_configs") == [{"regex": "__replica__|replica", "action": "labeldrop"}]
    assert config == load(DIRECTORY / "prometheus.yml")
    shipped = {path.name: load(path) for path in (DIRECTORY / "rules").glob("*.yml")}
    assert {path.name: load(path) for path in (site.directory / "rendered/rules").iterdir()} == shipped


def test_a_long_term_store_gets_the_samples_with_labels_and_the_secret_stays_in_its_file(site: Site) -> None:
    site.secret("REMOTE_WRITE_TOKEN").set(
        REMOTE_WRITE_URL="https://mimir.example.org/api/v1/push",
        REMOTE_WRITE_TENANT="local46",
        EXTERNAL_LABELS="local=46, __replica__=${UNIONCORE_REPLICA}",
    )
    config = rendered(site)
    assert config["global"]["external_labels"] == {"local": "46", "__replica__": "${UNIONCORE_REPLICA}"}
    (store,) = config["remote_write"]
    assert store == {
        "url": "https://mimir.example.org/api/v1/push",
        "headers": {"X-Scope-OrgID": "local46"},
        "authorization": {"credentials_file": site.variables["UNIONCORE_REMOTE_WRITE_TOKEN_FILE"]},
    }


class Store(Prometheus):
    """A Prometheus that takes what another one writes."""

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self._argv.append("--web.enable-remote-write-receiver")
        self.env["UNIONCORE_REPLICA"] = "7"


def test_samples_arrive_in_the_store_under_the_sites_labels(site: Site, tmp_path: Path) -> None:
    empty = tmp_path / "store.yml"
    empty.write_text("global: {}\n")
    with Store(empty) as store:
        site.set(REMOTE_WRITE_URL=f"{store.url}/api/v1/write", EXTERNAL_LABELS="local=46,replica=${UNIONCORE_REPLICA}")
        site.set(ALERTS_MAY_GO_NOWHERE="yes", PROMETHEUS_TARGETS=f"127.0.0.1:{store.port}")
        config = site.rendered() / "prometheus.yml"
        config.write_text(re.sub(r"(scrape_interval|scrape_timeout): \d+s", r"\1: 1s", config.read_text()))
        with Store(config):
            deadline = time.monotonic() + 60
            while not (found := store.query('up{job="prometheus",local="46",replica="7"}')):
                assert time.monotonic() < deadline, store.log
                time.sleep(0.1)
    assert found[0]["value"][1] == "1"


def test_a_long_term_store_may_ask_for_a_password(site: Site) -> None:
    site.secret("REMOTE_WRITE_PASSWORD").set(
        REMOTE_WRITE_URL="https://prom.example.org/api/prom/push", REMOTE_WRITE_USER="123456"
    )
    (store,) = rendered(site)["remote_write"]
    assert store["basic_auth"] == {
        "username": "123456",
        "password_file": site.variables["UNIONCORE_REMOTE_WRITE_PASSWORD_FILE"],
    }


def test_rules_name_the_sites_own_addresses_and_its_disk(site: Site) -> None:
    site.set(RUNBOOKS_URL="https://wiki.example.org/u/", GRAFANA_URL="https://g.example.org")
    rendered(site.set(DATABASE_DISK_BYTES=53687091200))
    rules = {path.name: path.read_text() for path in (site.directory / "rendered/rules").iterdir()}
    assert "https://wiki.example.org/u/UnionCoreDown.md" in rules["availability.yml"]
    assert "https://g.example.org/d/unioncore-service" in rules["availability.yml"]
    assert "vector(53687091200)" in rules["site.yml"]


def test_half_a_store_is_an_error(site: Site) -> None:
    site.secret("REMOTE_WRITE_TOKEN").secret("REMOTE_WRITE_PASSWORD")
    result = site.set(EXTERNAL_LABELS="no label").render("--check")
    assert result.exit_code == 2
    for error in (
        "UNIONCORE_REMOTE_WRITE_URL: set it too, or unset UNIONCORE_REMOTE_WRITE_TOKEN_FILE",
        "UNIONCORE_REMOTE_WRITE_USER: set it too, or unset UNIONCORE_REMOTE_WRITE_PASSWORD_FILE",
        "UNIONCORE_REMOTE_WRITE_TOKEN_FILE: UNIONCORE_REMOTE_WRITE_PASSWORD_FILE is set too; set one",
        "UNIONCORE_EXTERNAL_LABELS: must be NAME=VALUE, with commas between several",
    ):
        assert error in result.stderr


def test_a_poor_password_of_grafanas_is_refused(site: Site) -> None:
    password = site.directory / "password"
    password.write_text("admin\n")
    result = site.set(ALERTS_MAY_GO_NOWHERE="yes", GRAFANA_PASSWORD_FILE=password).render("--check")
    assert result.exit_code == 2
    assert f"UNIONCORE_GRAFANA_PASSWORD_FILE: {password} must hold at least 12 characters" in result.stderr
    password.write_text("a long one, but of words")
    assert "must hold one word" in site.render("--check").stderr
