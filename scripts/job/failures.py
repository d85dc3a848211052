"""What an error that ends a job means: an exit code and one line for the operator."""

import errno

import asyncpg

from exporter.metrics import CollectError
from exporter.storage import StoreError
from scripts.job.database import is_lost, one_line
from scripts.job.exits import Exit, JobError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explain(error: BaseException) -> JobError:
    """Return what an error means.

    Args:
        error: Whatever a job's work raised; of a group, the first that says something.
    """
    if isinstance(error, JobError):
        return error
    if isinstance(error, BaseExceptionGroup):
        causes = [explain(cause) for cause in error.exceptions]
        return next((cause for cause in causes if cause.exit is not Exit.FAILED), causes[0])
    words = one_line(error)
    code = Exit.FAILED
    match error:
        case StoreError():
            code, message = Exit.UNREACHABLE, words
        case CollectError():
            message = words
        case asyncpg.DiskFullError():
            code, message = Exit.NO_SPACE, f"the database server has no space left: {words}"
        case asyncpg.LockNotAvailableError():
            message = f"another session holds the table for too long: {words}"
        case _ if is_lost(error):
            code, message = Exit.UNREACHABLE, f"the connection to the database was lost: {words}"
        case asyncpg.PostgresError():
            message = f"the database refuses a statement: {words}"
        case OSError(errno=number, strerror=reason) if number in _NO_SPACE:
            code = Exit.NO_SPACE
            message = f"{error.filename or 'a file'} can't be written ({reason}): make room, or raise the limit"
        case OSError(filename=str(name), strerror=reason):
            message = f"{name}: {reason}"
        case _:
            message = f"unexpected {type(error).__name__}: {words} (UNIONCORE_LOG_LEVEL=debug shows where)"
    return JobError(code, message)
