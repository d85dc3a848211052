"""What the tests of the development tools share: a temporary directory of their own, and a look at what is left."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scripts.dev.processes import make_directory, remove_directory


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short temporary directory that every user can reach into, for use as another process's TMPDIR."""
    path = make_directory("unioncore-test-")
    path.chmod(0o755)
    yield path
    remove_directory(path)


@pytest.fixture
def leftovers(scratch: Path) -> Callable[[], list[str]]:
    """What processes with TMPDIR=scratch have left: directories in it, and processes that name it."""

    def look() -> list[str]:
        found = [path.name for path in scratch.iterdir()]
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                with suppress(OSError):
                    words = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
                    if bytes(scratch) in words:
                        found.append(f"process {directory.name} {words[:200]!r}")
        return found

    return look
