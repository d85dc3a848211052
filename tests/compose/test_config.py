"""docker-compose's files, without starting anything."""

import pytest

from tests.compose.composing import REPOSITORY, Compose

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
