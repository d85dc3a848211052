"""A cron for containers: in the foreground, as any user, with this environment, its jobs' output being its own.

Times follow cronsim, which is to say Debian's cron: at a change to daylight saving time nothing that has a fixed time
runs twice, or not at all. A job never runs beside itself: a time that comes while it still runs is passed over.

A run that was missed while this did not run, or that ended because this was told to end, is made up for after the next
start, once: as systemd's `Persistent=` does, by a file whose time is that of the last run's beginning.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

BEAT_SECONDS = 15.0
"""How often the clock is looked at: it may be set, or the machine be asleep, in between."""
CATCH_UP = timedelta(minutes=1)
"""How long after the start what was missed is made up for: what it needs may have been started just now, too."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def next_moment(cron: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first moment after another one at which something is due.

    Args:
        cron: A time as in a crontab.
        zone: Its zone.
        after: A moment, aware.

    Returns:
        It in UTC: times of one zone are compared by what their clocks show, which an hour in autumn shows twice.
    """
    # Asked in the second of two such hours, cronsim answers with a time in the first one.
    moments = (due.astimezone(UTC) for due in CronSim(cron, after.astimezone(zone)))
    return next(moment for moment in moments if moment > after)


class Schedule:
    """Runs commands at their times until it is told to end.

    Args:
        times: When each command runs: its words, and a time as in a crontab.
        zone: The zone of the times.
        heartbeat: A file that is touched every `BEAT_SECONDS`; beside it is kept when each command began last.
        log: A structlog logger.
        program: What the commands' words are appended to.
    """

    def __init__(
        self,
        times: Mapping[str, str],
        zone: ZoneInfo,
        *,
        heartbeat: Path,
        log: Any,
        program: Sequence[str] = (sys.executable, "-m", "scripts.ops"),
    ) -> None:
        self._times = times
        self._zone = zone
        self._heartbeat = heartbeat
        self._log = log
        self._program = program
        self._running: set[asyncio.subprocess.Process] = set()
        self._ending = asyncio.Event()

    async def run(self, *, now: bool = False) -> None:
        """Run until SIGTERM or SIGINT; jobs that run then are told to end, too, and waited for.

        Args:
            now: True to run every command once, one after the other, before its time comes.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end)
        beating = asyncio.create_task(self._beat())
        try:
            if now:
                for command in self._times:
                    await self._execute(command)
            await asyncio.gather(*(self._repeat(command, cron) for command, cron in self._times.items()))
            await self._ending.wait()
        finally:
            beating.cancel()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        self._ending.set()
        for process in self._running:
            process.send_signal(signal.SIGTERM)

    async def _beat(self) -> None:
        while True:
            # If it can't be, whoever looks at it sees that it is old; the next one may succeed.
            self._touch(self._heartbeat)
            await asyncio.sleep(BEAT_SECONDS)

    async def _repeat(self, command: str, cron: str) -> None:
        while not self._ending.is_set():
            due = self._next(cron)
            if self._missed(command, cron):
                due = min(due, self._now() + CATCH_UP)
                self._log.warning("missed a run, and makes up for it", command=command)
            self._log.info("next", command=command, at=due.astimezone(self._zone).isoformat(timespec="minutes"))
            while (left := (due - self._now()).total_seconds()) > 0:
                if await self._ended_within(min(left, BEAT_SECONDS)):
                    return
                # By a clock that was ahead, and has been set since, it may have been far too late.
                due = min(due, self._next(cron))
            await self._execute(command)

    def _now(self) -> datetime:
        return datetime.now(UTC)

    def _next(self, cron: str) -> datetime:
        return next_moment(cron, self._zone, self._now())

    def _missed(self, command: str, cron: str) -> bool:
        stamp = self._stamp(command)
        try:
            began = datetime.fromtimestamp(stamp.stat().st_mtime, UTC)
        except OSError:
            # From here on it can miss one.
            self._touch(stamp)
            return False
        return next_moment(cron, self._zone, began) <= self._now()

    def _stamp(self, command: str) -> Path:
        return self._heartbeat.with_name(f"schedule.{command.partition(' ')[0]}.began")

    def _touch(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            self._log.error("can't be written", file=str(path), error=error.strerror)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _execute(self, command: str) -> None:
        if self._ending.is_set():
            return
        self._log.info("begins", command=command)
        stamp = self._stamp(command)
        before = stamp.stat().st_mtime if stamp.exists() else 0.0
        self._touch(stamp)
        # A session of its own: Ctrl-C at a terminal reaches it once, by us.
        try:
            process = await asyncio.create_subprocess_exec(
                *self._program, *command.split(), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            # No process may be free, or no memory: the other jobs' times come all the same.
            self._log.error("can't be started", command=command, error=str(error))
            return
        self._running.add(process)
        try:
            status = await process.wait()
        finally:
            self._running.discard(process)
        say = self._log.error if status else self._log.info
        say("ended", command=command, exit=status)
        if status and self._ending.is_set() and before:
            # It was told to end because this is ending: the next start makes up for it.
            with suppress(OSError):
                os.utime(stamp, (before, before))
