"""What can be configured of the schedule."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from exporter.settings import zone_name
from scripts.job.settings import JobSettings
from scripts.schedule.plan import SCHEDULE

OFF = "off"

_CRON = {entry.job: entry.cron for entry in SCHEDULE}


def _time(text: str) -> str:
    if text != OFF:
        try:
            next(CronSim(text, datetime.now(UTC)))
        except (CronSimError, StopIteration) as error:
            raise ValueError("must be a time as in a crontab (for example 0 2 * * *), or off") from error
    return text


Cron = Annotated[str, AfterValidator(_time)]
"""A time as in a crontab."""


class ScheduleSettings(JobSettings):
    """What can be configured of the schedule, where `unioncore-ops schedule` runs it."""

    needs_database: ClassVar[bool] = False

    timezone: Annotated[str, AfterValidator(zone_name)] = Field(
        "UTC",
        validation_alias="UNIONCORE_TIMEZONE",
        description="The zone of the times.",
        examples=["America/Los_Angeles"],
    )
    backup: Cron = Field(
        _CRON["backup"], validation_alias="UNIONCORE_SCHEDULE_BACKUP", description="When to back up; `off` for never."
    )
    verify: Cron = Field(
        _CRON["verify"], validation_alias="UNIONCORE_SCHEDULE_VERIFY", description="When to verify the newest backup."
    )
    archive: Cron = Field(
        _CRON["archive"], validation_alias="UNIONCORE_SCHEDULE_ARCHIVE", description="When to archive audit events."
    )
    cleanup: Cron = Field(
        _CRON["cleanup"], validation_alias="UNIONCORE_SCHEDULE_CLEANUP", description="When to clean up."
    )

    @property
    def heartbeat(self) -> Path:
        """The file that is touched as long as the schedule is alive."""
        return self.spool_directory / "schedule.alive"

    def times(self) -> dict[str, str]:
        """Return the times by command, without what is off."""
        times = {entry.command: getattr(self, entry.job) for entry in SCHEDULE}
        return {command: cron for command, cron in times.items() if cron != OFF}
