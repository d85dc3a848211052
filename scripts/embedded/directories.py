"""Directories that vanish with the process that made them.

The reaper deletes them when their owner has ended, however it did. Where a reaper dies with its owner, as in a
container that is killed, they stay. The owner holds a lock on each, which ends with it: whoever makes the next
directory in the same place removes those whose lock is free.
"""

import contextlib
import fcntl
import functools
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from scripts.embedded.processes import REAPER

_LOCKED = re.compile(r"unioncore-([a-z0-9]+-)?[0-9a-f]{10}")
"""Names of directories that their owners hold locked. Older versions, which held none, made shorter names."""

_locks: dict[Path, int] = {}
"""The directories of this process, and the descriptors that hold their locks."""


def make_directory(prefix: str = "unioncore-") -> Path:
    """Create a temporary directory that is deleted when this process ends in any way.

    Args:
        prefix: The start of its name.

    Returns:
        Its path, short enough for a unix socket inside. Give it to `remove_directory` when it is done with.
    """
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place)
    while True:
        path = place / f"{prefix}{secrets.token_hex(5)}"
        # First the word, then the deed: whenever this process dies, the reaper knows of the directory.
        REAPER.tell(f"+{path}")
        path.mkdir(mode=0o700)
        # Another process may take it for abandoned before it is locked.
        try:
            lock = _lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:
            # A file system without locks: nobody else can get this one, either, and remove it.
            return path
        if path.exists():
            _locks[path] = lock
            return path
        os.close(lock)


def remove_directory(path: Path) -> None:
    """Delete a directory made by `make_directory`; one that is already gone is no error."""
    shutil.rmtree(path, ignore_errors=True)
    REAPER.tell(f"-{path}")
    if (lock := _locks.pop(path, None)) is not None:
        os.close(lock)


def _remove_abandoned(place: Path) -> None:
    """Delete directories of this user whose owner is gone, and its reaper with it."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = [path for path in place.iterdir() if _LOCKED.fullmatch(path.name) and path not in _locks]
    for path in found:
        with contextlib.suppress(OSError):
            lock = _lock(path)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _lock(path: Path) -> int:
    """Lock a directory, and return the descriptor that holds the lock.

    Raises:
        BlockingIOError: Another process holds it.
        FileNotFoundError: It is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@functools.cache
def cache() -> Path:
    """The user's directory for what is made or fetched once; without a home, one that lives as long as this process."""
    path = Path.home() / ".cache" / "unioncore-observability"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return make_directory("unioncore-cache-")
    return path
