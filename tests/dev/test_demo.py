"""`make demo` is up within a minute, shows every family of the contract, and leaves nothing behind."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest
from rich.console import Console

from exporter.contract import CONTRACT
from exporter.metrics import Family
from scripts.dev.families import describe, wait_for_scrapes
from scripts.dev.servers import Prometheus, ServerError
from scripts.embedded.postgres import psql

Leftovers = Callable[[], list[str]]


@contextmanager
def demo(scratch: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.dev.demo", "--port-base", "0", "--no-history", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TMPDIR": str(scratch)},
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    pytest.fail(f"ended without {words!r}:\n{''.join(lines)}")


def gone(leftovers: Leftovers) -> list[str]:
    deadline = time.monotonic() + 15
    while (found := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_check_finds_the_whole_contract_in_a_real_prometheus(scratch: Path, leftovers: Leftovers) -> None:
    began = time.monotonic()
    with demo(scratch, "--check") as process:
        output = process.communicate(timeout=100)[0]
    assert process.returncode == 0, output
    assert time.monotonic() - began < 60
    assert CONTRACT
    for family in CONTRACT:
        assert re.search(rf"│ {family.name} +│ +[1-9]", output), family.name
    assert gone(leftovers) == []


@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        ("Starting PostgreSQL", signal.SIGTERM),
        ("Making backups", signal.SIGINT),
        ("Ctrl-C stops everything", signal.SIGKILL),
    ],
)
def test_nothing_is_left_whenever_it_ends(
    moment: str, signum: signal.Signals, scratch: Path, leftovers: Leftovers
) -> None:
    with demo(scratch) as process:
        read_until(process, moment)
        os.killpg(process.pid, signum)
        process.wait(20)
        assert process.returncode == (-signum if signum == signal.SIGKILL else 0)
        assert gone(leftovers) == []


def test_what_it_prints_can_be_used_and_ctrl_c_leaves_nothing(scratch: Path, leftovers: Leftovers) -> None:
    with demo(scratch) as process:
        lines = read_until(process, "Ctrl-C stops everything")
        urls = dict(line.split()[:2] for line in lines if "://" in line)
        assert httpx.get(urls["Exporter"]).is_success
        assert "unioncore_up 1" in httpx.get(urls["Metrics"]).text
        assert httpx.get(urls["Prometheus"], follow_redirects=True).is_success
        assert psql(urls["Database"], "select count(*) from members") == "3000"
        assert httpx.get(urls["UnionCore"]).json()["status"] == "healthy"
        assert httpx.get(urls["Alerts"]).is_success
        assert isinstance(httpx.get(urls["Notifications"]).json(), list)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
        assert gone(leftovers) == []


class FakePrometheus:
    """Answers every query with the same series."""

    def __init__(self, *series: dict[str, str]) -> None:
        self.series = [{"metric": labels, "value": [0, str(number)]} for number, labels in enumerate(series)]

    def query(self, _promql: str) -> list[dict[str, object]]:
        return self.series  # type: ignore[return-value]


def test_what_is_missing_is_named() -> None:
    prometheus = FakePrometheus(
        {"__name__": "unioncore_users", "state": "active", "job": "j", "instance": "i"},
        {"__name__": "unioncore_users", "state": "locked", "job": "j", "instance": "i"},
        {"__name__": "unioncore_members", "status": "active"},
        {"__name__": "unioncore_extra"},
    )
    contract = [
        Family("unioncore_users", "", ("state",)),
        Family("unioncore_members", "", ("status", "classification")),
        Family("unioncore_up", ""),
    ]
    table, missing = describe(cast("Prometheus", prometheus), contract)
    assert missing == [
        "unioncore_members (a series lacks one of the labels status, classification)",
        "unioncore_up",
    ]
    console = Console(width=100, file=io.StringIO())
    with console.capture() as shown_table:
        console.print(table)
    shown = shown_table.get()
    assert re.search(r"unioncore_users +│ +2 │ state=locked +│ +1", shown)
    assert "unioncore_extra" in shown


def test_an_exporter_that_is_not_scraped_is_an_error() -> None:
    with pytest.raises(ServerError, match="has not scraped the exporter 2 times in 0 s"):
        wait_for_scrapes(cast("Prometheus", FakePrometheus()), 2, timeout=0)
