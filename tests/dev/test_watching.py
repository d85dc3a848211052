"""What watches in the demo and in tests is what is shipped, rendered as at a site, and at most made faster."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dev.pace import LIVELY, SHIPPED, Pace
from scripts.dev.servers import ServerError
from scripts.dev.watching import configure

REPOSITORY = Path(__file__).parents[2]
NOWHERE = {"UNIONCORE_ALERTS_MAY_GO_NOWHERE": "yes", "UNIONCORE_EXPORTER_TARGETS": "127.0.0.1:1234"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules(directory: Path) -> dict[str, dict[str, Any]]:
    groups = [group for path in (directory / "rules").glob("*.yml") for group in load(path)["groups"]]
    return {
        rule["alert"]: rule | {"interval": group.get("interval")}
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }


def test_the_repository_configuration_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a developer's shell has of a real site is not used.
    monkeypatch.setenv("UNIONCORE_POSTGRES_EXPORTER_TARGETS", "db.example.org:9187")
    configure(tmp_path / "c", NOWHERE)
    shipped = REPOSITORY / "prometheus"
    for path in (shipped / "blackbox.yml", *(shipped / "rules").glob("*.yml")):
        assert (tmp_path / "c" / path.relative_to(shipped)).read_bytes() == path.read_bytes()
    assert (
        load(tmp_path / "c" / "prometheus.yml")["scrape_configs"] == load(shipped / "prometheus.yml")["scrape_configs"]
    )
    targets = tmp_path / "c" / "targets"
    assert load(targets / "exporter.yml") == [{"targets": ["127.0.0.1:1234"]}]
    assert load(targets / "postgres.yml") == []
    assert os.environ["UNIONCORE_POSTGRES_EXPORTER_TARGETS"]


def test_for_a_demo_only_looking_is_faster(tmp_path: Path) -> None:
    configure(tmp_path / "c", NOWHERE, LIVELY)
    config = load(tmp_path / "c" / "prometheus.yml")
    shipped = load(REPOSITORY / "prometheus" / "prometheus.yml")
    assert shipped["global"]["scrape_interval"] == "15s"
    assert set(config["global"].values()) == {"2000ms"}
    assert [job["job_name"] for job in config["scrape_configs"]] == [
        job["job_name"] for job in shipped["scrape_configs"]
    ]
    down, slow = (rules(tmp_path / "c")[name] for name in ("UnionCoreDatabaseDown", "UnionCoreJobFailed"))
    assert (down["for"], down["interval"]) == ("30000ms", "5000ms")
    assert (slow["for"], slow["interval"]) == ("60000ms", "5000ms")


def test_for_a_test_all_waiting_is_shorter_and_nothing_else(tmp_path: Path) -> None:
    pace = Pace(speed=15)
    configure(tmp_path / "fast", NOWHERE, pace)
    configure(tmp_path / "slow", NOWHERE, SHIPPED)
    fast, slow = (rules(tmp_path / name) for name in ("fast", "slow"))
    assert fast.keys() == slow.keys()
    for name, rule in slow.items():
        changing = {"for", "keep_firing_for", "interval"}
        assert {key: rule[key] for key in rule.keys() - changing} == {
            key: fast[name][key] for key in fast[name].keys() - changing
        }
    assert (slow["UnionCoreDatabaseDown"]["for"], fast["UnionCoreDatabaseDown"]["for"]) == ("30s", "2000ms")
    heartbeat = load(tmp_path / "fast" / "alertmanager" / "alertmanager.yml")["route"]["routes"][0]
    # A notification still has a second to be delivered.
    assert heartbeat["group_interval"] == "2000ms"
    assert heartbeat["repeat_interval"] == "4000ms"


def test_a_configuration_that_tells_nobody_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="nobody would be told of a P1"):
        configure(tmp_path / "c", {"UNIONCORE_URL": "http://127.0.0.1:1"})
