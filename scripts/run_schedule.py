#!/usr/bin/env python3
"""The command `schedule`: the jobs at their times, for a container that has no cron."""

import asyncio
import sys
import time
from zoneinfo import ZoneInfo

import click

from exporter.settings import load
from scripts.job.commands import JobCommand
from scripts.job.console import Display
from scripts.job.exits import Exit, JobError
from scripts.schedule.runner import ALIVE_SECONDS, Schedule
from scripts.schedule.settings import ScheduleSettings


@click.command(
    "schedule",
    cls=JobCommand,
    epilog="""\b
Examples:
  unioncore-ops schedule
  UNIONCORE_TIMEZONE=America/Los_Angeles UNIONCORE_SCHEDULE_BACKUP='30 1 * * *' unioncore-ops schedule
  unioncore-ops schedule --alive""",
)
@click.option("--now", is_flag=True, help="Run every job once before its time comes.")
@click.option("--alive", is_flag=True, help="Say by the exit code whether the schedule runs: 0 if it does, else 1.")
def command(*, now: bool, alive: bool) -> None:
    """Run the jobs at their times, until SIGTERM.

    A cron for containers: it stays in the foreground and needs no root, jobs have its environment and its output. On a
    machine without Docker, cron (scripts/crontab.example) or systemd (docs/systemd/) does the same.
    """
    settings = load(ScheduleSettings)
    if alive:
        _check(settings)
        return
    schedule = Schedule(
        settings.times(),
        ZoneInfo(settings.timezone),
        heartbeat=settings.heartbeat,
        log=Display("schedule", settings).log,
    )
    asyncio.run(schedule.run(now=now))


def _check(settings: ScheduleSettings) -> None:
    try:
        age = time.time() - settings.heartbeat.stat().st_mtime
    except OSError as error:
        raise JobError(Exit.FAILED, f"no schedule runs: {settings.heartbeat}: {error.strerror}") from error
    if age > ALIVE_SECONDS:
        raise JobError(Exit.FAILED, f"the schedule is stuck: it was last seen {age:.0f} s ago")


if __name__ == "__main__":
    sys.exit(command())
