"""Alerts travel from a real fault to whom they are for: all servers are real, and wait a fifteenth of what is shipped.

The tests share one stack and go on in this order: each leaves it as the next needs it, the last without Alertmanager.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from scripts.dev.generate import SCALES
from scripts.dev.pace import Pace
from scripts.dev.sink import Sink
from scripts.dev.stack import DATABASE, Stack, start
from scripts.dev.watching import notify
from tests.alertmanager.alerting import told, until

PACE = Pace(speed=15, least=1.5)
PATIENCE = 60
EVERYBODY = {"pagerduty": 1, "slack": 1, "mail to it@local.example": 1}
"""The page, the chat and the mail, each told once."""


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def stack(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as life:
        running = start(
            life, scale=SCALES["small"], variables=notify(sink, tmp_path_factory.mktemp("secrets")), pace=PACE
        )
        until(lambda: len(running.prometheus.query("probe_success == 1 or unioncore_up == 1")) == 4, timeout=PATIENCE)
        until(lambda: sink.received("heartbeat"), timeout=PATIENCE)
        yield running


def alerts(stack: Stack, name: str) -> list[dict[str, Any]]:
    """What Alertmanager has of an alert."""
    found: list[dict[str, Any]] = stack.alertmanager.get(
        "/api/v2/alerts", params={"filter": f'alertname="{name}"'}
    ).json()
    return found


def stopped(stack: Stack) -> Callable[[], None]:
    stack.postgres.stop("immediate")
    return stack.postgres.start


def frozen(stack: Stack) -> Callable[[], None]:
    stack.postgres.freeze()
    return stack.postgres.thaw


def test_while_all_is_well_nothing_is_even_pending_but_the_watchdog(stack: Stack, sink: Sink) -> None:
    def evaluated() -> bool:
        groups = stack.prometheus.get("/api/v1/rules").json()["data"]["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    until(evaluated, timeout=PATIENCE)
    until(
        lambda: {series["metric"]["alertname"] for series in stack.prometheus.query("ALERTS")} == {"UnionCoreWatchdog"},
        timeout=PATIENCE,
    )
    assert {item.service for item in sink.received()} == {"heartbeat"}


@pytest.mark.parametrize("fault", [stopped, frozen])
def test_a_database_that_does_not_answer_is_one_page_and_nothing_beside_it(
    stack: Stack, sink: Sink, fault: Callable[[Stack], Callable[[], None]]
) -> None:
    sink.clear()
    mend = fault(stack)
    until(lambda: told(sink, "UnionCoreDatabaseDown", "firing") == EVERYBODY, timeout=PATIENCE)
    # UnionCore can't work, and that fires too: only that it is inhibited keeps it from being told.
    until(lambda: alerts(stack, "UnionCoreNotReady"), timeout=PATIENCE)
    (follower,) = alerts(stack, "UnionCoreNotReady")
    assert follower["status"]["inhibitedBy"] == [alerts(stack, "UnionCoreDatabaseDown")[0]["fingerprint"]]
    mend()
    until(lambda: told(sink, "UnionCoreDatabaseDown", "resolved") == EVERYBODY, timeout=PATIENCE)
    assert told(sink, "UnionCoreDatabaseDown", "firing") == EVERYBODY
    others = [item.text for item in sink.received("pagerduty", "slack", "smtp") if "DatabaseDown" not in item.text]
    assert others == []
    (page,) = [item.content for item in sink.received("pagerduty") if item.content["event_action"] == "trigger"]
    assert page["payload"]["summary"] == "P1: UnionCore's database does not answer"


def test_deleted_backups_and_a_dropped_trigger_are_p2(stack: Stack, sink: Sink) -> None:
    sink.clear()
    oldest, *newer = sorted(stack.exporter.backups.glob("*.dump"))
    for dump in newer:
        for path in dump.parent.glob(f"{dump.name}*"):
            path.unlink()
    assert oldest.exists()
    stack.postgres.psql("drop trigger audit_logs_prevent_delete on audit_logs", DATABASE)
    for name, words in (
        ("UnionCoreBackupStale", "P2: Today's backup is missing"),
        ("UnionCoreAuditMutable", "P2: The audit log can be altered"),
    ):
        until(lambda: told(sink, name, "firing") == EVERYBODY, timeout=PATIENCE)  # noqa: B023 - called at once
        assert any(words in item.text for item in sink.received("pagerduty"))


def test_an_exporter_that_is_stopped_is_p2(stack: Stack, sink: Sink) -> None:
    sink.clear()
    stack.exporter.stop()
    until(lambda: told(sink, "UnionCoreExporterDown", "firing") == EVERYBODY, timeout=PATIENCE)
    assert any("P2: The exporter does not answer" in item.text for item in sink.received("pagerduty"))
    assert told(sink, "UnionCoreDatabaseDown") == {}
    stack.exporter.start()


def test_that_the_page_fails_is_told_by_the_others(stack: Stack, sink: Sink) -> None:
    sink.clear()
    sink.troubles["pagerduty"] = 500
    stack.application.trouble(["hang"])
    name = "UnionCoreNotificationsFailing"
    others = {service: 1 for service in EVERYBODY if service != "pagerduty"}
    until(lambda: told(sink, name, "firing") == others, timeout=PATIENCE)
    (chat,) = [item.text for item in sink.received("slack") if name in item.text]
    assert "Notifications by pagerduty do not get through" in chat
    assert not [item for item in sink.received("pagerduty") if name in item.text]


def test_without_alertmanager_the_heartbeat_stops(stack: Stack, sink: Sink) -> None:
    until(lambda: len(sink.received("heartbeat")) >= 3, timeout=PATIENCE)
    stack.alertmanager.signal(signal.SIGKILL)
    until(lambda: not stack.alertmanager.alive())
    beats = sink.received("heartbeat")
    time.sleep(1.5 * max(later.at - earlier.at for earlier, later in pairwise(beats)))
    assert sink.received("heartbeat") == beats
