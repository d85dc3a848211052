"""docker compose for tests: one project, brought up for real."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]
HEALTHY_SECONDS = int(os.environ.get("UNIONCORE_COMPOSE_SECONDS") or 120)
"""Within which a stack must be healthy; more for a machine that has much else to do."""
_PORTS = ("EXPORTER", "PROMETHEUS", "PROMETHEUS_2", "ALERTMANAGER", "GRAFANA")


def docker(*arguments: str | Path, check: bool = True) -> str:
    """Run docker and return what it prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Compose:
    """A project on ports of its own.

    Attributes:
        project: Its name.
        profiles: The profiles; none for those of the environment file.
        directory: Where docker-compose.yml is.
        files: The files, if not only that.
        env_file: In place of the directory's .env.
        variables: Of the shell.
    """

    project: str
    profiles: Sequence[str] = ()
    directory: Path = REPOSITORY
    files: Sequence[str] = ("docker-compose.yml",)
    env_file: Path = Path(os.devnull)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = {f"UNIONCORE_{name}_PORT": str(free_port()) for name in _PORTS} | self.variables

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of docker compose."""
        options = ["--project-name", self.project, "--env-file", str(self.env_file), "--progress", "plain"]
        options += [word for name in self.files for word in ("--file", str(self.directory / name))]
        options += [word for profile in self.profiles for word in ("--profile", profile)]
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("UNIONCORE_", "COMPOSE_"))}
        return subprocess.run(
            ["docker", "compose", *options, *arguments],
            cwd=self.directory,
            env=outer | self.variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}\n{done.stderr}\n{self._sick()}"
        return done.stdout.strip()

    def up(self) -> float:
        """Bring it up, and return how many seconds it took until all was healthy."""
        began = time.monotonic()
        self("up", "--detach", "--wait", "--wait-timeout", str(HEALTHY_SECONDS))
        return time.monotonic() - began

    def down(self) -> None:
        """Remove the containers; the volumes stay.

        Docker 20.10 may hold a network to be in use that no container is in any more (moby#42119): that one may stay,
        and `up` takes it again.
        """
        done = self.run("down")
        assert done.returncode == 0 or "has active endpoints" in done.stderr.splitlines()[-1], done.stderr
        assert not self.containers()

    def containers(self) -> dict[str, dict[str, Any]]:
        """What docker inspect says of every container, by service."""
        if not (ids := docker("ps", "--all", "--quiet", "--filter", self._mine()).split()):
            return {}
        found = json.loads(docker("inspect", *ids))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def address(self, service: str, network: str) -> str:
        """A container's address in one of the project's networks."""
        networks = self.containers()[service]["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_{network}"]["IPAddress"])

    def server(self, name: str) -> str:
        """The URL of a server whose port is published."""
        return f"http://127.0.0.1:{self.variables[f'UNIONCORE_{name}_PORT']}"

    def query(self, promql: str, *, server: str = "PROMETHEUS") -> list[dict[str, Any]]:
        """Ask Prometheus."""
        answer = httpx.get(f"{self.server(server)}/api/v1/query", params={"query": promql}, trust_env=False)
        answer.raise_for_status()
        series: list[dict[str, Any]] = answer.json()["data"]["result"]
        return series

    def value(self, promql: str) -> float | None:
        """Ask Prometheus for a single value; None if there is none."""
        series = self.query(promql)
        return float(series[0]["value"][1]) if series else None

    def remove(self) -> None:
        """Remove everything of it."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "5")

    def _mine(self) -> str:
        return f"label=com.docker.compose.project={self.project}"

    def _sick(self) -> str:
        """The end of the logs of what is not well."""
        lines = []
        for service, container in self.containers().items():
            state = container["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            if health != "healthy" or state["ExitCode"]:
                done = subprocess.run(
                    ["docker", "logs", "--tail", "15", container["Id"]], capture_output=True, text=True, check=False
                )
                lines.append(f"{service}: {state['Status']}, {health}\n{done.stdout}{done.stderr}")
        return "\n".join(lines)


def until(found: Callable[[], Any], what: str, *, seconds: float = 300) -> Any:
    """Wait for something, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if result := found():
                return result
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def received(demo: Compose) -> list[Mapping[str, Any]]:
    """What has come to the demo's sink."""
    url = f"http://{demo.address('demo-sink', 'demo-monitoring')}:9999/received"
    items: list[Mapping[str, Any]] = httpx.get(url, trust_env=False).json()
    return items


def told(demo: Compose, service: str, alert: str, status: str = "firing") -> list[Mapping[str, Any]]:
    """The notifications of an alert that a service of the sink has got."""
    return [
        item
        for item in received(demo)
        if item["service"] == service
        and item["content"]["status"] == status
        and any(one["labels"]["alertname"] == alert for one in item["content"]["alerts"])
    ]
