"""Locks against a second run: one on this machine's disk, one in the database for those on other machines.

Both belong to the process that holds them: the kernel and the server let go of them however it ends.
"""

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.files import open_lock
from scripts.job.exits import Exit, JobError

if TYPE_CHECKING:
    from asyncpg import Connection

ADVISORY_SECONDS = 6.0
"""How long to wait for the database's lock: a server takes seconds to notice that a killed run is gone."""


@contextmanager
def file_lock(directory: Path, name: str) -> Iterator[None]:
    """Hold the lock of a job on this machine.

    Args:
        directory: Where lock files are; made if it is not there.
        name: The lock.

    Raises:
        JobError: Another run holds it (BUSY), or the directory can't be used (CONFIGURATION).
    """
    path = directory / f"{name}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = open_lock(path)
    except OSError as error:
        raise JobError(
            Exit.CONFIGURATION,
            f"the lock {path} can't be made ({error.strerror}): let the job's user write there, "
            "or set UNIONCORE_SPOOL_DIR (or BACKUP_DIR) to a directory that it may write",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError(Exit.BUSY, f"another {name} run is under way on this machine ({path} is locked)") from error
        except OSError as error:
            raise JobError(
                Exit.CONFIGURATION,
                f"{path} can't be locked ({error.strerror}), as on a file system of a network that has no locks: "
                "set UNIONCORE_SPOOL_DIR to a directory of this machine",
            ) from error
        yield
    finally:
        os.close(descriptor)


async def advisory_lock(connection: "Connection", name: str) -> None:
    """Take the lock of a job in the database, for as long as the session lives.

    Args:
        connection: The session.
        name: The lock.

    Raises:
        JobError: Another session holds it (BUSY).
    """
    key = int.from_bytes(hashlib.sha256(f"unioncore-ops/{name}".encode()).digest()[:8], signed=True)
    deadline = time.monotonic() + ADVISORY_SECONDS
    while not await connection.fetchval("select pg_try_advisory_lock($1)", key):
        if time.monotonic() > deadline:
            raise JobError(Exit.BUSY, f"another {name} run is under way on this database (it holds the advisory lock)")
        await asyncio.sleep(0.5)
