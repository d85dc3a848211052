"""The watching side of the stack: Prometheus, Alertmanager and what they need, with the configuration that is shipped.

Everything is rendered by `unioncore-ops render-config` from the environment, as at a site. A test, the demo or the
benchmark gives what is watched, and where notifications go.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.dev.history.clock import LOOKBACK
from scripts.dev.pace import SHIPPED, Pace
from scripts.dev.servers import Alertmanager, Prometheus, Server, ServerError
from scripts.dev.watchers import BlackboxExporter, PostgresExporter
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from scripts.dev.sink import Sink

_BLACKBOX = Path(__file__).parents[2] / "prometheus" / "blackbox.yml"


@dataclass(frozen=True)
class Watching:
    """The running parts.

    Attributes:
        blackbox: blackbox_exporter, which probes UnionCore.
        statistics: postgres_exporter.
        alertmanager: Alertmanager.
        prometheus: Prometheus.
        configuration: The directory of what was rendered: `alertmanager/`, `prometheus.yml`, `rules/`, `targets/`.
    """

    blackbox: BlackboxExporter
    statistics: PostgresExporter
    alertmanager: Alertmanager
    prometheus: Prometheus
    configuration: Path

    def servers(self) -> tuple[Server, ...]:
        """Return every part."""
        return self.blackbox, self.statistics, self.alertmanager, self.prometheus


def watch(
    life: ExitStack,
    *,
    exporter: Server,
    application: Server,
    database_url: str,
    variables: Mapping[str, str] | None = None,
    pace: Pace = SHIPPED,
    ports: Mapping[str, int] | None = None,
    past: Callable[[Path, PostgresExporter], None] | None = None,
) -> Watching:
    """Start the watching side.

    Args:
        life: Closing it stops everything, in the reverse order.
        exporter: The exporter, which is scraped.
        application: UnionCore, which is probed.
        database_url: The server that postgres_exporter watches, with any of its databases.
        variables: What configures notifications, as `UNIONCORE_MAIL_TO`, and further targets. Without any, alerts go
            nowhere: none of this process's own environment is used.
        pace: How fast it goes.
        ports: Where the parts listen: `blackbox`, `statistics`, `alertmanager`, `prometheus`; those left out
            take a free one.
        past: Fills Prometheus' store before it starts.

    Raises:
        BinaryMissingError: A program is not installed and cannot be fetched.
        ServerError: A server did not start, or the configuration could not be rendered.
    """
    listens = {name: free_port() for name in ("blackbox", "statistics", "alertmanager", "prometheus")} | dict(
        ports or {}
    )
    configuration = make_directory("unioncore-configuration-")
    life.callback(remove_directory, configuration)
    targets = {
        "UNIONCORE_URL": application.url,
        "UNIONCORE_EXPORTER_TARGETS": f"127.0.0.1:{exporter.port}",
        "UNIONCORE_BLACKBOX_TARGETS": f"127.0.0.1:{listens['blackbox']}",
        "UNIONCORE_POSTGRES_EXPORTER_TARGETS": f"127.0.0.1:{listens['statistics']}",
        "UNIONCORE_ALERTMANAGER_TARGETS": f"127.0.0.1:{listens['alertmanager']}",
        "UNIONCORE_PROMETHEUS_TARGETS": f"127.0.0.1:{listens['prometheus']}",
    }
    configure(configuration, targets | dict(variables or {"UNIONCORE_ALERTS_MAY_GO_NOWHERE": "yes"}), pace)
    blackbox = life.enter_context(BlackboxExporter(configuration / "blackbox.yml", port=listens["blackbox"]))
    statistics = life.enter_context(PostgresExporter(database_url, port=listens["statistics"]))
    alertmanager = life.enter_context(
        Alertmanager(configuration / "alertmanager" / "alertmanager.yml", port=listens["alertmanager"])
    )
    prometheus = Prometheus(
        configuration / "prometheus.yml",
        port=listens["prometheus"],
        resend=pace.resend,
        lookback=LOOKBACK if past else 5 * 60,
    )
    life.callback(prometheus.close)
    if past:
        past(prometheus.data, statistics)
    prometheus.start()
    return Watching(blackbox, statistics, alertmanager, prometheus, configuration)


def notify(sink: Sink, directory: Path) -> dict[str, str]:
    """Return the variables that lead every notification to a sink: page, chat, mail, tickets and the heartbeat.

    Args:
        sink: Who takes them.
        directory: Where the files of the secrets go.
    """
    secrets = {
        "PAGERDUTY_KEY": "a-key",
        "SLACK_URL": f"{sink.url}/slack/alerts",
        "TICKET_WEBHOOK_URL": f"{sink.url}/desk/alerts",
        "HEARTBEAT_URL": f"{sink.url}/heartbeat/alerts",
    }
    variables = {
        "UNIONCORE_PAGERDUTY_URL": f"{sink.url}/pagerduty/v2/enqueue",
        "UNIONCORE_MAIL_TO": "it@local.example",
        "UNIONCORE_SMTP_HOST": "127.0.0.1",
        "UNIONCORE_SMTP_PORT": str(sink.smtp_port),
        "UNIONCORE_SMTP_TLS": "none",
        "UNIONCORE_SMTP_FROM": "alerts@local.example",
    }
    for name, secret in secrets.items():
        path = directory / name.lower()
        path.write_text(secret)
        variables[f"UNIONCORE_{name}_FILE"] = str(path)
    return variables


def configure(directory: Path, variables: Mapping[str, str], pace: Pace = SHIPPED) -> None:
    """Make the configuration as a site does it: what is shipped, and what is rendered from the environment.

    Args:
        directory: Gets `alertmanager/`, `prometheus.yml` with `rules/` and `targets/`, and `blackbox.yml`.
        variables: The environment's variables that begin with UNIONCORE_.
        pace: How fast it goes.

    Raises:
        ServerError: It could not be rendered; the message says why.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNIONCORE_")}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.render_config", "--output", directory],
        env=inherited | dict(variables),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"render-config ended with {done.returncode}:\n{done.stderr.strip()}")
    shutil.copy(_BLACKBOX, directory)
    if pace != SHIPPED:
        pace.prometheus(directory)
        pace.alertmanager(directory / "alertmanager" / "alertmanager.yml")
