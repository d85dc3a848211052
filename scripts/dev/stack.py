"""The whole stack on generated data: what the demo starts, one step after the other.

Everything runs on 127.0.0.1 and in temporary directories, and ends with this process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from exporter.collectors.jobs import JobsSource
from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest, Proof
from scripts.dev.binaries import find
from scripts.dev.generate import DEMO, Scale, create
from scripts.dev.postgres import EmbeddedPostgres
from scripts.dev.processes import end, free_port, make_directory, remove_directory, spawn
from scripts.dev.servers import Alertmanager, Exporter, Prometheus, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager, ExitStack

DATABASE = "unioncore"
SCRAPE_SECONDS = 2
STEPS = 6
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stack:
    """The running parts.

    Attributes:
        postgres: The database server; the database is called `unioncore`.
        exporter: The exporter.
        prometheus: Prometheus, with the repository's configuration.
        alertmanager: Alertmanager, with the configuration that is rendered, and no receiver.
        trickle: The process that makes things happen in the database.
    """

    postgres: EmbeddedPostgres
    exporter: Exporter
    prometheus: Prometheus
    alertmanager: Alertmanager | None
    trickle: subprocess.Popen[bytes]

    def urls(self) -> dict[str, str]:
        """Where to look, by what is there."""
        urls = {
            "Exporter": f"{self.exporter.url}/",
            "Metrics": f"{self.exporter.url}/metrics",
            "Prometheus": self.prometheus.url,
            "Database": self.postgres.url(DATABASE),
        }
        if not self.prometheus.has_pages():
            urls["Prometheus"] += "/api/v1/query?query=unioncore_members  (Debian's build has no web pages)"
        if self.alertmanager is not None:
            urls["Alertmanager"] = self.alertmanager.url
        return urls

    def dead(self) -> str | None:
        """The name of a part that ended by itself; None if all run."""
        servers = [server for server in (self.exporter, self.prometheus, self.alertmanager) if server]
        if self.trickle.poll() is not None:
            return "trickle"
        return next((server.name for server in servers if not server.alive()), None)


def start(
    life: ExitStack,
    step: Callable[[str], AbstractContextManager[object]],
    *,
    scale: Scale = DEMO,
    seed: int = 1,
    port_base: int = 0,
) -> Stack:
    """Start everything.

    Args:
        life: Closing it stops everything, in the reverse order.
        step: Wrapped around each of the `STEPS` steps, with its title.
        scale: The numbers of rows.
        seed: Other seeds make other data.
        port_base: The first of four ports to take where they are free; 0 for any.

    Raises:
        BinaryMissingError: Prometheus is not installed and cannot be fetched.
        PostgresError: The database could not be made.
        ServerError: A server did not start.
    """
    ports = [_port(port_base and port_base + offset) for offset in range(4)]
    with step("Starting PostgreSQL"):
        postgres = life.enter_context(EmbeddedPostgres(port=ports[3]))
    with step(f"Making {scale.members:,} members and {scale.audit_events:,} audit events"):
        postgres.create_database(DATABASE)
        create(postgres.url(DATABASE), "live", scale, seed=seed)
    with step("Starting the exporter"):
        exporter = life.enter_context(Exporter(postgres.url(DATABASE), port=ports[0]))
    with step("Making a backup"):
        back_up(postgres, DATABASE, exporter)
    with step("Finding Prometheus and Alertmanager (fetched once, if they are not installed)"):
        find("prometheus")
        find("alertmanager")
    with step("Starting Prometheus and what it needs"):
        configuration = make_directory("unioncore-configuration-")
        life.callback(remove_directory, configuration)
        alertmanager = life.enter_context(Alertmanager(_render(configuration / "rendered"), port=ports[2]))
        config = configure_prometheus(configuration / "prometheus", exporter, alertmanager)
        prometheus = life.enter_context(Prometheus(config, port=ports[1]))
        trickle = _trickle(life, postgres.url(DATABASE), seed)
    return Stack(postgres, exporter, prometheus, alertmanager, trickle)


def _render(directory: Path) -> Path:
    """Render Alertmanager's configuration, without a single receiver, and return its path."""
    subprocess.run(
        [sys.executable, "-m", "scripts.render_config", "--output", directory],
        env=os.environ | {"UNIONCORE_ALERTS_MAY_GO_NOWHERE": "yes", "UNIONCORE_URL": "http://127.0.0.1:1"},
        check=True,
        capture_output=True,
    )
    return directory / "alertmanager" / "alertmanager.yml"


