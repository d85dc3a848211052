"""The benchmark of alerts prints what was measured, and lateness is an error. The faults are real in tests/e2e."""

import io

from rich.console import Console

from scripts.alerting.rules import alerts
from scripts.dev.bench_alerts import FAULTS, late, table

DATABASE, UNIONCORE = FAULTS[0], FAULTS[2]


def test_median_and_worst_are_shown() -> None:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as shown:
        console.print(table({DATABASE: [50.0, 80.04, 61.0], UNIONCORE: [99.0]}))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.get().splitlines() if "│" in line]
    assert rows[0] == ["database stopped", "UnionCoreDatabaseDown", "3", "61.0", "80.0", "90"]
    assert rows[1] == ["UnionCore stopped", "UnionCoreDown", "1", "99.0", "99.0", ""]


def test_one_that_is_late_is_enough() -> None:
    assert late({DATABASE: [50.0, 90.0], UNIONCORE: [300.0]}) == []
    assert late({DATABASE: [50.0, 90.1, 60.0], UNIONCORE: [1.0]}) == ["database stopped"]


def test_every_fault_has_an_alert_and_the_database_is_told_within_90_seconds() -> None:
    assert {fault.alert for fault in FAULTS} <= {alert.name for alert in alerts()}
    assert {fault.name: fault.limit for fault in FAULTS if fault.limit} == {
        "database stopped": 90,
        "database frozen": 90,
    }
