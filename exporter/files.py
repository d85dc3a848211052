"""Files that survive a crash: whole, or not there."""

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
