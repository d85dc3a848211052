#!/usr/bin/env python3
"""The job `archive`: old audit events go into the archive, once; `--delete` takes archived ones out of the database."""

import sys

import click

from exporter.settings import load
from scripts.archive import check, delete, export, guard, show
from scripts.archive.settings import ArchiveSettings, DeleteSettings, ListSettings
from scripts.job.commands import JobCommand, dry_run_option, json_option
from scripts.job.configuration import load_for
from scripts.job.frame import run_job

LOCK = "archive"
"""Archiving and deleting exclude each other."""


class _Commands(JobCommand, click.Group):
    """A command that has subcommands, too."""


@click.group(
    "archive",
    cls=_Commands,
    invoke_without_command=True,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-ops archive
  S3_BUCKET=unioncore-archive ARCHIVE_THRESHOLD_DAYS=400 unioncore-ops archive --dry-run
  unioncore-ops archive list
  unioncore-ops archive verify
  UNIONCORE_AUDIT_RETENTION_DAYS=1095 unioncore-ops archive install-guard --job-role unioncore_archiver
  UNIONCORE_AUDIT_RETENTION_DAYS=1095 unioncore-ops archive --delete --dry-run

\b
Read a file of the archive with plain tools (the first line names the columns):
  zstd -dc 2024/01/1-50000-0123abcd.csv.zst | head
  zstd -dc 2024/01/1-50000-0123abcd.csv.zst | tail -n +2 | sha256sum      # its manifest's "digest"
  psql -c 'create table audit_2024 (like audit_logs)'
  zstd -dc 2024/01/1-50000-0123abcd.csv.zst | psql -c "copy audit_2024 ($(zstd -dc 2024/01/1-50000-0123abcd.csv.zst |
    head -1)) from stdin (format csv, header)\"""",
)
@click.option("--delete", "deleting", is_flag=True, help="Delete archived events from the database; archive nothing.")
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, *, deleting: bool, dry_run: bool, as_json: bool) -> None:
    """Archive old audit events; delete archived ones if asked to.

    Events that are older than ARCHIVE_THRESHOLD_DAYS (365) and not archived yet go into compressed files in S3_BUCKET,
    or in ARCHIVE_DIR if there is no bucket. Each file is read back before its manifest is written; only then its
    events count as archived. Nothing is deleted.

    With --delete, events are deleted that are older than UNIONCORE_AUDIT_RETENTION_DAYS and were archived
    UNIONCORE_ARCHIVE_GRACE_DAYS (30) ago: file by file, each read back once more and compared with the database. That
    needs the guard: the triggers that keep the audit log unchanged refuse everybody else.
    """
    if ctx.invoked_subcommand:
        return
    if deleting:
        settings = load_for("archive-delete", DeleteSettings, report=not dry_run)
        code = run_job(
            "archive-delete",
            delete.delete,
            settings=settings,
            time_limit=settings.archive_seconds,
            lock=LOCK,
            dry_run=dry_run,
            as_json=as_json,
        )
    else:
        archiving = load_for("archive", ArchiveSettings, report=not dry_run)
        code = run_job(
            "archive",
            export.archive,
            settings=archiving,
            time_limit=archiving.archive_seconds,
            lock=LOCK,
            dry_run=dry_run,
            as_json=as_json,
        )
    sys.exit(code)


@command.command("list", cls=JobCommand)
@json_option
def list_chunks(*, as_json: bool) -> None:
    """List the files of the archive."""
    settings = load(ListSettings)
    sys.exit(
        run_job(
            "archive-list",
            show.show,
            settings=settings,
            time_limit=settings.archive_seconds,
            locked=False,
            report=False,
            as_json=as_json,
        )
    )


@command.command("verify", cls=JobCommand)
@json_option
def verify_chunks(*, as_json: bool) -> None:
    """Read the whole archive, and compare every file with its manifest.

    `archive` itself looks at the sizes of old files only: run this now and then, for events that are deleted from the
    database are nowhere else. Files of the classes GLACIER and DEEP_ARCHIVE can't be read at once: the store is asked
    for their checksums. A bucket may charge for what is read from it.
    """
    settings = load_for("archive-verify", ListSettings)
    sys.exit(
        run_job(
            "archive-verify",
            check.check,
            settings=settings,
            time_limit=settings.archive_seconds,
            locked=False,
            as_json=as_json,
        )
    )


@command.command("install-guard", cls=JobCommand)
@click.option(
    "--job-role",
    default="",
    metavar="ROLE",
    help="As whom `archive --delete` logs in; as this, if left out. Nobody else may.",
)
@dry_run_option
def install_guard(*, job_role: str, dry_run: bool) -> None:
    """Let old events that the job has recorded, and nothing else, be deleted; refuse TRUNCATE.

    For the owner of audit_logs, who may also create roles. The triggers must be on, and stay so.

    The job records what it has read back from the archive; the database can't see that itself. So let the job log in
    as a role of its own, which the application's statements never run as.

    UNIONCORE_AUDIT_RETENTION_DAYS becomes part of the guard: whatever it is asked, it deletes no event that is younger.
    Run this again to change that. --dry-run prints the SQL.
    """
    settings = load(DeleteSettings)
    sys.exit(
        run_job(
            "archive-install-guard",
            lambda run: guard.install(run, job_role),
            settings=settings,
            time_limit=settings.archive_seconds,
            lock=LOCK,
            report=False,
            dry_run=dry_run,
        )
    )


@command.command("remove-guard", cls=JobCommand)
@dry_run_option
def remove_guard(*, dry_run: bool) -> None:
    """Undo install-guard. --dry-run prints the SQL.

    What was noted of deleted events goes, too: from then on `archive` can't tell that a file of theirs is missing.
    """
    settings = load(DeleteSettings)
    sys.exit(
        run_job(
            "archive-remove-guard",
            guard.remove,
            settings=settings,
            time_limit=settings.archive_seconds,
            lock=LOCK,
            report=False,
            dry_run=dry_run,
        )
    )


if __name__ == "__main__":
    command()
