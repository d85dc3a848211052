"""How long it takes from a fault to its notification, with the intervals that are shipped.

Every round is a stack of its own, on real servers, so that nothing is left of the round before. The fault comes at a
random moment between two scrapes. Run `python -m scripts.dev.bench_alerts --help` for the command.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from scripts.dev.binaries import BinaryMissingError, find
from scripts.dev.generate import SCALES
from scripts.dev.pace import SHIPPED
from scripts.dev.servers import ServerError
from scripts.dev.sink import Sink
from scripts.dev.stack import Stack, start
from scripts.dev.watching import notify
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SCRAPE_SECONDS = 15.0
_PATIENCE = 300.0
"""How long a notification is waited for, in seconds."""
_SERVICES = ("pagerduty", "slack", "smtp")
"""What the sink plays of what is told of a P1 or a P2: the page, the chat and the mail."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks.

    Attributes:
        name: What breaks.
        alert: What must be told then.
        inflict: Breaks it.
        limit: Seconds within which everybody must have been told; None: it is only measured.
    """

    name: str
    alert: str
    inflict: Callable[[Stack], object]
    limit: float | None = None


FAULTS = (
    Fault("database stopped", "UnionCoreDatabaseDown", lambda stack: stack.postgres.stop("immediate"), 90),
    Fault("database frozen", "UnionCoreDatabaseDown", lambda stack: stack.postgres.freeze(), 90),
    Fault("UnionCore stopped", "UnionCoreDown", lambda stack: stack.application.stop()),
    Fault("UnionCore hangs", "UnionCoreNotReady", lambda stack: stack.application.trouble(["hang"])),
    Fault("exporter stopped", "UnionCoreExporterDown", lambda stack: stack.exporter.stop()),
)


def measure(fault: Fault, wait: float) -> float:
    """Let a fault happen in a healthy stack; return after how many seconds the page, the chat and the mail were told.

    Args:
        fault: What breaks.
        wait: How many seconds after the stack is healthy.

    Raises:
        ServerError: A server did not start, or the stack did not become healthy.
        TimeoutError: One of them was not told.
    """
    with ExitStack() as life:
        sink = life.enter_context(Sink())
        secrets = make_directory("unioncore-secrets-")
        life.callback(remove_directory, secrets)
        stack = start(life, scale=SCALES["small"], variables=notify(sink, secrets), pace=SHIPPED)
        _settle(stack)
        time.sleep(wait)
        fault.inflict(stack)
        began = time.time()
        return (
            max(
                sink.wait(lambda item: item.service == service and fault.alert in item.text, timeout=_PATIENCE).at  # noqa: B023
                for service in _SERVICES
            )
            - began
        )


def _settle(stack: Stack) -> None:
    """Wait until everything has been looked at once, and Prometheus knows Alertmanager."""
    known = "prometheus_notifications_alertmanagers_discovered == 1"
    healthy = f"count(probe_success == 1 or unioncore_up == 1) == 4 and on () {known}"
    deadline = time.monotonic() + _PATIENCE
    while not stack.prometheus.query(healthy):
        if time.monotonic() > deadline:
            raise ServerError(f"the stack was not healthy within {_PATIENCE:.0f} s")
        time.sleep(1)


@click.command(
    epilog="""\b
Examples:
  make bench-alerts
  make bench-alerts ARGS="--rounds 10 --fault 'database stopped'\""""
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Of each fault.")
@click.option(
    "--fault",
    "names",
    multiple=True,
    type=click.Choice([fault.name for fault in FAULTS]),
    help="Only this; repeatable.",
)
@click.option("--at-once", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds at the same time.")
@click.option("--seed", type=int, default=1, show_default=True, help="Other seeds draw other moments.")
def main(*, rounds: int, names: tuple[str, ...], at_once: int, seed: int) -> None:
    """Measure how long it takes from a fault to its notification, with the shipped intervals.

    A time ends when the page, the chat and the mail have come. The exit code is 1 if one is longer than it may be.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    draw = random.Random(seed)
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    results: dict[Fault, list[float]] = {fault: [] for fault in chosen}
    try:
        # Made once, before the rounds that run at the same time ask for them.
        find("prometheus")
        with EmbeddedPostgres():
            pass
        with ThreadPoolExecutor(at_once) as pool:
            work = {
                pool.submit(measure, fault, draw.uniform(0, _SCRAPE_SECONDS)): fault
                for _ in range(rounds)
                for fault in chosen
            }
            for done in as_completed(work):
                fault, seconds = work[done], done.result()
                results[fault].append(seconds)
                console.print(f"[green]done[/] {fault.name}: told after {seconds:.1f} s")
    except (BinaryMissingError, PostgresError, ServerError, TimeoutError) as error:
        raise click.ClickException(str(error)) from None
    console.print(table(results))
    if too_late := late(results):
        raise click.ClickException(f"told later than it must be: {', '.join(too_late)}")


def late(results: Mapping[Fault, Sequence[float]]) -> list[str]:
    """Return the names of the faults that once took longer to be told than they may."""
    return [fault.name for fault, times in results.items() if fault.limit and max(times) > fault.limit]


def table(results: Mapping[Fault, Sequence[float]]) -> Table:
    """Return each fault's median and worst time.

    Args:
        results: Times in seconds.
    """
    shown = Table("fault", "alert", title="From the fault to its notification, in seconds")
    for column in ("rounds", "median", "worst", "must be within"):
        shown.add_column(column, justify="right")
    for fault, times in results.items():
        limit = f"{fault.limit:.0f}" if fault.limit else ""
        figures = (f"{statistics.median(times):.1f}", f"{max(times):.1f}", limit)
        shown.add_row(fault.name, fault.alert, str(len(times)), *figures)
    return shown


if __name__ == "__main__":
    main()
