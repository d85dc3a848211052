#!/usr/bin/env python3
"""The job `backup`: a dump whose manifest says, to the last row, what a restore of it must bring back."""

import asyncio
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import click

from exporter.manifests import Manifest, name_at
from exporter.storage import Backup, Listing, StoreError
from exporter.whose import Database
from scripts.backup import age
from scripts.backup.contents import CRITICAL, Contents
from scripts.backup.dump import Written, write_dump
from scripts.backup.inventory import Snapshot, snapshot
from scripts.backup.programs import Programs, choose, installed
from scripts.backup.retention import expired
from scripts.backup.sealing import Facts, seal
from scripts.backup.settings import BackupSettings
from scripts.backup.shelves import LocalShelf, Shelf, open_offsite
from scripts.job.commands import JobCommand, dry_run_option, json_option
from scripts.job.configuration import load_for
from scripts.job.exits import Exit, JobError
from scripts.job.failures import explain
from scripts.job.frame import Outcome, Run, run_job

_SPARE = 16 << 20  # bytes
_CLOCKS_APART = timedelta(hours=1)


async def work(run: Run[BackupSettings]) -> Outcome:
    """Back up the database, here and off site, and delete backups that are too old."""
    settings = run.settings
    local = LocalShelf(settings.backup_directory)
    name = name_at(run.started_at, encrypted=bool(age.split(settings.age_recipients)))
    async with run.connect() as connection, snapshot(connection, lock_seconds=settings.lock_seconds) as moment:
        tables = moment.tables
        _check_database(run, tables)
        _check_clock(moment)
        programs = choose(await asyncio.to_thread(installed, settings.programs_directory), moment.major, "a backup")
        has_zstd = await asyncio.to_thread(programs.has_zstd)
        compression = f"zstd:{settings.zstd_level}" if has_zstd else "gzip:6"
        if not run.dry_run:
            settings.backup_directory.mkdir(parents=True, exist_ok=True)
        await _check_space(run, local, moment)
        if run.dry_run:
            coming = Manifest(name, "0" * 64, 1, run.started_at, run.started_at)
            plan = {
                shelf.location: await _expire(run, shelf, coming, moment.database)
                for shelf in (local, *open_offsite(settings))
            }
            details = {"name": name, "client": programs.version, "compression": compression, "would_delete": plan}
            return Outcome(len(tables), details)
        await local.clean(run.started_at)
        with local.create(name) as file:
            contents, written = await _dump(
                run, moment, file, programs=programs, compression=compression, tables=tables
            )
    for warning in written.warnings:
        run.log.warning(warning)
    manifest = Manifest(name, written.sha256, written.size, run.started_at, datetime.now(UTC))
    if recipients := age.split(settings.age_recipients):
        contents = contents.concealed(lambda text: age.conceal(text, recipients))
    encryption = "age" if recipients else ""
    try:
        text = seal(manifest, Facts(programs.version, programs.major, compression, encryption, contents))
        await local.commit(name, text)
    except JobError:
        # Nobody can use it, and the next night's would come on top of it.
        await local.remove(name)
        raise
    run.log.info("the backup is complete", name=name, size=written.size, location=str(settings.backup_directory))
    try:
        # Not before: a bucket that is configured wrongly must not cost the backup that is here.
        shelves = [local, *open_offsite(settings)]
        for shelf in shelves[1:]:
            await shelf.clean(run.started_at)
            await shelf.upload(settings.backup_directory / name, manifest, text)
            run.log.info("the backup is off site", location=shelf.dumps.location)
    except JobError as error:
        raise JobError(
            error.exit,
            f"the backup is complete in {settings.backup_directory}, but not off site: {error}",
            {"name": name, "size": written.size, "locations": [local.location]},
        ) from error
    made = {
        "name": name,
        "size": written.size,
        "sha256": written.sha256,
        "compression": compression,
        "rows": sum(table.rows for table in contents.tables.values()),
        "locations": [shelf.location for shelf in shelves],
        "warnings": written.warnings,
    }
    try:
        deleted = {shelf.location: await _expire(run, shelf, manifest, moment.database) for shelf in shelves}
    except (StoreError, JobError) as error:
        failure = explain(error)
        message = f"the backup is complete, but what is too old can't be deleted: {failure}"
        raise JobError(failure.exit, message, made) from error
    return Outcome(len(tables), {**made, "deleted": deleted})


def _check_database(run: Run[BackupSettings], tables: Iterable[str]) -> None:
    missing = sorted(set(CRITICAL) - {table.rpartition(".")[2] for table in tables})
    if missing:
        raise JobError(
            Exit.REFUSED,
            f"the database {run.address} is not UnionCore's, for it has no table {', '.join(missing)}: "
            "set the database's name in DATABASE_URL",
        )


