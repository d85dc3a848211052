"""A configured Alertmanager in front of a sink, for tests: rendered by the real command, started for real."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from scripts.dev.binaries import find
from scripts.dev.pace import Pace
from scripts.dev.servers import Alertmanager
from scripts.render_config import command
from scripts.rendering.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scripts.dev.sink import Received, Sink

PRIORITIES = {level.severity: level.priority for level in LEVELS}
PAGE = {"pagerduty", "opsgenie", "pager"}
CHAT = {"slack", "mattermost", "teams"}
MAIL = {"mail to officer@local.example, it@local.example"}
TICKET = {"jira", "desk", "mail to desk@local.example"}
CONFIG = "alertmanager/alertmanager.yml"

MINUTE = 0.5
"""What a minute lasts here, in seconds."""


@dataclass
class Site:
    """Where notifications go: variables of the environment, and the secrets that their files hold."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def set(self, **variables: object) -> Site:
        """Set variables, named without their prefix."""
        self.variables |= {f"UNIONCORE_{name}": str(value) for name, value in variables.items()}
        return self

    def secret(self, name: str, before: str = "") -> Site:
        """Set a variable to a file that holds a secret, after what may come before it."""
        value = f"secret{secrets.token_hex(12)}"
        path = self.directory / "secrets" / name.lower()
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{before}{value}\n")
        self.secrets.append(value)
        return self.set(**{f"{name}_FILE": path})

    def everything(self, sink: Sink) -> Site:
        """Configure every service there is, all of them in the sink."""
        self.secret("PAGERDUTY_KEY").set(PAGERDUTY_URL=f"{sink.url}/pagerduty/v2/enqueue")
        self.secret("OPSGENIE_KEY").set(OPSGENIE_URL=f"{sink.url}/opsgenie", OPSGENIE_TEAM="IT")
        self.secret("PAGE_WEBHOOK_URL", f"{sink.url}/pager/").secret("PAGE_WEBHOOK_TOKEN")
        self.secret("SLACK_URL", f"{sink.url}/slack/").set(SLACK_CHANNEL="#alerts")
        self.secret("MATTERMOST_URL", f"{sink.url}/mattermost/").set(MATTERMOST_CHANNEL="alerts")
        self.secret("TEAMS_URL", f"{sink.url}/teams/")
        self.mail(sink, MAIL_TO="officer@local.example, it@local.example", TICKET_MAIL_TO="desk@local.example")
        self.secret("JIRA_TOKEN").set(JIRA_URL=f"{sink.url}/jira", JIRA_PROJECT="OPS", JIRA_USER="bot@local.example")
        self.set(JIRA_PRIORITIES="Highest,High,Medium,Low", JIRA_RESOLVE_TRANSITION="Done")
        self.set(JIRA_REOPEN_TRANSITION="To Do")
        self.secret("TICKET_WEBHOOK_URL", f"{sink.url}/desk/").secret("TICKET_WEBHOOK_TOKEN")
        self.secret("HEARTBEAT_URL", f"{sink.url}/heartbeat/")
        return self.set(TIMEZONE="America/Los_Angeles", URL="https://unioncore.example.org")

    def mail(self, sink: Sink, **recipients: str) -> Site:
        """Configure mail by the sink, without TLS."""
        self.set(SMTP_HOST="127.0.0.1", SMTP_PORT=sink.smtp_port, SMTP_TLS="none", SMTP_FROM="alerts@local.example")
        return self.set(**recipients)

    def render(self, *arguments: str) -> Result:
        """Run the command with these variables and no other ones of its own."""
        return CliRunner().invoke(command, arguments, env=self.environment())

    def environment(self) -> dict[str, str | None]:
        """Return what the environment is changed to: amtool on PATH, and nothing that was set before."""
        before = dict.fromkeys(name for name in os.environ if name.startswith("UNIONCORE_"))
        return before | {"PATH": f"{find('amtool').parent}:/usr/bin:/bin"} | self.variables

    def rendered(self, name: str = "rendered") -> Path:
        """Render into a directory, checked, and return it."""
        output = self.directory / name
        result = self.render("--output", str(output), "--check")
        assert result.exit_code == 0, result.output
        return output


def hurry(config: Path) -> None:
    """Make a rendered configuration 120 times as fast."""
    Pace(speed=60 / MINUTE).alertmanager(config)


class Alerts:
    """A running Alertmanager that is sent alerts, as Prometheus does it."""

    def __init__(self, server: Alertmanager) -> None:
        self.server = server
        self._firing: dict[str, dict[str, Any]] = {}

    def fire(self, alertname: str, severity: str = "critical", *, service: str = "test", **labels: str) -> None:
        """Let an alert fire."""
        alert = {
            "labels": {"alertname": alertname, "severity": severity, "service": service}
            | {"priority": PRIORITIES.get(severity, "none")}
            | labels,
            "annotations": {
                "summary": f"The summary of {alertname} & <more>",
                "description": f"What is wrong with {alertname}: 97 % & <rising>.",
                "runbook_url": f"https://unioncore.example.org/docs/runbooks/{alertname}.md",
                "dashboard_url": "https://grafana.example.org/d/unioncore-service",
            },
            "startsAt": _moment(0),
            "endsAt": _moment(600),
        }
        self._firing[json.dumps([alertname, labels])] = alert
        self._post(alert)

    def resolve(self, alertname: str, **labels: str) -> None:
        """Let it be over."""
        self._post(self._firing[json.dumps([alertname, labels])] | {"endsAt": _moment(-0.01)})

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels."""
        wanted = labels.items()
        return sum(value for found, value in self._series(name) if wanted <= found.items())

    def counted(self, name: str, label: str) -> set[str]:
        """Return the values of a label of which a metric has more than 0, all as of one moment."""
        return {found[label] for found, value in self._series(name) if value}

    def _series(self, name: str) -> list[tuple[dict[str, str], float]]:
        families = text_string_to_metric_families(self.server.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]

    def _post(self, alert: Mapping[str, Any]) -> None:
        self.server.request("POST", "/api/v2/alerts", json=[alert])


@contextmanager
def running(config: Path, **environment: str) -> Iterator[Alerts]:
    """Run an Alertmanager with a rendered configuration, made faster."""
    hurry(config)
    server = Alertmanager(config)
    server.env |= environment
    with server:
        yield Alerts(server)


def told(sink: Sink, alertname: str, status: str = "") -> Counter[str]:
    """Return how many times each service was told of an alert: that it fires, or that it is resolved."""
    counts: Counter[str] = Counter()
    mine = {
        item.content["alias"] for item in sink.received("opsgenie") if "alias" in item.text and alertname in item.text
    }
    for item in sink.received():
        # What closes an alert in Opsgenie says only which.
        about = alertname in item.text or any(alias in item.path for alias in mine)
        if about and item.status < 300 and status in ("", said := _status(item)) and said:
            counts[f"mail to {item.path}" if item.service == "smtp" else item.service] += 1
    return counts


def _status(item: Received) -> str:
    """Return what a request says of its alert: `firing`, `resolved`, or nothing that counts."""
    if item.service == "jira" and not re.search(r"/issue(/[^/]+)?$", item.path):
        return ""
    if item.service == "opsgenie" and item.method != "POST":
        return ""
    over = ("RESOLVED ", '"resolve"', '"status": "resolved"')
    return "resolved" if "/close" in item.path or any(word in item.text for word in over) else "firing"


def until(true: Any, *, timeout: float = 30) -> None:
    """Wait until a function returns what is true."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def load(path: Path) -> Any:
    """Return what a rendered file holds."""
    return yaml.safe_load(path.read_text())


def _moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
