import json
import os
import re
import stat
from pathlib import Path

import pytest

from scripts.dev.sink import Sink
from scripts.rendering import files
from tests.alertmanager.alerting import CONFIG, Site, load


def pager(site: Site) -> Site:
    return site.secret("PAGERDUTY_KEY")


def test_only_what_is_configured_appears(site: Site) -> None:
    config = load(pager(site).rendered() / CONFIG)
    assert [receiver["name"] for receiver in config["receivers"]] == ["page", "discard"]
    assert set(config["receivers"][0]) == {"name", "pagerduty_configs"}


def test_nothing_for_a_p1_is_an_error(site: Site) -> None:
    site.secret("JIRA_TOKEN").set(JIRA_URL="https://jira.example.org", JIRA_PROJECT="OPS")
    result = site.render("--output", str(site.directory / "out"))
    assert result.exit_code == 2
    assert "nobody would be told of a P1" in result.stderr
    assert not (site.directory / "out").exists()


def test_nothing_for_a_p1_is_rendered_if_alerts_may_go_nowhere(site: Site) -> None:
    config = load(site.set(ALERTS_MAY_GO_NOWHERE="yes").rendered() / CONFIG)
    assert config["receivers"] == [{"name": "discard"}]


def test_all_errors_are_told_at_once_and_none_tells_a_value(site: Site) -> None:
    (site.directory / "two").write_text("hidden words\n")
    (site.directory / "no-url").write_text("hidden-token\n")
    (site.directory / "empty").write_text("\n")
    site.set(
        PAGERDUTY_KEY="hidden",
        OPSGENIE_KEY_FILE=site.directory / "two",
        SLACK_URL_FILE=site.directory / "no-url",
        TEAMS_URL_FILE=site.directory / "empty",
        MATTERMOST_URL_FILE=site.directory / "missing",
        HEARTBEAT_URL_FILE="relative",
        MAIL_TO="nobody",
        SMTP_TLS="none",
        SMTP_PASSWORD_FILE=site.directory / "no-url",
        JIRA_URL="ftp://hidden",
        JIRA_PRIORITIES="High",
        SLACK_CHANNEL="{{ hidden }}",
        TIMEZONE="Mars/Olympus",
        BUSINESS_HOURS="17:00-08:00",
        BUSINESS_DAYS="friday:monday",
        NODE_EXPORTER_TARGETS="hidden:99999",
    )
    result = site.render("--check")
    assert result.exit_code == 2
    for line in (
        "PAGERDUTY_KEY: a secret is taken from a file only: write it there, and set UNIONCORE_PAGERDUTY_KEY_FILE",
        "OPSGENIE_KEY_FILE: " + str(site.directory / "two") + " must hold one word",
        "SLACK_URL_FILE: " + str(site.directory / "no-url") + " must hold a URL",
        "TEAMS_URL_FILE: " + str(site.directory / "empty") + " is empty",
        "MATTERMOST_URL_FILE: " + str(site.directory / "missing") + " can't be read: No such file or directory",
        "HEARTBEAT_URL_FILE: must be an absolute path",
        "MAIL_TO: must be mail addresses",
        "SMTP_HOST: set it too, or unset UNIONCORE_MAIL_TO",
        "SMTP_FROM: set it too, or unset UNIONCORE_MAIL_TO",
        "SMTP_USER: set it too, or unset UNIONCORE_SMTP_PASSWORD_FILE",
        "SMTP_TLS: Alertmanager sends no password without TLS",
        "JIRA_URL: must begin with http:// or https://",
        "JIRA_PROJECT: set it too, or unset UNIONCORE_JIRA_URL",
        "JIRA_TOKEN_FILE: set it too, or unset UNIONCORE_JIRA_URL",
        "JIRA_PRIORITIES: must be four names",
        "SLACK_CHANNEL: must be printable, without {{",
        "TIMEZONE: is not the name of a time zone",
        "BUSINESS_HOURS: must begin before it ends",
        "BUSINESS_DAYS: friday:monday: a range ends on saturday",
        "NODE_EXPORTER_TARGETS: must be HOST:PORT",
    ):
        assert f"UNIONCORE_{line}" in result.stderr
    assert "hidden" not in result.output


