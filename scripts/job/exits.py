"""How a job ends: its exit codes, and the error that stands for one."""

from collections.abc import Mapping
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every job; those from 129 on are 128 and the number of the signal."""

    OK = 0
    """The job did all that it is for."""
    FAILED = 1
    """Something went wrong that has no code of its own."""
    CONFIGURATION = 2
    """The configuration, or the command line, can't be used."""
    BUSY = 3
    """Another run of the job holds its lock; nothing was done, nothing is reported."""
    TIMEOUT = 4
    """The time limit has passed."""
    NOT_VERIFIED = 5
    """A backup or an archive is not what its manifest says, or could not be compared with it."""
    REFUSED = 6
    """A safety rule forbids it."""
    UNREACHABLE = 7
    """The database, a server or a store can't be reached, or refuses the login."""
    NO_SPACE = 8
    """There is not enough room, or a file may not grow as large."""
    TOOL = 9
    """A program that is needed (pg_dump, pg_restore, psql) is missing or too old."""
    HUNG_UP = 129
    """The terminal went away (SIGHUP); the job has cleaned up."""
    INTERRUPTED = 130
    """Ctrl-C (SIGINT); the job has cleaned up."""
    TERMINATED = 143
    """It was told to end (SIGTERM); the job has cleaned up."""


class JobError(Exception):
    """A job can't go on.

    Args:
        exit_code: How it ends.
        message: One line for the operator, free of secrets: what is wrong with which thing, and what to do about it.
        details: Further facts for the JSON result, such as what was done before.
    """

    def __init__(self, exit_code: Exit, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.exit = exit_code
        self.details = dict(details or {})
