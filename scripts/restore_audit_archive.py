#!/usr/bin/env python3
"""The job `restore-archive`: archived audit events go into a table of their own, for an auditor to look at."""

import re
import sys
from datetime import UTC, datetime

import click

from exporter.schema import quoted
from exporter.settings import load
from scripts.archive.restore import Wanted, restore
from scripts.archive.settings import ArchiveSettings
from scripts.job.commands import JobCommand, dry_run_option, json_option
from scripts.job.frame import run_job

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


class _Ids(click.ParamType["tuple[int, int]"]):
    """A range of ids: `1000-2000`, or a single one."""

    name = "ids"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", str(value), re.ASCII)
        if not found:
            self.fail("must be FIRST-LAST, or a single id", param, ctx)
        return int(found[1]), int(found[2] or found[1])


def _table(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?", name):
        raise click.BadParameter("must be of small letters, digits and _, with a schema and a dot before it or without")
    return ".".join(map(quoted, name.split(".")))


@click.command(
    "restore-archive",
    cls=JobCommand,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-ops restore-archive --since 2023-01-01 --until 2023-07-01
  unioncore-ops restore-archive --ids 1000-2000 --table audit.case_17
  unioncore-ops restore-archive --since 2023-07-01 --until 2024-01-01 --append

`unioncore-ops archive --help` shows how to read the archive's files without this program.""",
)
@click.option("--ids", type=_Ids(), metavar="FIRST-LAST", help="Only events with these ids.")
@click.option("--since", type=_MOMENT, metavar="DATE", help="Only events from this day or second (UTC) on.")
@click.option("--until", type=_MOMENT, metavar="DATE", help="Only events before this day or second (UTC).")
@click.option(
    "--table", default="audit_logs_restored", show_default=True, callback=_table, help="Made if it is not there."
)
@click.option("--append", is_flag=True, help="The table may have rows already.")
@dry_run_option
@json_option
def command(
    *,
    ids: tuple[int, int] | None,
    since: datetime | None,
    until: datetime | None,
    table: str,
    append: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Load archived audit events into a table.

    Each file is compared with its manifest, to the last row, on the way. All is done in one transaction;
    nothing is loaded if the archive has lost a file, or a manifest, of what may be wanted.
    """
    if not (ids or since or until):
        raise click.UsageError("say which events: --ids, --since or --until")
    first, last = ids or (0, None)
    wanted = Wanted(
        table=table,
        first=first,
        last=last,
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        append=append,
    )
    settings = load(ArchiveSettings)
    sys.exit(
        run_job(
            "restore-archive",
            lambda run: restore(run, wanted),
            settings=settings,
            time_limit=settings.archive_seconds,
            dry_run=dry_run,
            as_json=as_json,
        )
    )


if __name__ == "__main__":
    command()
