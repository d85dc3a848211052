"""What notifications say in the cases that seldom come, rendered by amtool itself."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.dev.binaries import find
from tests.alertmanager.alerting import Site


@pytest.fixture
def templates(site: Site) -> Path:
    return site.set(ALERTS_MAY_GO_NOWHERE="yes", TIMEZONE="America/Los_Angeles").rendered() / "alertmanager/templates"


def say(templates: Path, name: str, alerts: list[dict[str, Any]], *, html: bool = False) -> str:
    labels = dict.fromkeys(("alertname", "service", "severity"), "")
    common = {label: alerts[0]["labels"].get(label, "") for label in labels}
    same = (
        {"summary": alerts[0]["annotations"].get("summary", "")}
        if len({_summary(alert) for alert in alerts}) == 1
        else {}
    )
    firing = any(alert["status"] == "firing" for alert in alerts)
    data = {
        "status": "firing" if firing else "resolved",
        "alerts": alerts,
        "groupLabels": {name: common[name] for name in ("alertname", "service")},
        "commonLabels": common,
        "commonAnnotations": same,
        "externalURL": "https://alerts.example.org",
    }
    file = templates.parent / "data.json"
    file.write_text(json.dumps(data))
    command: list[str | Path] = [
        find("amtool"),
        "template",
        "render",
        f"--template.glob={templates}/*.tmpl",
        f"--template.data={file}",
        f"--template.type={'html' if html else 'text'}",
        f'--template.text={{{{ template "unioncore.{name}" . }}}}',
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def alert(severity: str = "high", status: str = "firing", **annotations: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "Any", "service": "jobs", "severity": severity},
        "annotations": annotations,
        "startsAt": "2026-03-08T09:50:00Z",
        "endsAt": "2026-03-08T11:02:03Z",
    }


@pytest.mark.parametrize(
    ("severity", "title"),
    [
        # That night clocks are put forward from 2 to 3: the hour that there is none of is not promised.
        ("critical", "P1 CRITICAL, respond by Sun 3:05 AM PDT: Broken"),
        ("high", "P2 HIGH, respond by Sun 3:50 AM PDT: Broken"),
        ("medium", "P3 MEDIUM, respond by Sun 6:50 AM PDT: Broken"),
        ("low", "P4 LOW, respond on the next business day: Broken"),
        ("strange", "P3 MEDIUM, respond by Sun 6:50 AM PDT: Broken"),
    ],
)
def test_a_title_says_severity_and_clock_in_the_site_s_time(templates: Path, severity: str, title: str) -> None:
    assert say(templates, "title", [alert(severity, summary="Broken")]) == title


def test_the_clock_counts_from_the_alert_that_fires_longest(templates: Path) -> None:
    first = alert(summary="A") | {"startsAt": "2026-03-08T08:00:00Z"}
    over = alert(status="resolved", summary="A") | {"startsAt": "2026-03-08T01:00:00Z"}
    assert say(templates, "title", [alert(summary="A"), over, first]).startswith(
        "P2 HIGH, respond by Sun 1:00 AM PST: A"
    )


def test_what_fires_is_told_of_and_not_what_is_over_before_it(templates: Path) -> None:
    links = {link: f"https://example.org/{link}" for link in ("runbook_url", "dashboard_url")}
    over = alert(status="resolved", summary="It was A") | {"startsAt": "2026-03-08T01:00:00Z"}
    alerts = [over, alert(summary="It is B", **links)]
    assert say(templates, "title", alerts) == "P2 HIGH, respond by Sun 3:50 AM PDT: It is B"
    assert say(templates, "page.title", alerts) == "P2: It is B"
    assert say(templates, "runbook", alerts) == "https://example.org/runbook_url"
    assert say(templates, "dashboard", alerts) == "https://example.org/dashboard_url"


@pytest.mark.parametrize("name", ["slack", "mattermost", "teams", "jira", "mail.text", "page.text"])
def test_every_text_says_what_is_wrong_the_value_and_since_when(templates: Path, name: str) -> None:
    text = say(templates, name, [alert(summary="Broken", description="Nobody can log in.", value="97 %")])
    assert re.search(r"Nobody can log in\.\s+Value: 97 %\s+[*_]?Since Sun Mar 8, 1:50 AM PST", text)
    assert text.count("Broken") == (1 if name in ("jira", "mail.text") else 0)


@pytest.mark.parametrize("name", ["slack", "mattermost", "teams", "jira", "mail.text", "mail.html", "page.text"])
def test_what_is_over_is_told_in_the_past_tense(templates: Path, name: str) -> None:
    text = say(templates, name, [alert(status="resolved", summary="B", description="Down.")], html=name == "mail.html")
    assert "It was: Down." in text
    assert "Resolved Sun Mar 8, 4:02 AM PDT, after 1h 12m 3s" in text


@pytest.mark.parametrize("name", ["slack", "mattermost", "teams", "jira", "mail.text", "mail.html", "page.text"])
def test_alerts_that_differ_are_named_and_not_more_than_ten(templates: Path, name: str) -> None:
    alerts = [alert(summary=f"Job {number:02} failed") for number in range(12)]
    text = say(templates, name, alerts, html=name == "mail.html")
    assert "Job 09 failed" in text
    assert "Job 10 failed" not in text
    assert "The first 10 of 12 alerts: the others are in Alertmanager." in text


def test_an_alert_without_annotations_is_told_all_the_same(templates: Path) -> None:
    assert say(templates, "title", [alert()]).endswith(": Any")
    assert say(templates, "runbook", [alert()]) == "https://alerts.example.org"
    assert say(templates, "dashboard", [alert()]) == "https://alerts.example.org"


def test_a_silence_is_filled_in_with_what_the_notification_is_about(templates: Path) -> None:
    link = "https://alerts.example.org/#/silences/new?filter=%7Balertname%3D%22Any%22%2C%20service%3D%22jobs%22%7D"
    assert say(templates, "silence", [alert()]) == link
    page = say(templates, "mail.html", [alert(summary="Broken")], html=True)
    assert f'href="{link}"' in page


def test_what_an_annotation_holds_is_text_in_a_mail(templates: Path) -> None:
    page = say(templates, "mail.html", [alert(summary="<script>", description="a & b")], html=True)
    assert "<script>" not in page
    assert "a &amp; b" in page


def test_an_address_that_is_none_is_no_link_in_a_mail(templates: Path) -> None:
    page = say(templates, "mail.html", [alert(summary="B", runbook_url="javascript:alert(1)")], html=True)
    assert "javascript:" not in page


def _summary(alert: dict[str, Any]) -> str:
    return str(alert["annotations"].get("summary", ""))
