"""What a command shows on a terminal while it is busy."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    Track = Callable[[str, int], Iterable[int]]
    """Counts the steps of what is under way: its title, and how many steps it has."""


def bars(console: Console) -> Progress:
    """Return a bar for each thing that is under way, on a terminal; elsewhere nothing is drawn."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """Show what is under way: a bar on a terminal, and in any case one line for each thing that is done."""
    with bars(console) as shown:

        def track(title: str, steps: int) -> Iterator[int]:
            began = time.monotonic()
            task = shown.add_task(title, total=steps)
            for step in range(steps):
                yield step
                shown.advance(task)
            shown.remove_task(task)
            console.print(f"[green]done[/] {title} [dim]({time.monotonic() - began:.0f} s)[/]")

        yield track
