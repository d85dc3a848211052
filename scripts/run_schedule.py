#!/usr/bin/env python3
"""The command `schedule`: the jobs at their times, for a container that has no cron."""

import asyncio
import sys
from zoneinfo import ZoneInfo

import click

from exporter.settings import load
from scripts.job.commands import JobCommand
from scripts.job.console import Display
from scripts.schedule.runner import Schedule
from scripts.schedule.settings import ScheduleSettings


@click.command(
    "schedule",
    cls=JobCommand,
    epilog="""\b
Examples:
  unioncore-ops schedule
  UNIONCORE_TIMEZONE=America/Los_Angeles UNIONCORE_SCHEDULE_BACKUP='30 1 * * *' unioncore-ops schedule""",
)
@click.option("--now", is_flag=True, help="Run every job once before its time comes.")
def command(*, now: bool) -> None:
    """Run the jobs at their times, until SIGTERM.

    A cron for containers: it stays in the foreground and needs no root, jobs have its environment and its output. A
    run that was missed while it was not running is made up for a minute after its start. As long as it is not stuck it
    touches schedule.alive in UNIONCORE_SPOOL_DIR, four times a minute. On a machine without Docker, cron
    (scripts/crontab.example) or systemd (docs/systemd/) does the same.
    """
    settings = load(ScheduleSettings)
    schedule = Schedule(
        settings.times(),
        ZoneInfo(settings.timezone),
        heartbeat=settings.heartbeat,
        log=Display("schedule", settings).log,
    )
    asyncio.run(schedule.run(now=now))


if __name__ == "__main__":
    sys.exit(command())
