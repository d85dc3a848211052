"""Programs of PostgreSQL's that do as they are told: scripts around the real ones."""

import stat
from pathlib import Path

from scripts.embedded.postgres import EmbeddedPostgres

_ALL = ("pg_dump", "pg_restore", "psql")


def programs(directory: Path, server: EmbeddedPostgres, **scripts: str) -> Path:
    """A directory of programs for UNIONCORE_PG_BIN.

    Args:
        directory: Where to make it.
        server: Whose programs the real ones are.
        **scripts: Program to shell commands; `$REAL` is the real one, asked in the same way. What it says of its
            version and its abilities stays true.
    """
    place = directory / "programs"
    place.mkdir()
    for name in _ALL:
        path = place / name
        path.write_text(
            f"""#!/bin/sh
REAL={server.bin(name)}
case "$*" in *--version*|*/nonexistent*) exec $REAL "$@" ;; esac
{scripts.get(name, 'exec $REAL "$@"')}
"""
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return place
