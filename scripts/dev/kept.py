"""The backups that a site has kept: made by the job itself, so that `verify` and `restore` can be tried on them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Proof, name_at
from scripts.backup.sealing import seal, unseal

if TYPE_CHECKING:
    from scripts.dev.servers import Exporter
    from scripts.embedded.postgres import EmbeddedPostgres

_REPOSITORY = Path(__file__).parents[2]


class KeptError(RuntimeError):
    """The backup job failed; the message is what it said."""


def variables(postgres: EmbeddedPostgres, database: str, exporter: Exporter) -> dict[str, str]:
    """Return what configures a job to deal with a database, and with an exporter's backups.

    Args:
        postgres: The server.
        database: The database's name.
        exporter: Whose backup directory is used, and who is told.
    """
    return {
        "DATABASE_URL": postgres.url(database),
        "BACKUP_DIR": str(exporter.backups),
        "UNIONCORE_EXPORTER_URL": exporter.url,
        "UNIONCORE_PG_BIN": str(postgres.bin("pg_dump").parent),
        "UNIONCORE_SPOOL_DIR": str(exporter.state / "spool"),
    }


def back_up(postgres: EmbeddedPostgres, database: str, exporter: Exporter, *, days: int) -> None:
    """Run the backup job once, and let its backup stand for those of the days before, each of them verified.

    Args:
        postgres: The server.
        database: What is dumped.
        exporter: Whose backup directory it goes to, and who is told.
        days: How many backups there are in the end.

    Raises:
        KeptError: The job failed.
    """
    job = subprocess.run(
        [sys.executable, "-m", "scripts.ops", "backup"],
        env=os.environ | variables(postgres, database, exporter),
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if job.returncode:
        raise KeptError(f"the backup job ended with {job.returncode}:\n{job.stderr[-2000:]}")
    (newest,) = exporter.backups.glob("*.dump")
    manifest, facts = unseal(newest.with_name(newest.name + MANIFEST_SUFFIX).read_bytes(), newest.name)
    for day in range(days):
        started, finished = (moment - timedelta(days=day) for moment in (manifest.started_at, manifest.finished_at))
        dump = newest.with_name(name_at(started, encrypted=False)) if day else newest
        if day:
            dump.hardlink_to(newest)
            own = replace(manifest, name=dump.name, started_at=started, finished_at=finished)
            dump.with_name(dump.name + MANIFEST_SUFFIX).write_bytes(seal(own, facts))
        dump.with_name(dump.name + PROOF_SUFFIX).write_bytes(Proof(manifest.sha256, finished).render())