def _check_clock(moment: Snapshot) -> None:
    """Refuse to date a backup, and to delete older ones, by a clock that may be wrong."""
    if abs(moment.clock_ahead) > _CLOCKS_APART:
        apart = f"{abs(moment.clock_ahead).total_seconds() / 3600:.1f} h"
        raise JobError(
            Exit.REFUSED,
            f"this machine's clock and the database's are {apart} apart, and a backup's time decides which older ones "
            "are deleted: set the clock that is wrong",
        )


async def _check_space(run: Run[BackupSettings], local: LocalShelf, moment: Snapshot) -> None:
    """Refuse to begin what would not fit."""
    try:
        listing = await local.listing()
    except StoreError as error:
        if not local.directory.is_dir():
            raise
        # Nothing will be deleted as long as that is so; a new backup is all the more wanted.
        run.log.warning("the backups that there are can't be listed", error=str(error))
        listing = Listing((), ())
    for rejected in listing.rejected:
        run.log.warning("this is no backup", file=rejected.file, reason=rejected.reason)
    # A dump has no indexes, and is compressed: a third of the database is more than it takes.
    guess = listing.backups[-1].manifest.size * 5 // 4 if listing.backups else moment.size // 3
    free = shutil.disk_usage(local.directory).free
    if free < guess + _SPARE:
        raise JobError(
            Exit.NO_SPACE,
            f"{local.directory} has {free >> 20} MiB free, and the backup may need {(guess + _SPARE) >> 20} MiB: "
            "make room there, or set BACKUP_DIR",
        )


async def _dump(
    run: Run[BackupSettings],
    moment: Snapshot,
    file: BinaryIO,
    *,
    programs: Programs,
    compression: str,
    tables: Mapping[str, bytes],
) -> tuple[Contents, Written]:
    """Dump and read the same snapshot at once."""
    settings = run.settings
    with (
        run.progress("dump", None, "bytes") as dumped,
        run.progress("digests", len(tables), "tables") as read,
    ):
        try:
            async with asyncio.TaskGroup() as both:
                reading = both.create_task(moment.contents(read))
                writing = both.create_task(
                    write_dump(
                        programs,
                        run.pg_environment(),
                        file,
                        snapshot=moment.id,
                        encoding=moment.encoding,
                        compression=compression,
                        recipients=age.split(settings.age_recipients),
                        tables=tables,
                        stall_seconds=settings.stall_seconds,
                        lock_seconds=settings.lock_seconds,
                        meter=dumped,
                    )
                )
        except ExceptionGroup as failed:
            # A file that can't be written is told with its name, by whoever has opened it.
            for error in failed.exceptions:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                    raise error from None
            raise
    contents = reading.result().condensed()
    after = await moment.sequences()
    sequences = {}
    for name, (before, _) in contents.sequences.items():
        value, descends = after.get(name, (before, False))
        sequences[name] = (value, before) if descends else (before, value)
    return replace(contents, sequences=sequences), writing.result()


async def _expire(run: Run[BackupSettings], shelf: Shelf, newest: Manifest, database: Database) -> list[str]:
    """Delete what is too old of a database's backups; in a dry run, only say what."""
    settings = run.settings
    listing = await shelf.listing()
    ours, others = listing.of(database)
    if others:
        run.log.warning(
            "backups of other databases are left alone: delete those of a database that is no more by hand",
            location=shelf.location,
            databases=others,
            ours=str(database),
        )
    backups = [*(backup for backup in ours if backup.manifest.name != newest.name), Backup(newest, None, *database)]
    now = newest.finished_at.timestamp()
    gone = [
        backup.manifest.name for backup in expired(backups, now, days=settings.retention_days, keep=settings.min_keep)
    ]
    # What a killed job has left may be of use as long as a backup of its age is.
    if len(backups) > settings.min_keep:
        gone += await shelf.orphans(now - settings.retention_days * 86400)
    if not run.dry_run:
        for name in gone:
            await shelf.remove(name)
            run.log.info("deleted", location=shelf.location, name=name)
    return gone


@click.command(
    "backup",
    cls=JobCommand,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-ops backup
  S3_BUCKET=unioncore-backups S3_PREFIX=daily unioncore-ops backup
  RETENTION_DAYS=14 unioncore-ops backup --dry-run""",
)
@dry_run_option
@json_option
def command(*, dry_run: bool, as_json: bool) -> None:
    """Dump the database into BACKUP_DIR, and into S3_BUCKET if that is set.

    Each backup is a dump and a manifest, written last, that says what is in the dump: `verify` compares it all. When
    that is done, backups older than RETENTION_DAYS are deleted, but never those that are needed: see
    UNIONCORE_MIN_KEEP.
    """
    settings = load_for("backup", BackupSettings, report=not dry_run)
    sys.exit(
        run_job("backup", work, settings=settings, time_limit=settings.backup_seconds, dry_run=dry_run, as_json=as_json)
    )


if __name__ == "__main__":
    command()