def test_no_secret_is_rendered_or_shown(site: Site, sink: Sink) -> None:
    result = site.everything(sink).render("--output", str(site.directory / "out"), "--check")
    assert result.exit_code == 0
    shown = result.output + "".join(path.read_text() for path in (site.directory / "out").rglob("*") if path.is_file())
    assert len(site.secrets) == 11
    assert not [secret for secret in site.secrets if secret in shown]


def test_it_says_what_goes_where_and_what_is_missing(site: Site, sink: Sink) -> None:
    result = site.mail(sink, MAIL_TO="it@local.example").render("--check")
    answer = json.loads(result.stdout)
    assert answer["told"] == {"P1": ["mail"], "P2": ["mail"], "P3": ["mail"], "P4": ["mail"]}
    assert answer["changed"] == []
    assert [warning.split(":")[0] for warning in answer["warnings"]] == [
        "no page is configured",
        "only one channel is configured",
        "UNIONCORE_HEARTBEAT_URL_FILE is not set",
        "UNIONCORE_URL is not set",
    ]


def test_what_has_not_changed_is_left_alone_and_what_is_no_more_is_deleted(site: Site) -> None:
    output = pager(site).rendered()
    (output / "targets" / "old.yml").write_text("[]")
    (output / "alertmanager" / "templates" / "old.tmpl").write_text("")
    (output / "alertmanager" / "notes.txt").write_text("mine")
    before = (output / CONFIG).stat().st_mtime_ns
    result = site.set(GRAFANA_TARGETS="grafana:3000").render("--output", str(output))
    changed = ["targets/grafana.yml", "alertmanager/templates/old.tmpl", "targets/old.yml"]
    assert json.loads(result.stdout)["changed"] == changed
    assert (output / CONFIG).stat().st_mtime_ns == before
    assert (output / "alertmanager" / "notes.txt").exists()


def test_another_user_can_read_it_whatever_the_umask_is(site: Site) -> None:
    before = os.umask(0o077)
    try:
        output = pager(site).rendered()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in output.rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_what_amtool_refuses_replaces_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    output = pager(site).rendered()
    before = (output / CONFIG).read_text()
    monkeypatch.setattr("scripts.rendering.routing.BUSINESS_HOURS", "unknown")
    monkeypatch.setattr("scripts.rendering.routing.intervals", lambda _: [])
    site.secret("SLACK_URL", "https://hooks.slack.com/")
    result = site.render("--output", str(output), "--check")
    assert result.exit_code == 1
    assert "amtool refuses the configuration" in result.stderr
    assert (output / CONFIG).read_text() == before


def test_without_amtool_a_check_ends_with_9(site: Site) -> None:
    pager(site).variables["PATH"] = "/nowhere"
    result = site.render("--check")
    assert result.exit_code == 9
    assert "amtool is not on PATH" in result.stderr
    assert site.render("--output", str(site.directory / "out")).exit_code == 0


def test_a_directory_that_can_not_be_written_is_an_error(site: Site) -> None:
    (site.directory / "file").write_text("")
    result = pager(site).render("--output", str(site.directory / "file" / "out"))
    assert result.exit_code == 1
    assert "can't be written: Not a directory" in result.stderr


def test_no_file_is_ever_half_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    output = pager(site).rendered()
    before = {path: path.read_text() for path in output.rglob("*") if path.is_file()}

    def fail(_: Path, __: bytes) -> None:
        raise OSError(28, "No space left on device", str(output))

    monkeypatch.setattr(files, "write_durably", fail)
    assert site.set(GRAFANA_TARGETS="grafana:3000").render("--output", str(output)).exit_code == 1
    assert {path: path.read_text() for path in output.rglob("*") if path.is_file()} == before


