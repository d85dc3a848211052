"""The shipped prometheus.yml scrapes and probes what the files of targets say, and nothing is lost on the way."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from scripts.dev.servers import Prometheus
from tests.prometheus.shipped import DIRECTORY


def active(server: Prometheus) -> dict[tuple[str, str], dict[str, Any]]:
    targets = server.get("/api/v1/targets").json()["data"]["activeTargets"]
    return {(target["labels"]["job"], target["labels"]["instance"]): target for target in targets}


def configuration(directory: Path, targets: dict[str, list[dict[str, Any]]]) -> Path:
    shutil.copytree(DIRECTORY, directory)
    for path in (directory / "targets").iterdir():
        path.unlink()
    for name, content in targets.items():
        (directory / "targets" / f"{name}.yml").write_text(yaml.safe_dump(content))
    return directory / "prometheus.yml"


def wait(server: Prometheus, number: int) -> dict[tuple[str, str], dict[str, Any]]:
    deadline = time.monotonic() + 30
    while len(found := active(server)) != number:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_base_url_is_probed_in_every_way(tmp_path: Path) -> None:
    # As it is given, as it is called from then on, and what is asked for its certificate.
    urls = {
        "https://uc.example.org": ("https://uc.example.org", "uc.example.org:443"),
        "https://other.example.org/": ("https://other.example.org", "other.example.org:443"),
        "https://uc.example.org:8443/app/": ("https://uc.example.org:8443/app", "uc.example.org:8443"),
        "HTTPS://upper.example.org": ("HTTPS://upper.example.org", "upper.example.org:443"),
        "HTTPS://upper.example.org:8443": ("HTTPS://upper.example.org:8443", "upper.example.org:8443"),
        "https://[2001:db8::1]": ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        "http://127.0.0.1:8000": ("http://127.0.0.1:8000", None),
    }
    group = {"targets": list(urls), "labels": {"__prober__": "127.0.0.1:1"}}
    expected = {}
    for instance, certificate in urls.values():
        expected["unioncore-live", instance] = {"module": "live", "target": f"{instance}/health/live"}
        for module in ("serving", "ready"):
            asked = {"module": module, "target": f"{instance}/health/ready"}
            expected[f"unioncore-{module}", instance] = asked
        if certificate:
            expected["unioncore-certificate", instance] = {"module": "certificate", "target": certificate}
    with Prometheus(configuration(tmp_path / "p", {"unioncore": [group]})) as server:
        found = {key: httpx.URL(target["scrapeUrl"]) for key, target in wait(server, len(expected)).items()}
    assert {key: dict(url.params) for key, url in found.items()} == expected
    assert {(url.host, url.port, url.path) for url in found.values()} == {("127.0.0.1", 1, "/probe")}


def test_a_missing_file_of_targets_is_no_error_and_a_new_one_is_noticed(tmp_path: Path) -> None:
    config = configuration(tmp_path / "p", {})
    with Prometheus(config) as server:
        assert active(server) == {}
        for name in ("exporter", "postgres", "node", "alertmanager", "grafana", "prometheus", "blackbox"):
            (config.parent / "targets" / f"{name}.yml").write_text(yaml.safe_dump([{"targets": ["127.0.0.1:1"]}]))
        found = wait(server, 7)
        assert {job for job, _ in found} == {
            "unioncore-exporter",
            "postgres",
            "node",
            "alertmanager",
            "grafana",
            "prometheus",
            "blackbox",
        }


def test_the_shipped_targets_are_those_of_one_machine() -> None:
    for path in (DIRECTORY / "targets").glob("*.yml"):
        for group in yaml.safe_load(path.read_text()):
            assert all("127.0.0.1" in target for target in group["targets"])