def configure_prometheus(directory: Path, exporter: Server, alertmanager: Server | None) -> Path:
    """Copy the repository's Prometheus configuration and point it at these servers.

    Args:
        directory: Where the copy goes; it must not exist.
        exporter: What it scrapes.
        alertmanager: Where it sends alerts, if anywhere.

    Returns:
        The copy's prometheus.yml, which scrapes and evaluates every `SCRAPE_SECONDS`.
    """
    shutil.copytree(_REPOSITORY / "prometheus", directory)
    targets = directory / "targets"
    servers = {"exporter": exporter, "alertmanager": alertmanager}
    # What is not started here is not looked for: the targets that the repository ships are a deployment's.
    for path in targets.glob("*.yml"):
        server = servers.get(path.stem)
        path.write_text(yaml.safe_dump([{"targets": [f"127.0.0.1:{server.port}"]}] if server else []))
    config = directory / "prometheus.yml"
    content = yaml.safe_load(config.read_text())
    interval = f"{SCRAPE_SECONDS}s"
    content["global"] |= dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), interval)
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    return config


def back_up(postgres: EmbeddedPostgres, database: str, exporter: Exporter) -> None:
    """Make one backup with the real pg_dump, as a verified one, and push the result as the job would.

    Args:
        postgres: The server.
        database: What is dumped.
        exporter: Whose backup directory it goes to, and who is told.

    Raises:
        subprocess.CalledProcessError: pg_dump failed.
        httpx.HTTPError: The exporter refused the push.
    """
    began = time.time()
    dump = exporter.backups / f"unioncore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"
    command = [str(postgres.bin("pg_dump")), "-Fc", "-f", str(dump), "-d", postgres.url(database)]
    subprocess.run(command, check=True, capture_output=True)
    digest = hashlib.sha256(dump.read_bytes()).hexdigest()
    ended = time.time()
    started_at, finished_at = (datetime.fromtimestamp(moment, UTC) for moment in (began, ended))
    manifest = Manifest(dump.name, digest, dump.stat().st_size, started_at, finished_at)
    dump.with_name(dump.name + PROOF_SUFFIX).write_bytes(Proof(digest, finished_at).render())
    dump.with_name(dump.name + MANIFEST_SUFFIX).write_bytes(manifest.render())

    registry = CollectorRegistry()
    values = {
        "unioncore_job_last_success_timestamp_seconds": ended,
        "unioncore_job_last_run_timestamp_seconds": ended,
        "unioncore_job_last_run_succeeded": 1,
        "unioncore_job_last_run_duration_seconds": ended - began,
        "unioncore_job_last_run_items": 46,
    }
    for family in JobsSource.families:
        Gauge(family.name, family.documentation, registry=registry).set(values[family.name])
    exporter.request("PUT", "/metrics/job/backup", content=generate_latest(registry))


def _trickle(life: ExitStack, url: str, seed: int) -> subprocess.Popen[bytes]:
    process = spawn(
        [sys.executable, "-m", "scripts.dev.trickle", "--quiet", "--seed", str(seed)],
        env=os.environ | {"DATABASE_URL": url},
        cwd=_REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    life.callback(end, process)
    return process


def _port(wanted: int) -> int:
    """The port that is wanted if nothing listens on it, else any free one; 0 wants none."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted or free_port()