def test_targets_are_where_the_environment_says(site: Site) -> None:
    pager(site).set(
        URL="https://unioncore.example.org/",
        EXPORTER_URL="https://[::1]/metrics-of/exporter",
        BLACKBOX_TARGETS="blackbox:9115",
        ALERTMANAGER_TARGETS="a:9093, b:9093",
        POSTGRES_EXPORTER_TARGETS="postgres:9187",
    )
    output = site.rendered()
    assert load(output / "targets/unioncore.yml") == [
        {"targets": ["https://unioncore.example.org"], "labels": {"__prober__": "blackbox:9115"}}
    ]
    assert load(output / "targets/exporter.yml") == [
        {
            "targets": ["[::1]:443"],
            "labels": {"__scheme__": "https", "__metrics_path__": "/metrics-of/exporter/metrics"},
        }
    ]
    assert load(output / "targets/alertmanager.yml") == [{"targets": ["a:9093", "b:9093"]}]
    assert load(output / "targets/postgres.yml") == [{"targets": ["postgres:9187"]}]
    assert load(output / "targets/node.yml") == []


@pytest.mark.parametrize("text", [",", " , ", " "])
@pytest.mark.parametrize("name", ["BLACKBOX_TARGETS", "MAIL_TO", "EXTERNAL_LABELS", "BUSINESS_DAYS"])
def test_a_list_of_nothing_is_no_list(site: Site, name: str, text: str) -> None:
    pager(site).set(URL="https://unioncore.example.org", SMTP_HOST="mail.example.org", SMTP_FROM="a@example.org")
    result = site.set(**{name: text}).render("--check")
    assert result.exit_code == 2
    assert f"UNIONCORE_{name}: must be " in result.stderr


@pytest.mark.parametrize("name", ["RUNBOOKS_URL", "GRAFANA_URL"])
def test_an_address_that_a_template_would_expand_is_refused(site: Site, name: str) -> None:
    result = pager(site).set(**{name: "https://wiki.example.org/{{ page }}"}).render("--check")
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if "{{" in line] == [f"UNIONCORE_{name}: must not hold {{{{"]
    assert "page" not in result.output


@pytest.mark.parametrize(
    ("host", "smarthost"),
    [
        ("2001:db8::1", "[2001:db8::1]:587"),
        ("[2001:db8::1]", "[2001:db8::1]:587"),
        ("192.0.2.1", "192.0.2.1:587"),
        ("mail.example.org", "mail.example.org:587"),
    ],
)
def test_a_mail_server_may_be_an_address_of_ipv6(site: Site, host: str, smarthost: str) -> None:
    site.set(MAIL_TO="it@local.example", SMTP_HOST=host, SMTP_FROM="alerts@local.example")
    assert site.render("--check").exit_code == 0
    assert load(site.rendered() / CONFIG)["global"]["smtp_smarthost"] == smarthost


def test_a_port_of_a_mail_server_is_a_setting_of_its_own(site: Site) -> None:
    site.set(MAIL_TO="it@local.example", SMTP_HOST="mail.example.org:25", SMTP_FROM="alerts@local.example")
    result = site.render("--check")
    assert result.exit_code == 2
    assert "UNIONCORE_SMTP_HOST: must be a host without a port, which is UNIONCORE_SMTP_PORT" in result.stderr


def test_the_files_of_targets_are_those_that_prometheus_reads(site: Site) -> None:
    rendered = {path.stem for path in (pager(site).rendered() / "targets").iterdir()}
    config = (files.SOURCE.parent / "prometheus" / "prometheus.yml").read_text()
    assert rendered == set(re.findall(r"\[targets/(\w+)\.yml\]", config))


def test_neither_output_nor_check_is_a_mistake(site: Site) -> None:
    result = pager(site).render()
    assert result.exit_code == 2
    assert "give --output DIR, or --check" in result.stderr


def test_help_shows_examples(site: Site) -> None:
    result = site.render("--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert "unioncore-ops render-config --output /etc/unioncore --check" in result.stdout
