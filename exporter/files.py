"""Files that survive a crash: whole, or not there. And files to lock."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Put a file in place of whatever has its name; on disk when this returns, and at no moment a half one.

    Args:
        path: The file. For one writer at a time: beside it, a file of the same name with the suffix `.tmp` is used.
        content: What it shall hold.

    Raises:
        OSError: It can't be written; what was there before is unchanged.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def open_lock(path: Path) -> int:
    """Open a file to lock with `fcntl.flock`; made if it is not there, and never to be deleted.

    The lock goes with the descriptor: the kernel lets go of it however the process ends. Were the file deleted, whoever
    waits with the old one open would not meet one with the new.

    Args:
        path: The file.

    Returns:
        Its descriptor.

    Raises:
        OSError: It can't be made or opened.
    """
    try:
        # NFS locks for itself alone only what is open for writing (flock(2), "NFS details").
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:
        if not path.exists():
            raise
        # Elsewhere to read is enough: a file that root's run made locks out everybody else's all the same.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
