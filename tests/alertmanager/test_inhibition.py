"""What is inhibited is an effect of its cause: by the rules themselves, it begins no sooner and ends no later."""

import re
from typing import Any

import pytest
import yaml

from scripts.rendering.files import SOURCE

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INHIBITION: list[dict[str, Any]] = yaml.safe_load((SOURCE / "inhibition.yml").read_text())


def _alerts() -> dict[str, dict[str, Any]]:
    files = (SOURCE.parent / "prometheus" / "rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def _named(matchers: list[str]) -> set[str]:
    """Return the alerts that matchers name."""
    for matcher in matchers:
        if found := re.fullmatch(r'alertname(=~?)"([^"]+)"', matcher):
            return {alert for alert in _alerts() if re.fullmatch(found[2], alert)}
    raise AssertionError(f"no alert is named: {matchers}")


def _seconds(rule: dict[str, Any], key: str) -> int:
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", rule.get(key, "0s")))


@pytest.mark.parametrize("rule", _INHIBITION, ids=lambda rule: rule["name"])
def test_an_effect_begins_no_sooner_than_its_cause_and_ends_no_later(rule: dict[str, Any]) -> None:
    alerts = _alerts()
    causes, effects = _named(rule["source_matchers"]), _named(rule["target_matchers"])
    assert causes
    assert effects
    assert not causes & effects
    for effect in effects:
        assert any(_seconds(alerts[effect], "for") >= _seconds(alerts[cause], "for") for cause in causes)
        assert all(
            _seconds(alerts[effect], "keep_firing_for") <= _seconds(alerts[cause], "keep_firing_for")
            for cause in causes
        )


@pytest.mark.parametrize("rule", _INHIBITION, ids=lambda rule: rule["name"])
def test_labels_that_must_be_equal_are_on_every_alert(rule: dict[str, Any]) -> None:
    for label in rule.get("equal", []):
        assert all(label in alert["labels"] for alert in _alerts().values())


def test_every_name_is_that_of_an_alert() -> None:
    for rule in _INHIBITION:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            if matcher.startswith("alertname"):
                assert set(re.findall(r"UnionCore\w+", matcher)) <= set(_alerts())
