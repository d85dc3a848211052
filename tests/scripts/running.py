"""Jobs as cron runs them: processes without a terminal, in an environment of their own."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.scripts.forking import Forked

ROOT = Path(__file__).parents[2]
CLEANUP = ("scripts.ops", "cleanup")
ODD = "tests.scripts.odd_job"
NOWHERE = "http://127.0.0.1:1"
"""Nobody listens there."""

Found = Callable[[str], None]
"""Tells, for the summary at the end, what a torture test has done and found."""


class Ended(NamedTuple):
    """How a job ended."""

    code: int
    result: Mapping[str, Any]
    log: str


def environment(directory: Path, url: str, *, exporter: str = NOWHERE, **variables: str) -> dict[str, str]:
    """The variables of a job.

    Args:
        directory: Where it keeps its backups, locks and undelivered results.
        url: The database.
        exporter: Where it pushes to.
        **variables: Further ones.
    """
    ours = ("UNIONCORE_", "DATABASE_URL", "DB_", "BACKUP_", "S3_", "AWS_", "PG")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "DATABASE_URL": url,
        "BACKUP_DIR": str(directory),
        "UNIONCORE_EXPORTER_URL": exporter,
        **variables,
    }


def end(process: Forked, *, seconds: float = 60) -> Ended:
    """Wait for a job's end; its last line is its result."""
    code = process.finish(seconds)
    lines = process.out.decode().splitlines()
    return Ended(code, json.loads(lines[-1]) if lines else {}, process.log.decode())


def run(argv: Sequence[str], env: Mapping[str, str], *, seconds: float = 60) -> Ended:
    """Run a job, a module with its arguments, to its end."""
    return end(Forked(argv, env), seconds=seconds)


def wait_for(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: It never is.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def kept(directory: Path) -> list[dict[str, Any]]:
    """The results that wait on disk, the oldest first."""
    return [json.loads(path.read_bytes()) for path in sorted((directory / ".spool").glob("*.json"))]
