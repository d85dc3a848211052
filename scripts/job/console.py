"""What a job shows while it runs: log lines and progress, for a person at a terminal or for cron's mail."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from exporter import logs
from exporter.settings import CommonSettings

LINE_SECONDS = 10.0
"""Without a terminal, progress is a line no oftener than this."""

_LOGGER = "unioncore-ops"


class Meter:
    """How far something is.

    Args:
        show: Is told how much is done.
    """

    def __init__(self, show: Callable[[int], object]) -> None:
        self._show = show
        self.done = 0

    def advance(self, amount: int) -> None:
        """Say that so much more is done, in the meter's unit; for one thread at a time, whichever."""
        self.done += amount
        self._show(self.done)


class Display:
    """A job's logger, and its progress: bars on standard error if that is a terminal, else lines.

    Args:
        job: The job's name.
        settings: Say how log lines are written.
    """

    def __init__(self, job: str, settings: CommonSettings) -> None:
        self._bars: Progress | None = None
        handler = None
        if sys.stderr.isatty():
            console = Console(stderr=True)
            handler = RichHandler(console=console, show_path=False, log_time_format="%X", omit_repeated_times=False)
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                _Amount(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
        # Only our own lines below a warning: the libraries' would show URLs and headers.
        logs.configure(settings.log_format, settings.log_level, ours=_LOGGER, libraries="warning", terminal=handler)
        self.log: Any = logs.get_logger(f"{_LOGGER}.{job}")

    @contextmanager
    def progress(self, description: str, total: int | None, unit: str) -> Iterator[Meter]:
        """Show how far something is; several may be under way at once.

        Args:
            description: What is under way (`dump`).
            total: How much there is to do, in the unit; None if that is not known.
            unit: What is counted, in the plural; `bytes` are shown as kB, MB, GB.
        """
        if self._bars is None:
            yield Meter(self._lines(description, total, unit))
            return
        bars = self._bars
        bars.start()
        task = bars.add_task(description, total=total, unit=unit)
        try:
            yield Meter(lambda done: bars.update(task, completed=done))
        finally:
            bars.remove_task(task)
            if not bars.tasks:
                bars.stop()

    def _lines(self, description: str, total: int | None, unit: str) -> Callable[[int], None]:
        shown = time.monotonic()

        def show(done: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= LINE_SECONDS:
                shown = time.monotonic()
                of_total = {} if total is None else {"total": total}
                self.log.info(description, done=done, **of_total, unit=unit)

        return show


class _Amount(ProgressColumn):
    """How much is done, of how much."""

    def render(self, task: Task) -> Text:
        amounts = [task.completed] if task.total is None else [task.completed, task.total]
        if task.fields["unit"] == "bytes":
            return Text(" / ".join(decimal(int(amount)) for amount in amounts))
        return Text(f"{' / '.join(f'{amount:,.0f}' for amount in amounts)} {task.fields['unit']}")
