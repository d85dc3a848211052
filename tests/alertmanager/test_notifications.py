"""Alerts travel: a real Alertmanager, every service configured, two minutes lasting a second."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from scripts.dev.sink import Sink
from tests.alertmanager.alerting import CHAT, CONFIG, MAIL, MINUTE, PAGE, TICKET, Alerts, Site, running, told, until

_CHANNELS = {
    "critical": PAGE | CHAT | MAIL,
    "high": PAGE | CHAT | MAIL,
    "medium": CHAT | TICKET,
    "low": CHAT | TICKET,
}
_NAMES = {"critical": "Offline", "high": "Broken", "medium": "Degraded", "low": "Minor"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    # The chat's business hours are always: they have tests of their own.
    return Site(tmp_path_factory.mktemp("site")).set(BUSINESS_HOURS="00:00-24:00", BUSINESS_DAYS="sunday:saturday")


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running_sink:
        yield running_sink


@pytest.fixture(scope="module")
def alerts(site: Site, sink: Sink) -> Iterator[Alerts]:
    with running(site.everything(sink).rendered() / CONFIG) as alertmanager:
        yield alertmanager


@pytest.fixture(scope="module")
def fired(alerts: Alerts, sink: Sink) -> None:
    """One alert of each severity fires, and is over after Alertmanager has had time to tell of it twice."""
    for severity, name in _NAMES.items():
        alerts.fire(name, severity)
    until(lambda: all(set(told(sink, name, "firing")) == _CHANNELS[severity] for severity, name in _NAMES.items()))
    time.sleep(5.1 * MINUTE)
    for name in _NAMES.values():
        alerts.resolve(name)


@pytest.mark.usefixtures("fired")
@pytest.mark.parametrize("severity", _CHANNELS)
def test_a_severity_arrives_where_it_must_and_once(sink: Sink, severity: str) -> None:
    assert told(sink, _NAMES[severity], "firing") == dict.fromkeys(_CHANNELS[severity], 1)


@pytest.mark.usefixtures("fired")
@pytest.mark.parametrize("severity", _CHANNELS)
def test_its_resolve_arrives_wherever_it_was_told_and_once(sink: Sink, severity: str) -> None:
    expected = dict.fromkeys(_CHANNELS[severity], 1)
    until(lambda: told(sink, _NAMES[severity], "resolved") == expected)


@pytest.mark.usefixtures("fired")
def test_pagerduty_and_opsgenie_close_what_they_opened(sink: Sink) -> None:
    until(lambda: told(sink, "Offline", "resolved")["opsgenie"])
    events = [item.content for item in sink.received("pagerduty") if "Offline" in item.text]
    assert [event["event_action"] for event in events] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in events}) == 1
    assert [event["payload"]["severity"] for event in events] == ["critical", "critical"]
    (opened,) = [item.content for item in sink.received("opsgenie") if "alias" in item.text and "Offline" in item.text]
    assert opened["priority"] == "P1"
    assert opened["responders"] == [{"type": "team", "name": "IT"}]
    close = f"/v2/alerts/{opened['alias']}/close?identifierType=alias"
    assert [item.path for item in sink.received("opsgenie") if "/close" in item.path].count(close) == 1


@pytest.mark.usefixtures("fired")
def test_an_issue_is_opened_updated_and_closed_in_jira(sink: Sink) -> None:
    until(lambda: [issue["status"] for issue in sink.jira.issues.values()] == ["done", "done"])
    issues = {issue["summary"]: issue for issue in sink.jira.issues.values()}
    issue = issues["RESOLVED P3: The summary of Degraded & <more>"]
    assert issue["priority"] == {"name": "Medium"}
    assert {"unioncore", "P3"} < set(issue["labels"])
    assert "[Runbook|https://unioncore.example.org/docs/runbooks/Degraded.md]" in issue["description"]


@pytest.mark.usefixtures("fired")
def test_severity_and_clock_come_first_and_links_are_there(sink: Sink) -> None:
    clock = r"P1 CRITICAL, respond by \w{3} \d{1,2}:\d\d [AP]M P[SD]T: The summary of Offline & <more>"
    (mail,) = [item.content for item in sink.received("smtp") if item.content["subject"].startswith("P1")]
    assert re.fullmatch(clock, mail["subject"])
    assert mail["x-priority"] == "1"
    assert mail["from"] == "UnionCore alerts <alerts@local.example>"
    text = mail["text/plain"].replace("\r\n", "\n")
    assert re.match(clock, text)
    assert re.search(r"\n\nWhat is wrong with Offline: 97 % & <rising>\.\nSince \w{3} \w{3} \d", text)
    assert "97 % &amp; &lt;rising&gt;" in mail["text/html"]

    (slack,) = [item.content["attachments"][0] for item in sink.received("slack") if "P1 CRITICAL" in item.text]
    assert re.fullmatch(clock, slack["title"])
    assert slack["text"].startswith("What is wrong with Offline: 97 % &amp; &lt;rising&gt;.\n_Since ")
    links = {action["text"]: action["url"] for action in slack["actions"]}
    assert links["Runbook"] == "https://unioncore.example.org/docs/runbooks/Offline.md"
    assert links["Dashboard"] == "https://grafana.example.org/d/unioncore-service"
    assert links["Silence"].endswith("/#/silences/new?filter=%7Balertname%3D%22Offline%22%2C%20service%3D%22test%22%7D")

    for service in ("mattermost", "teams", "jira", "pagerduty", "opsgenie", "smtp"):
        texts = "".join(item.text for item in sink.received(service))
        assert all(link in texts for link in ("/docs/runbooks/", "/d/unioncore-service", "/#/silences/new?"))


@pytest.mark.usefixtures("fired")
def test_each_service_is_shown_its_own_secret(sink: Sink, site: Site) -> None:
    asked = {item.service: item.headers.get("authorization", "") for item in sink.received()}
    assert asked["jira"].startswith("Basic ")
    assert asked["pager"].startswith("Bearer secret")
    assert asked["desk"].startswith("Bearer secret")
    assert asked["opsgenie"].startswith("GenieKey secret")
    assert {item.content["routing_key"] for item in sink.received("pagerduty")} <= set(site.secrets)


@pytest.mark.usefixtures("fired")
def test_nothing_failed_and_no_secret_is_in_the_log_or_the_status(alerts: Alerts, site: Site) -> None:
    assert alerts.metric("alertmanager_notifications_failed_total") == 0
    shown = alerts.server.log + alerts.server.get("/api/v2/status").text
    assert not [secret for secret in site.secrets if secret in shown]


def test_the_heartbeat_is_heard_all_the_time_and_no_longer_than_the_watchdog_fires(alerts: Alerts, sink: Sink) -> None:
    alerts.fire("UnionCoreWatchdog", "none")
    until(lambda: told(sink, "UnionCoreWatchdog")["heartbeat"] >= 4)
    alerts.resolve("UnionCoreWatchdog")
    times = [item.at for item in sink.received("heartbeat")]
    assert max(later - earlier for earlier, later in pairwise(times)) < 4 * MINUTE
    assert set(told(sink, "UnionCoreWatchdog")) == {"heartbeat"}

    time.sleep(2 * MINUTE)
    before = told(sink, "UnionCoreWatchdog")
    time.sleep(5 * MINUTE)
    assert told(sink, "UnionCoreWatchdog") == before


def test_a_p1_is_told_again_every_15_minutes_until_it_is_over(alerts: Alerts, sink: Sink) -> None:
    alerts.fire("Lasting", "critical")
    until(lambda: told(sink, "Lasting", "firing") == dict.fromkeys(PAGE | CHAT | MAIL, 2))
    alerts.resolve("Lasting")
    until(lambda: told(sink, "Lasting", "resolved") == dict.fromkeys(PAGE | CHAT | MAIL, 1))
    first, second = (
        item.at for item in sink.received("slack") if "Lasting" in item.text and "RESOLVED" not in item.text
    )
    assert 15 * MINUTE <= second - first < 18 * MINUTE


def test_ten_alerts_of_one_kind_are_one_notification(alerts: Alerts, sink: Sink) -> None:
    for number in range(10):
        alerts.fire("Many", "high", table=f"table{number}")
    until(lambda: told(sink, "Many", "firing") == dict.fromkeys(PAGE | CHAT | MAIL, 1))
    (slack,) = (item for item in sink.received("slack") if "Many" in item.text)
    assert "The summary of Many & <more> (10 alerts)" in slack.text


def test_what_follows_from_the_database_is_not_told_beside_it(alerts: Alerts, sink: Sink) -> None:
    sink.clear()
    for name, severity, service in (
        ("UnionCoreNotReady", "critical", "application"),
        ("UnionCoreDatabaseDown", "critical", "database"),
        ("UnionCoreJobFailed", "medium", "jobs"),
    ):
        alerts.fire(name, severity, service=service)
    everybody = dict.fromkeys(PAGE | CHAT | MAIL, 1)
    until(lambda: told(sink, "UnionCoreDatabaseDown", "firing") == everybody)
    time.sleep(2)
    alerts.resolve("UnionCoreNotReady")
    time.sleep(2)
    alerts.resolve("UnionCoreDatabaseDown")
    until(lambda: told(sink, "UnionCoreDatabaseDown", "resolved") == everybody)
    assert told(sink, "UnionCoreNotReady") == {}
    # The job is still failing now that the database is back: that is news.
    until(lambda: set(told(sink, "UnionCoreJobFailed")) == CHAT | TICKET)
