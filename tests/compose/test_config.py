"""docker-compose's files, without starting anything."""

import json
import re

import pytest

from tests.compose.composing import REPOSITORY, Compose, docker

pytestmark = pytest.mark.compose

HA = ("docker-compose.yml", "docker-compose.ha.yml")


@pytest.mark.parametrize(
    ("profiles", "files"),
    [
        ((), HA[:1]),
        (("site",), HA[:1]),
        (("demo",), HA[:1]),
        (("logs",), HA[:1]),
        (("site", "logs"), HA[:1]),
        (("site",), HA),
        (("site", "logs"), HA),
    ],
)
def test_the_configuration_of_every_profile_is_clean(profiles: tuple[str, ...], files: tuple[str, ...]) -> None:
    done = Compose("unioncore-test-config", profiles=profiles, files=files).run("config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_of_an_environment_is_clean_and_brings_up_the_site() -> None:
    example = Compose("unioncore-test-config", env_file=REPOSITORY / ".env.example")
    done = example.run("config", "--services")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == {
        *("render-config", "exporter", "jobs", "prometheus", "alertmanager", "grafana"),
        *("blackbox-exporter", "postgres-exporter"),
    }


def test_the_profile_logs_has_loki_and_alloy_and_what_guards_dockers_socket() -> None:
    done = Compose("unioncore-test-config", profiles=("logs",)).run("config", "--services")
    assert set(done.stdout.split()) == {"loki", "alloy", "docker-logs"}


def test_alloy_is_told_all_that_its_configuration_asks_the_environment_for() -> None:
    asked = re.findall(r'sys\.env\("(\w+)"\)', (REPOSITORY / "compose" / "unioncore.alloy").read_text())
    logs = Compose("unioncore-test-config", profiles=("logs",))
    told = json.loads(logs.run("config", "--format", "json").stdout)["services"]["alloy"]["environment"]
    assert asked
    assert told == dict.fromkeys(asked, logs.project)


def test_every_service_of_every_profile_is_hardened() -> None:
    """Of the profile logs nothing can be run where these tests run: this is all that is known of it."""
    done = Compose("unioncore-test-config", profiles=("*",), files=HA).run("config", "--format", "json")
    services = json.loads(done.stdout)["services"]
    assert len(services) >= 27
    for name, service in services.items():
        assert service["user"].split(":")[0] not in {"", "0", "root"}, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) <= 2 << 30, name
        assert service["pids_limit"] <= 256, name
        assert service["logging"]["options"]["max-size"], name
        assert service["healthcheck"].get("test") or service["restart"] == "no", name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert not service.get("privileged"), name
    sockets = [name for name, one in services.items() if "/var/run/docker.sock" in str(one.get("volumes"))]
    assert sockets == ["docker-logs"]


def test_removing_the_demo_with_its_volumes_leaves_those_of_a_site() -> None:
    demo = Compose("unioncore-test-volumes", profiles=("demo",))
    backups = f"{demo.project}_backups"
    labels = (f"com.docker.compose.project={demo.project}", "com.docker.compose.volume=backups")
    docker("volume", "create", *(f"--label={label}" for label in labels), backups)
    try:
        demo("down", "--volumes", "--remove-orphans")
        assert docker("volume", "ls", "--quiet", "--filter", f"name=^{backups}$") == backups
    finally:
        docker("volume", "rm", backups)
