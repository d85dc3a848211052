"""What Grafana provisions fits the dashboards, Prometheus' configuration, and itself; a site's runbooks get into it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.grafana.shipped import DASHBOARDS, PROVISIONING, REPOSITORY


def provisioned(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROVISIONING / path).read_text())
    assert content["apiVersion"] == 1
    return content


def test_the_data_sources_are_those_of_the_dashboards() -> None:
    sources = {source["uid"]: source for source in provisioned("datasources/unioncore.yml")["datasources"]}
    assert {uid: source["type"] for uid, source in sources.items()} == {
        "unioncore-prometheus": "prometheus",
        "unioncore-alertmanager": "alertmanager",
    }
    for source in sources.values():
        assert source["editable"] is False
        assert source["access"] == "proxy"
    prometheus = sources["unioncore-prometheus"]
    assert prometheus["isDefault"]
    assert prometheus["jsonData"]["alertmanagerUid"] in sources
    config = yaml.safe_load((REPOSITORY / "prometheus" / "prometheus.yml").read_text())
    assert prometheus["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def test_addresses_come_from_the_environment_and_no_secret_is_in_a_file() -> None:
    urls = {}
    for path in PROVISIONING.rglob("*.yml"):
        text = path.read_text()
        assert not re.search(r"password|token|secret", text, re.IGNORECASE)
        for source in yaml.safe_load(text).get("datasources", ()):
            urls[source["uid"]] = source["url"]
    assert urls == {
        "unioncore-prometheus": "$PROMETHEUS_URL",
        "unioncore-alertmanager": "$ALERTMANAGER_URL",
        "unioncore-loki": "$LOKI_URL",
    }


def test_dashboards_are_read_from_files_and_can_not_be_changed_in_place() -> None:
    (provider,) = provisioned("dashboards/unioncore.yml")["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    assert provider["folder"] == "UnionCore"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def test_without_loki_nothing_asks_it() -> None:
    # Grafana reads these two directories, and no other of ours.
    assert {path.name for path in PROVISIONING.iterdir()} == {"datasources", "dashboards", "optional"}
    assert "loki" not in (PROVISIONING / "datasources" / "unioncore.yml").read_text()
    (loki,) = provisioned("optional/loki.yml")["datasources"]
    for name, dashboard in DASHBOARDS.items():
        asking = [panel for panel in dashboard["panels"] if panel.get("datasource", {}).get("type") == "loki"]
        assert asking == [], name
        rows = [row for row in dashboard["panels"] if row["type"] == "row"]
        closed = [row for row in rows if any(panel["type"] == "logs" for panel in row["panels"])]
        assert [row["title"] for row in closed] == (["Logs"] if name == "service" else [])
        assert all(row["collapsed"] for row in closed)
    (logs,) = [v for v in DASHBOARDS["service"]["templating"]["list"] if v["name"] == "logs"]
    assert (logs["query"], logs["current"]["value"], logs["hide"]) == (loki["type"], loki["uid"], 2)


def test_a_site_renders_its_own_runbooks_into_the_dashboards(tmp_path: Path) -> None:
    own = {"UNIONCORE_RUNBOOKS_URL": "https://wiki.example.org/u/", "UNIONCORE_ALERTS_MAY_GO_NOWHERE": "yes"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNIONCORE_")}
    command = [sys.executable, "-m", "scripts.render_config", "--output", str(tmp_path)]
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards" / "gone.json").write_text("{}")
    subprocess.run(command, env=environment | own, cwd=REPOSITORY, check=True, capture_output=True)
    rendered = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "dashboards").iterdir()}
    assert set(rendered) == set(DASHBOARDS)
    for name, dashboard in rendered.items():
        (runbooks,) = [v for v in dashboard["templating"]["list"] if v["name"] == "runbooks"]
        assert runbooks["query"] == runbooks["current"]["value"] == "https://wiki.example.org/u"
        assert "unioncore.example" not in json.dumps(dashboard)
        # Nothing else differs.
        dashboard["templating"] = DASHBOARDS[name]["templating"]
        assert dashboard == DASHBOARDS[name]
