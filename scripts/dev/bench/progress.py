"""What a benchmark shows while it measures."""

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


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """Show what is under way: a bar on a terminal, and in any case one line for each thing that is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def track(title: str, steps: int) -> Iterator[int]:
            began = time.monotonic()
            task = bars.add_task(title, total=steps)
            for step in range(steps):
                yield step
                bars.advance(task)
            bars.remove_task(task)
            console.print(f"[green]done[/] {title} [dim]({time.monotonic() - began:.0f} s)[/]")

        yield track
