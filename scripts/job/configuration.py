"""A job's configuration: that it can't be used is a failure of the job, and told as one."""

import asyncio
import time
from contextlib import suppress
from typing import TypeVar

from exporter.settings import ConfigurationError, load
from scripts.job.console import Display
from scripts.job.reporting import Reporter, Result
from scripts.job.settings import JobSettings

S = TypeVar("S", bound=JobSettings)


def load_for(job: str, kind: type[S], *, report: bool = True) -> S:
    """Read a job's configuration; if it can't be used, report that the job has failed.

    That needs what all jobs share to be right, the database's address too: a shell that lacks the settings altogether
    is somebody's who has forgotten them, and no failure.

    Args:
        job: The job's name.
        kind: Its settings.
        report: False if nothing is reported.

    Raises:
        ConfigurationError: It can't be used.
    """
    try:
        return load(kind)
    except ConfigurationError:
        if report:
            with suppress(ConfigurationError):
                shared = load(JobSettings)
                reporter = Reporter(shared, Display(job, shared).log)
                asyncio.run(reporter.report(Result(job, time.time(), 0.0, None)))
        raise
