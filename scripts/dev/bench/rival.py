"""PyPI's query-exporter, in a virtual environment of its own, publishing the same numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.dev.servers import Server
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from scripts.dev.bench.databases import Role

_LOCK = Path(__file__).parents[1] / "bench-requirements.lock"
_ENVIRONMENT = Path(__file__).parents[3] / ".cache" / "query-exporter"
_CONFIG = Path(__file__).with_name("query-exporter.yaml")


class InstallError(Exception):
    """query-exporter can't be installed; the message is pip's last line."""


def install() -> str:
    """Install query-exporter, unless what the lock file says is installed already.

    Returns:
        Its version.

    Raises:
        InstallError: pip failed.
    """
    python = str(_ENVIRONMENT / "bin" / "python")
    mark = _ENVIRONMENT / _LOCK.name
    if not mark.is_file() or mark.read_bytes() != _LOCK.read_bytes():
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        for argv in (
            [sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)],
            [*pip, "install", "--require-hashes", "-r", str(_LOCK)],
        ):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise InstallError((done.stderr.strip() or "it failed").splitlines()[-1])
        mark.write_bytes(_LOCK.read_bytes())
    ask = "import importlib.metadata as m; print(m.version('query-exporter'))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


class QueryExporter(Server):
    """A real query-exporter, once `install` has been called.

    Args:
        role: As whom it connects.
        database: The database that it reads.
    """

    def __init__(self, role: Role, database: str) -> None:
        port = free_port()
        program = _ENVIRONMENT / "bin" / "query-exporter"
        super().__init__(
            "query-exporter",
            [program, "--config", _CONFIG, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"],
            port=port,
            ready="/",
            env={"DATABASE_URL": role.url(database).replace("postgresql://", "postgresql+psycopg2://")},
        )
