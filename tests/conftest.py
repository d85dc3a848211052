"""What every test may ask for: a real PostgreSQL with fresh databases of either shape, and a look at what is left."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import settings

from scripts.dev.generate import SCALES, create
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.postgres import EmbeddedPostgres

# How fast a machine is decides no test.
settings.register_profile("unioncore", deadline=None)
settings.load_profile("unioncore")

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes, three times what they take


def _has_room() -> bool:
    try:
        there, memory = os.statvfs(_MEMORY), Path("/proc/meminfo").read_text()
    except OSError:
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB$", memory, re.MULTILINE)
    # Some of the files are programs.
    runs_programs = not there.f_flag & os.ST_NOEXEC
    return runs_programs and there.f_bavail * there.f_frsize >= _ROOM <= int(available[1] if available else 0) * 1024


# A server has a thousand files, and a disk's file system may take a second to make them: the tests' files stay in
# memory where there is enough. Before anything is made, and for every process.
if "TMPDIR" not in os.environ and _has_room():
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

Shape = Literal["live", "documented"]
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def templates(postgres: EmbeddedPostgres) -> dict[Shape, str]:
    names: dict[Shape, str] = {"live": "template_live", "documented": "template_documented"}
    for shape, name in names.items():
        postgres.create_database(name)
        create(postgres.url(name), shape, SCALES["small"], seed=1)
    return names


def _fresh(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template=template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def live_url(postgres: EmbeddedPostgres, templates: dict[Shape, str]) -> Iterator[str]:
    yield from _fresh(postgres, templates["live"])


@pytest.fixture
def documented_url(postgres: EmbeddedPostgres, templates: dict[Shape, str]) -> Iterator[str]:
    yield from _fresh(postgres, templates["documented"])


@pytest.fixture(params=["live", "documented"])
def shape_url(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, templates: dict[Shape, str]) -> Iterator[str]:
    yield from _fresh(postgres, templates[request.param])


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
