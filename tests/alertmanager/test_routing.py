import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.dev.binaries import find
from scripts.dev.sink import Sink
from scripts.rendering.files import SOURCE
from scripts.rendering.levels import LEVELS
from scripts.rendering.settings import CHANNELS
from tests.alertmanager.alerting import CONFIG, Site, load

# What amlint says, and is accepted: its code, where, and why.
_ACCEPTED = {
    ("inhibit-no-equal", "inhibit_rules[0]"),  # cause and effect are different services', of the one UnionCore
    ("empty-receiver", "receivers[discard]"),  # what may go nowhere goes there
}


def add(site: Site, variable: str) -> None:
    """Configure one service."""
    name = variable.removeprefix("UNIONCORE_").removesuffix("_FILE")
    match name:
        case "MAIL_TO" | "TICKET_MAIL_TO":
            site.set(SMTP_HOST="smtp.example.org", SMTP_FROM="alerts@local.example", **{name: "it@local.example"})
        case "JIRA_URL":
            site.secret("JIRA_TOKEN").set(JIRA_URL="https://local.atlassian.net", JIRA_PROJECT="OPS")
        case _:
            site.secret(name, "https://hooks.example.org/" if name.endswith("URL") else "")


def receivers(config: Path, *labels: str) -> list[str]:
    """Ask amtool where an alert goes."""
    command: list[str | Path] = [find("amtool"), "config", "routes", "test", f"--config.file={config}", *labels]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(",")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One with every channel."""
    with Sink() as sink:
        yield Site(tmp_path_factory.mktemp("site")).everything(sink).rendered() / CONFIG


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("critical", ["page", "chat", "mail"]),
        ("high", ["page", "chat", "mail"]),
        ("medium", ["chat", "ticket"]),
        ("low", ["chat", "ticket"]),
        ("unheard-of", ["chat", "ticket"]),
    ],
)
def test_a_severity_goes_to_its_channels(config: Path, severity: str, expected: list[str]) -> None:
    assert receivers(config, f"severity={severity}", "service=database", "alertname=Any") == expected


def test_an_alert_without_a_severity_is_not_lost(config: Path) -> None:
    assert receivers(config, "alertname=Any") == ["chat", "ticket"]


def test_the_watchdog_goes_to_the_heartbeat_alone(config: Path) -> None:
    assert receivers(config, "alertname=UnionCoreWatchdog", "severity=none") == ["heartbeat"]


@pytest.mark.parametrize(
    ("severity", "integration", "expected"),
    [
        ("high", "pagerduty", ["chat", "mail"]),
        ("high", "webhook", ["chat", "mail"]),
        ("high", "slack", ["page", "mail"]),
        ("high", "msteamsv2", ["page", "mail"]),
        ("high", "email", ["page", "chat"]),
        ("high", "jira", ["page", "chat", "mail"]),
        ("medium", "jira", ["chat"]),
        ("medium", "slack", ["ticket"]),
        ("low", "email", ["chat"]),
    ],
)
def test_failing_notifications_are_told_by_another_channel(
    config: Path, severity: str, integration: str, expected: list[str]
) -> None:
    labels = (f"severity={severity}", f"integration={integration}", "alertname=UnionCoreNotificationsFailing")
    assert receivers(config, *labels) == expected


def test_failing_notifications_are_told_by_a_channel_that_would_not_be_told_otherwise(site: Site) -> None:
    for variable in ("UNIONCORE_SLACK_URL_FILE", "UNIONCORE_JIRA_URL"):
        add(site, variable)
    assert receivers(site.rendered() / CONFIG, "severity=high", "integration=slack") == ["ticket"]


def test_with_one_channel_alone_failing_notifications_are_told_by_it_all_the_same(site: Site) -> None:
    add(site, "UNIONCORE_MAIL_TO")
    assert receivers(site.rendered() / CONFIG, "severity=high", "integration=email") == ["mail"]


def test_mail_stands_in_for_a_ticket_and_at_all_hours(site: Site) -> None:
    for variable in ("UNIONCORE_PAGERDUTY_KEY_FILE", "UNIONCORE_SLACK_URL_FILE", "UNIONCORE_MAIL_TO"):
        add(site, variable)
    config = site.rendered() / CONFIG
    assert receivers(config, "severity=low") == ["chat", "mail"]
    low = next(route for route in load(config)["route"]["routes"] if route.get("matchers") == ['severity="low"'])
    assert [bool(child.get("active_time_intervals")) for child in low["routes"]] == [True, False]


def test_intervals_are_those_that_the_response_times_call_for(config: Path) -> None:
    routes = load(config)["route"]["routes"]
    repeats = {
        (route["matchers"][0], child["receiver"]): child.get("repeat_interval", route["repeat_interval"])
        for route in routes[1:5]
        for child in route["routes"]
    }
    assert repeats == {
        ('severity="critical"', "page"): "15m",
        ('severity="critical"', "chat"): "15m",
        ('severity="critical"', "mail"): "15m",
        ('severity="high"', "page"): "1h",
        ('severity="high"', "chat"): "1h",
        ('severity="high"', "mail"): "1h",
        ('severity="medium"', "chat"): "4h",
        ('severity="medium"', "ticket"): "5d",
        ('severity="low"', "chat"): "720m",
        ('severity="low"', "ticket"): "5d",
    }


@pytest.mark.parametrize(
    ("hours", "repeat"), [("06:00-22:00", "480m"), ("00:00-24:00", "720m"), ("09:00-17:00", "720m")]
)
def test_a_chat_with_business_hours_is_told_again_after_a_night_at_the_latest(
    site: Site, hours: str, repeat: str
) -> None:
    add(site, "UNIONCORE_SLACK_URL_FILE")
    low = load(site.set(BUSINESS_HOURS=hours).rendered() / CONFIG)["route"]["routes"][4]
    assert low["routes"][0]["repeat_interval"] == repeat


def test_tickets_are_never_muted(config: Path) -> None:
    def muted(route: dict[str, object]) -> Iterator[object]:
        if route.get("active_time_intervals") or route.get("mute_time_intervals"):
            yield route["receiver"]
        for child in route.get("routes", []):  # type: ignore[attr-defined]
            yield from muted(child)

    assert set(muted(load(config)["route"])) == {"chat"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from([variable for channel in CHANNELS.values() for variable in channel])), st.booleans())
def test_every_combination_is_valid_and_tells_somebody(
    tmp_path_factory: pytest.TempPathFactory, variables: set[str], heartbeat: bool
) -> None:
    site = Site(tmp_path_factory.mktemp("site")).set(ALERTS_MAY_GO_NOWHERE="yes")
    for variable in sorted(variables):
        add(site, variable)
    if heartbeat:
        site.secret("HEARTBEAT_URL", "https://hooks.example.org/")
    config = site.rendered() / CONFIG
    for level in LEVELS:
        told = receivers(config, f"severity={level.severity}")
        assert ("discard" in told) == (not variables)
        assert len(told) == len(set(told))


def test_amlint_finds_nothing_that_is_not_accepted(config: Path, tmp_path: Path) -> None:
    nowhere = Site(tmp_path).set(ALERTS_MAY_GO_NOWHERE="yes").rendered() / CONFIG
    rules = f"{SOURCE.parent}/prometheus/rules/*.yml"
    amlint = Path(sys.executable).with_name("amlint")
    command: list[str | Path] = [amlint, "check", "--format=json", "--exit-zero", "--rules", rules, config, nowhere]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {(finding["code"], finding["where"]) for finding in json.loads(done.stdout)} == _ACCEPTED
