#!/usr/bin/env python3
"""The command `list`: the backups that there are, as the exporter and retention see them."""

import sys

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from exporter.settings import load
from exporter.storage import StoreError
from scripts.backup.settings import BackupsSettings
from scripts.backup.shelves import open_shelves
from scripts.job.commands import JobCommand, json_option
from scripts.job.exits import JobError
from scripts.job.failures import explain
from scripts.job.frame import Outcome, Run, run_job

_LIMIT = 300.0


async def work(run: Run[BackupsSettings]) -> Outcome:
    """Show what lies on each shelf."""
    local, offsite = open_shelves(run.settings)
    table = Table("where", "backup", "finished (UTC)", "size", "proven (UTC)", box=None, header_style="bold")
    found: list[dict[str, object]] = []
    unlisted: list[JobError] = []
    for shelf in (local, *offsite):
        try:
            listing = await shelf.listing()
        except (StoreError, JobError) as error:
            # What lies in the other place is all the more wanted then.
            unlisted.append(explain(error))
            continue
        for backup in reversed(listing.backups):
            manifest, proven = backup.manifest, backup.verified_at
            table.add_row(
                shelf.location,
                manifest.name,
                f"{manifest.finished_at:%Y-%m-%d %H:%M}",
                decimal(manifest.size),
                f"{proven:%Y-%m-%d %H:%M}" if proven else "-",
            )
            found.append(
                {
                    "location": shelf.location,
                    "name": manifest.name,
                    "database": backup.database,
                    "cluster": backup.cluster,
                    "finished_at": manifest.finished_at.isoformat(),
                    "size": manifest.size,
                    "verified_at": proven and proven.isoformat(),
                }
            )
        for rejected in listing.rejected:
            run.log.warning("this is no backup", file=f"{shelf.dumps.location}/{rejected.file}", reason=rejected.reason)
    if sys.stdout.isatty():
        Console().print(table)
    if unlisted:
        raise JobError(unlisted[0].exit, "; ".join(map(str, unlisted)), {"backups": found})
    return Outcome(len(found), {"backups": found})


@click.command(
    "list",
    cls=JobCommand,
    epilog="""\b
Examples:
  unioncore-ops list
  S3_BUCKET=unioncore-backups unioncore-ops list --json""",
)
@json_option
def command(*, as_json: bool) -> None:
    """List the complete backups in BACKUP_DIR, and in S3_BUCKET if that is set, the newest first."""
    settings = load(BackupsSettings)
    sys.exit(run_job("list", work, settings=settings, time_limit=_LIMIT, locked=False, report=False, as_json=as_json))


if __name__ == "__main__":
    command()
