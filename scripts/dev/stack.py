"""The whole stack on generated data: what the demo starts, and what tests of the whole start.

Everything runs on 127.0.0.1 and in temporary directories, and ends with this process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from exporter.collectors.jobs import JobsSource
from scripts.dev.binaries import find
from scripts.dev.bucket import S3Server
from scripts.dev.generate import DEMO, Scale, create
from scripts.dev.history.clock import DAYS
from scripts.dev.history.write import write
from scripts.dev.kept import back_up
from scripts.dev.pace import LIVELY, Pace
from scripts.dev.servers import Alertmanager, Exporter, Prometheus, Server
from scripts.dev.unioncore import UnionCore
from scripts.dev.watching import Watching, watch
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.processes import end, free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager, ExitStack

DATABASE = "unioncore"
STEPS = 8
_KEPT, _KEPT_WITHOUT_HISTORY = 14, 3
"""Backups, one for each day."""

PARTS = (
    "exporter",
    "prometheus",
    "alertmanager",
    "postgres",
    "application",
    "blackbox",
    "statistics",
)
"""What listens on a port, in the order in which the ports are taken."""
_REPOSITORY = Path(__file__).parents[2]
CLOSE_TRUNCATE = """
    create or replace trigger audit_logs_prevent_truncate before truncate on audit_logs
        for each statement execute function prevent_audit_modification();
"""
"""What the runbook UnionCoreAuditTruncatable has an operator do: a healthy site has done it."""

_RAN = {"cleanup": (20, 1.4, 131), "verify": (30, 48.0, 46), "archive": (54, 12.5, 961)}
"""The scheduled jobs beside the backup: how many hours ago each ran, how many seconds it took, its items."""


@dataclass(frozen=True)
class Stack:
    """The running parts.

    Attributes:
        postgres: The database server; the database is called `unioncore`.
        exporter: The exporter.
        application: The stand-in for UnionCore, on that database.
        watching: Prometheus, Alertmanager, and the other exporters.
        trickle: The process that makes things happen in the database.
    """

    postgres: EmbeddedPostgres
    exporter: Exporter
    application: UnionCore
    watching: Watching
    trickle: subprocess.Popen[bytes]

    @property
    def prometheus(self) -> Prometheus:
        """Prometheus, with the repository's configuration."""
        return self.watching.prometheus

    @property
    def alertmanager(self) -> Alertmanager:
        """Alertmanager, with the configuration that is rendered."""
        return self.watching.alertmanager

    def urls(self) -> dict[str, str]:
        """Where to look, by what is there."""
        prometheus = self.prometheus.url
        if not self.prometheus.has_pages():
            prometheus += "/api/v1/query?query=unioncore_members  (Debian's build has no web pages)"
        return {
            "Exporter": f"{self.exporter.url}/",
            "Metrics": f"{self.exporter.url}/metrics",
            "Prometheus": prometheus,
            "Alerts": f"{self.alertmanager.url}/api/v2/alerts",
            "UnionCore": f"{self.application.url}/health/ready  (a stand-in)",
            "Database": self.postgres.url(DATABASE),
        }

    def dead(self) -> str | None:
        """The name of a part that ended by itself; None if all run."""
        if self.trickle.poll() is not None:
            return "trickle"
        servers: tuple[Server, ...] = (self.exporter, self.application, *self.watching.servers())
        return next((server.name for server in servers if not server.alive()), None)


def start(
    life: ExitStack,
    step: Callable[[str], AbstractContextManager[object]] = nullcontext,
    *,
    scale: Scale = DEMO,
    seed: int = 1,
    port_base: int = 0,
    variables: Mapping[str, str] | None = None,
    pace: Pace = LIVELY,
    history: bool = False,
) -> Stack:
    """Start everything.

    Args:
        life: Closing it stops everything, in the reverse order.
        step: Wrapped around each of the `STEPS` steps, with its title.
        scale: The numbers of rows.
        seed: Other seeds make other data.
        port_base: The first of the ports to take where they are free, one for each of `PARTS`; 0 for any.
        variables: What configures notifications (`watch`); without any, alerts go nowhere.
        pace: How fast the watching goes.
        history: Prometheus begins with a past that leads up to what the database holds, and there are as many backups
            as after two weeks, off site (a real S3 server), too.

    Raises:
        HistoryError: That past could not be made.
        KeptError: No backup could be made.
        BinaryMissingError: A server is not installed and cannot be fetched.
        PostgresError: The database could not be made.
        ServerError: A server did not start.
    """
    ports = {part: _port(port_base and port_base + offset) for offset, part in enumerate(PARTS)}
    with step("Starting PostgreSQL"):
        postgres = life.enter_context(EmbeddedPostgres(port=ports["postgres"]))
    url = postgres.url(DATABASE)
    with step(f"Making {scale.members:,} members and {scale.audit_events:,} audit events"):
        postgres.create_database(DATABASE)
        create(url, "live", scale, seed=seed)
        postgres.psql(CLOSE_TRUNCATE, DATABASE)
    bucket = life.enter_context(S3Server()) if history else None
    with step("Starting the exporter"):
        off_site = bucket.variables() if bucket else {}
        exporter = life.enter_context(Exporter(url, port=ports["exporter"], env=off_site))
    with step("Making backups"):
        back_up(postgres, DATABASE, exporter, days=_KEPT if bucket else _KEPT_WITHOUT_HISTORY)
        if bucket:
            bucket.hold(exporter.backups)
        for job, (hours, seconds, items) in _RAN.items():
            report(exporter, job, ended=time.time() - hours * 3600, seconds=seconds, items=items)
    with step("Finding Prometheus and Alertmanager (fetched once, if they are not installed)"):
        for program in ("prometheus", "alertmanager", "blackbox_exporter", "postgres_exporter"):
            find(program)
    with step("Starting UnionCore's stand-in"):
        application = life.enter_context(UnionCore(url, port=ports["application"]))

    def past(data: Path, statistics: Server) -> None:
        with step(f"Making a past of {DAYS} days"):
            others = {part: ports[part] for part in ("blackbox", "alertmanager", "prometheus")}
            write(data, exporter=exporter, statistics=statistics, application=application, others=others, seed=seed)

    with step("Starting Prometheus, Alertmanager and what they need"):
        watching = watch(
            life,
            exporter=exporter,
            application=application,
            database_url=url,
            variables=variables,
            pace=pace,
            ports={part: ports[part] for part in ("blackbox", "statistics", "alertmanager", "prometheus")},
            past=past if history else None,
        )
        trickle = _trickle(life, url, seed)
    return Stack(postgres, exporter, application, watching, trickle)


def report(exporter: Exporter, job: str, *, ended: float, seconds: float, items: int) -> None:
    """Push a good result, as a job would.

    Args:
        exporter: Who is told.
        job: The job's name.
        ended: When it ended, as a Unix timestamp in seconds.
        seconds: How long it took.
        items: How many items it dealt with.

    Raises:
        httpx.HTTPError: The exporter refused the push.
    """
    registry = CollectorRegistry()
    values = {
        "unioncore_job_last_success_timestamp_seconds": ended,
        "unioncore_job_last_run_timestamp_seconds": ended,
        "unioncore_job_last_run_succeeded": 1,
        "unioncore_job_last_run_duration_seconds": seconds,
        "unioncore_job_last_run_items": items,
    }
    for family in JobsSource.families:
        Gauge(family.name, family.documentation, registry=registry).set(values[family.name])
    exporter.request("PUT", f"/metrics/job/{job}", content=generate_latest(registry))


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
