"""`make demo`: the whole stack on generated data, with one command.

Run `python -m scripts.dev.demo --help` for its options.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
from httpx import HTTPError
from rich.console import Console

from exporter.contract import CONTRACT
from scripts.dev.binaries import BinaryMissingError
from scripts.dev.families import describe, wait_for_scrapes
from scripts.dev.history.write import HistoryError
from scripts.dev.kept import KeptError
from scripts.dev.pace import LIVELY
from scripts.dev.progress import bars
from scripts.dev.servers import ServerError
from scripts.dev.sink import Sink
from scripts.dev.stack import PARTS, STEPS, Stack, start
from scripts.dev.watching import notify
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.postgres import PostgresError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType


_CHANNELS = {"pagerduty": "page", "slack": "chat", "smtp": "mail"}


class _StoppedError(Exception):
    """A signal asked for the end."""


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # Once is enough: a second signal must not interrupt the cleaning up.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    raise _StoppedError


@click.command(
    epilog="""\b
Examples:
  make demo
  make demo ARGS=--check
  make demo ARGS="--port-base 18000 --seed 7\""""
)
@click.option("--check", is_flag=True, help="Start, verify every metric family in Prometheus, and exit.")
@click.option(
    "--port-base",
    type=click.IntRange(0, 65535 - len(PARTS)),
    default=9741,
    show_default=True,
    help=f"The first of {len(PARTS)} ports: {', '.join(PARTS)}. One that is taken is replaced by a free one;"
    " 0 takes any.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Other seeds make other data.")
@click.option("--history/--no-history", default=True, show_default=True, help="Begin with a past of 35 days.")
def main(*, check: bool, port_base: int, seed: int, history: bool) -> None:
    """Run the whole stack on generated data until Ctrl-C.

    PostgreSQL, the exporter, a stand-in for UnionCore, Prometheus, Alertmanager and what they need, with the
    configuration that is shipped. Notifications are shown here, and go nowhere else.

    Nothing stays behind but the servers' programs in ~/.cache/unioncore-observability.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 130
    began = time.monotonic()
    status = 0
    with contextlib.suppress(_StoppedError), ExitStack() as life:
        try:
            sink = life.enter_context(Sink())
            secrets = make_directory("unioncore-secrets-")
            life.callback(remove_directory, secrets)
            with _steps(console) as step:
                stack = start(
                    life, step, seed=seed, port_base=port_base, history=history, variables=notify(sink, secrets)
                )
            console.print(f"Up after {time.monotonic() - began:.0f} s.\n")
            status = _check(console, stack) if check else _serve(console, stack, sink)
        except (BinaryMissingError, PostgresError, ServerError, HistoryError, KeptError, HTTPError) as error:
            console.print(f"demo: {error}", style="red", markup=False)
            status = 1
    sys.exit(status)


@contextlib.contextmanager
def _steps(console: Console) -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Show each step: a bar on a terminal, and in any case one line for each that is done."""
    with bars(console) as progress:
        task = progress.add_task("", total=STEPS)

        @contextlib.contextmanager
        def step(title: str) -> Iterator[None]:
            began = time.monotonic()
            progress.update(task, description=title)
            yield
            progress.advance(task)
            console.print(f"[green]done[/] {title} [dim]({time.monotonic() - began:.1f} s)[/]")

        yield step


def _check(console: Console, stack: Stack) -> int:
    wait_for_scrapes(stack.prometheus, 2, timeout=30)
    table, missing = describe(stack.prometheus, CONTRACT)
    console.print(table, soft_wrap=False)
    if missing:
        console.print(f"missing in Prometheus: {', '.join(missing)}", style="red")
        return 1
    console.print(f"All {len(CONTRACT)} families of the contract are in Prometheus.", style="green")
    return 0


def _serve(console: Console, stack: Stack, sink: Sink) -> int:
    for name, url in (stack.urls() | {"Notifications": f"{sink.url}/received"}).items():
        console.print(f"  {name:<13} {url}", markup=False)
    console.print(
        f"\nPrometheus scrapes every {LIVELY.scrape:.0f} s here (15 s in its configuration). The data goes on living.\n"
        "To see who is told of an outage, after a minute and a half:\n"
        f"  curl -X PUT -d '[\"database\"]' {stack.application.url}/troubles     ('[]' ends it)\n"
        "Ctrl-C stops everything.",
        markup=False,
    )
    seen = 0
    while (dead := stack.dead()) is None:
        for item in (received := sink.received())[seen:]:
            if item.title:
                console.print(f"  {_CHANNELS[item.service]:<4}  {item.title}", style="yellow", markup=False)
        seen = len(received)
        time.sleep(0.5)
    console.print(f"demo: {dead} ended by itself", style="red")
    return 1


if __name__ == "__main__":
    main()
