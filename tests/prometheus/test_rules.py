"""Every alert says everything, and has a pair of tests that promtool passes."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.alerting import rules
from scripts.alerting.model import Alert, Group, Severity, Site, duration, words
from scripts.alerting.thresholds import BURNS, THRESHOLDS
from tests.prometheus.shipped import DIRECTORY, REPOSITORY, TESTS, alerts, cases, promtool

ALERTS = alerts()
WATCHDOG = "UnionCoreWatchdog"
# The operations plan's, by hand.
PRIORITIES = {"critical": "P1", "high": "P2", "medium": "P3", "low": "P4", "none": "none"}
LABELS = {"severity", "priority", "service"}
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}
# The issue's, by hand.
PLANNED = {
    "UnionCoreDown": "critical",
    "UnionCoreDatabaseDown": "critical",
    "UnionCoreErrorBudgetBurn14x": "critical",
    "UnionCoreErrorBudgetBurn6x": "high",
    "UnionCoreErrorBudgetBurn3x": "medium",
    "UnionCoreErrorBudgetBurn1x": "low",
    "UnionCoreBackupStale": "high",
    "UnionCoreBackupVeryStale": "critical",
    "UnionCoreAuditMutable": "high",
    "UnionCoreExporterDown": "high",
    WATCHDOG: "none",
}


def seconds(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))


def test_the_committed_rules_are_those_that_the_code_makes() -> None:
    rendered = rules.render(rules.SITE)
    assert {path.name for path in rules.DIRECTORY.glob("*")} == set(rendered)
    for name, text in rendered.items():
        assert (rules.DIRECTORY / name).read_text(encoding="utf-8") == text, f"{name}: run `make rules`"


def test_promtool_finds_nothing_wrong_with_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "--lint=all", "--lint-fatal", DIRECTORY / "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted((DIRECTORY / "rules").glob("*.yml")))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_passes_the_unit_tests(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_has_its_pair_of_tests() -> None:
    fires = {case.alert for case in cases() if case.expected}
    silent = {case.alert for case in cases() if not case.expected}
    assert fires == set(ALERTS)
    # One that never stops has no silence.
    assert silent == set(ALERTS) - {WATCHDOG}


def test_every_test_is_named_by_a_sentence_of_its_own() -> None:
    names = Counter(case.name for case in cases())
    assert max(names.values()) == 1
    for case in cases():
        assert case.name.startswith(f"{case.alert} ")
        assert ("stays silent" in case.name) == (not case.expected), case.name


@pytest.mark.parametrize("name", ALERTS)
def test_every_expectation_is_complete(name: str) -> None:
    for case in cases():
        if case.alert == name:
            for one in case.expected:
                assert set(one["exp_annotations"]) == ANNOTATIONS
                assert set(one["exp_labels"]) >= LABELS
                assert "{{" not in str(one)


@pytest.mark.parametrize(("name", "rule"), ALERTS.items(), ids=ALERTS)
def test_every_alert_says_everything(name: str, rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"UnionCore([A-Z0-9][a-z0-9]*)+", name)
    assert set(rule["labels"]) == LABELS
    assert rule["labels"]["priority"] == PRIORITIES[rule["labels"]["severity"]]
    assert rule["labels"]["severity"] == PLANNED.get(name, rule["labels"]["severity"])
    said = rule["annotations"]
    assert set(said) == ANNOTATIONS
    assert not said["summary"].endswith(".")
    assert len(said["summary"]) < 90
    assert said["description"].endswith(".")
    assert said["runbook_url"].endswith(f"/{name}.md")
    assert re.fullmatch(r"http://127\.0\.0\.1:3000/d/unioncore-[a-z]+", said["dashboard_url"])
    # A bare number says nothing to a person, unless it is a count.
    assert not re.search(r"\{\{ \$value \}\}(?! (user accounts|complete backups))", said["description"])


@pytest.mark.parametrize("name", sorted(set(ALERTS) - {WATCHDOG}))
def test_neither_a_failed_scrape_nor_a_flap_pages_or_resolves(name: str) -> None:
    assert seconds(ALERTS[name]["for"]) > 15
    assert seconds(ALERTS[name]["keep_firing_for"]) >= 60


# A fact that goes on holding while nobody measures it, and a difference of such facts.
HELD = re.compile(
    r"\((\S+) or last_over_time\(\1\[6h\]\) unless ignoring \(instance\) \1\)|last_over_time\(\((?s:.)+?\)\[6h:15s\]\)"
)
# Constants, and shares over windows, of which a scrape that fails leaves no hole.
HOLES = r"(?<!absent\()(?<!unless )\b(?!unioncore:database_disk|instance:unioncore_error_budget)"
SERIES = rf"{HOLES}((?:unioncore|pg|probe|node|prometheus|alertmanager|blackbox_exporter)_\w+|[a-z_]+:[a-z_]+:\w+)"


@pytest.mark.parametrize("name", ALERTS)
def test_a_scrape_that_fails_now_and_then_does_not_begin_an_alerts_wait_anew(name: str) -> None:
    expr = HELD.sub("", ALERTS[name]["expr"])
    expr = re.sub(r"\{[^}]*\}", "", expr)
    expr = re.sub(r'"[^"]*"', "", expr)
    assert re.findall(rf"{SERIES}\b(?![\[:])", expr) == []


@pytest.mark.parametrize("name", sorted(set(ALERTS) - {WATCHDOG}))
def test_one_bad_value_before_a_silence_alarms_nobody(name: str) -> None:
    spans = re.findall(r"last_over_time\([^\[]*\[(\w+)\]\)", HELD.sub("", ALERTS[name]["expr"]))
    wait = seconds(ALERTS[name]["for"])
    # UnionCoreDatabaseDown's is longer than its wait: the page must come within a minute.
    assert all(seconds(span) <= max(wait, 60) for span in spans)


def test_an_outage_of_the_database_fires_within_a_minute() -> None:
    (group,) = (group for group in rules.FILES["database"] for rule in group.rules if "DatabaseDown" in rule.name)
    config = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    scrape = seconds(config["global"]["scrape_interval"])
    # A hung database keeps the exporter for 9 s; then its answer waits for an evaluation.
    assert scrape + 9 + seconds(group.interval or "") + seconds(ALERTS["UnionCoreDatabaseDown"]["for"]) <= 60


def test_a_cause_outlasts_what_follows_from_it() -> None:
    def keep(name: str) -> int:
        return seconds(ALERTS[name]["keep_firing_for"])

    followers = ("UnionCoreNotReady", "UnionCoreCheckFailing")
    for cause in ("UnionCoreDatabaseDown", "UnionCoreDown"):
        # What is probed is seen up to an interval later than what is scraped, and needs a moment to come back.
        assert keep(cause) >= max(map(keep, followers)) + 2 * 15


def test_inhibition_names_only_alerts_that_exist() -> None:
    for rule in yaml.safe_load((REPOSITORY / "alertmanager" / "inhibition.yml").read_text()):
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if found := re.fullmatch(r'alertname=~?"(.+)"', matcher):
                assert any(re.fullmatch(found[1], name) for name in ALERTS), matcher
        assert set(rule.get("equal", ())) <= LABELS


def test_the_windows_of_the_burn_rates_are_paired() -> None:
    budget = 30 * 86400
    # The share of the 30 days' budget that is gone when the alert fires: 2 %, 5 %, 10 %, 10 %.
    shares = [burn.factor * seconds(burn.long) / budget for burn in BURNS]
    assert shares == pytest.approx([0.02, 0.05, 0.1, 0.1])
    for burn in BURNS:
        assert seconds(burn.long) == pytest.approx(12 * seconds(burn.short), rel=1)
        assert seconds(burn.history) * 2 == seconds(burn.long)


def test_a_site_renders_its_own_addresses_and_its_disk(tmp_path: Path) -> None:
    site = Site(runbooks="https://wiki.example.org/u/", grafana="https://g.example.org", database_disk=53687091200)
    for name, text in rules.render(site).items():
        (tmp_path / name).write_text(text)
        assert "unioncore.example" not in text
        assert "127.0.0.1" not in text
    promtool("check", "rules", *tmp_path.iterdir())
    assert "https://wiki.example.org/u/UnionCoreDown.md" in (tmp_path / "availability.yml").read_text()
    assert "https://g.example.org/d/unioncore-service" in (tmp_path / "availability.yml").read_text()
    assert "vector(53687091200)" in (tmp_path / "site.yml").read_text()


def test_an_alert_that_says_less_can_not_be_made() -> None:
    alert = next(rules.alerts())
    values = {name: getattr(alert, name) for name in Alert.__slots__}
    for wrong in ({"name": "Down"}, {"service": "cafeteria"}, {"dashboard": "none"}):
        with pytest.raises(ValueError, match=r"CamelCase|no such"):
            Alert(**values | wrong)


def test_severities_are_those_of_the_plan() -> None:
    assert dict(severity.value for severity in Severity) == PRIORITIES


@pytest.mark.parametrize(
    ("time", "promql", "said"),
    [
        (30, "30s", "30 seconds"),
        (60, "1m", "1 minute"),
        (5400, "90m", "90 minutes"),
        (86400, "1d", "24 hours"),
        (26 * 3600, "26h", "26 hours"),
        (8 * 86400, "8d", "8 days"),
    ],
)
def test_times_are_written_as_promql_and_people_do(time: int, promql: str, said: str) -> None:
    assert duration(time) == promql
    assert words(time) == said


def test_no_threshold_is_left_out_of_the_rules() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "scripts" / "alerting").rglob("*.py"))
    for name in type(THRESHOLDS).__slots__:
        assert re.search(rf"(LIMITS|THRESHOLDS)\.{name}\b", text), name


def test_a_group_without_an_interval_has_the_global_one() -> None:
    assert "interval" not in Group("g", []).render(rules.SITE)
