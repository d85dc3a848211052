"""What is shipped to Prometheus, as it stands in the files."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.dev.binaries import find

REPOSITORY = Path(__file__).parents[2]
DIRECTORY = REPOSITORY / "prometheus"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
TESTS = sorted((DIRECTORY / "tests").glob("*.yml"))


def promtool(*arguments: str | Path) -> str:
    """Run promtool, and fail with what it says if it does."""
    done = subprocess.run([find("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted((DIRECTORY / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@dataclass(frozen=True)
class Case:
    """One of promtool's tests."""

    name: str
    alert: str
    expected: tuple[dict[str, Any], ...]


def cases() -> list[Case]:
    """The tests of alerts, each with all that it expects to fire at any time."""
    found = []
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            if looks := test.get("alert_rule_test"):
                (alert,) = {look["alertname"] for look in looks}
                found.append(Case(test["name"], alert, tuple(one for look in looks for one in look["exp_alerts"])))
    return found
