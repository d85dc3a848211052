#!/usr/bin/env python3
"""The job `restore`: a backup into a database that is empty, and the proof that all of it is there."""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import click

from exporter.dsn import Address
from exporter.settings import load
from scripts.backup.around import missing_roles
from scripts.backup.contents import Contents, still_granted
from scripts.backup.finding import LATEST, fetched, find
from scripts.backup.inventory import snapshot
from scripts.backup.programs import choose_reader, installed
from scripts.backup.restoring import compare, pg_restore, put_off, restore_each, set_up
from scripts.backup.rights import OWNED
from scripts.backup.settings import RestoreSettings
from scripts.backup.shelves import open_shelves
from scripts.backup.target import target_address
from scripts.job.commands import JobCommand, json_option
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run, run_job

_ALWAYS_THERE = {"schema", "extension", OWNED}
_TALKS_OF_TRANSACTION_TIMEOUT = 17


async def work(run: Run[RestoreSettings], what: str, target: Address, *, force: bool, owners: bool) -> Outcome:
    """Restore a backup, and compare everything."""
    began = time.monotonic()
    local, offsite = open_shelves(run.settings)
    found = await find(run, local, offsite, what, newest=True)
    installations = await asyncio.to_thread(installed, run.settings.programs_directory)
    async with fetched(run, found) as backup:
        facts, contents = backup.facts, backup.facts.contents
        programs = await asyncio.to_thread(choose_reader, installations, facts.client_major, facts.compression)
        before = await _check_target(run, target, contents, programs.major, force=force, owners=owners)
        options = [
            *([] if owners else ["--no-owner", "--no-privileges"]),
            *(["--clean", "--if-exists"] if force else []),
        ]
        off: list[bytes] = []
        wanted = []
        if not await _is_superuser(run, target):
            off = await asyncio.to_thread(put_off, programs, backup.dump, backup.directory / "wanted")
            wanted = [f"--use-list={backup.directory / 'wanted'}"]
        restoring = time.monotonic()
        try:
            await pg_restore(run, programs, backup.dump, target, *options, *wanted, failure=Exit.FAILED, whole=force)
        except JobError as error:
            state = "as it was before" if force else "not as it was backed up"
            raise JobError(error.exit, f"{target} is {state}: {error}", error.details) from error
        left_out = await restore_each(run, programs, backup.dump, target, off, *options)
        if any(" EVENT TRIGGER " in one for one in left_out):
            objects = {kind: found for kind, found in contents.objects.items() if kind != "event trigger"}
            contents = replace(contents, objects=objects)
        restored = time.monotonic()
        try:
            result = await compare(run, contents, target, owners=owners, extra=force, before=before)
        except JobError as error:
            if error.exit is Exit.NOT_VERIFIED:
                # Whoever goes on with what there is shall not have the times of another zone as well.
                try:
                    await set_up(run, contents, target, owners=owners)
                except JobError as left:
                    run.log.error("some of its settings and grants are missing", error=str(left))  # noqa: TRY400
            raise JobError(error.exit, f"{target} is not as it was backed up: {error}", error.details) from error
        for name, grants in still_granted(contents, result, before).items() if owners else ():
            run.log.warning("a role may still do what it might before the restore", schema=name, grants=grants)
        await set_up(run, contents, target, owners=owners)
    return Outcome(
        sum(table.rows for table in result.tables.values()),
        {
            "name": found.name,
            "from": found.shelf.dumps.location,
            "database": contents.database,
            "to": str(target),
            "backed_up_at": backup.manifest.started_at.isoformat(),
            "critical": result.critical(),
            "tables": len(result.tables),
            "left_out": left_out,
            "restore_seconds": round(restored - restoring, 3),
            "total_seconds": round(time.monotonic() - began, 3),
        },
    )


async def _is_superuser(run: Run[RestoreSettings], target: Address) -> bool:
    async with run.connect(target) as connection:
        return bool(await connection.fetchval("select rolsuper from pg_roles where rolname = current_user"))


async def _check_target(
    run: Run[RestoreSettings], target: Address, contents: Contents, client: int, *, force: bool, owners: bool
) -> Mapping[str, Mapping[str, str]]:
    """Refuse a target that has something to lose, or that the backup can't be restored into.

    Returns:
        What is in it by itself, by kind, with the definitions: schemas and extensions of its platform, and rights.
    """
    async with run.connect(target) as connection, snapshot(connection) as moment:
        if moment.major < contents.major or moment.major < _TALKS_OF_TRANSACTION_TIMEOUT <= client:
            raise JobError(
                Exit.REFUSED,
                f"{target} is PostgreSQL {moment.major}, and the backup was made of PostgreSQL {contents.major} by "
                f"programs of {client}, which an older server does not understand",
            )
        objects = await moment.objects()
        names = [name for kind, found in objects.items() if kind not in _ALWAYS_THERE for name in found]
        names += ["a large object"] * moment.large_objects
        if names and not force:
            raise JobError(
                Exit.REFUSED,
                f"{target} is not empty: it has {min(names)} and {len(names) - 1} more objects. Restore into a "
                "new database, or overwrite them with --force-into-non-empty",
            )
        if moment.encoding != contents.encoding:
            raise JobError(
                Exit.REFUSED,
                f"{target} has the encoding {moment.encoding}, and the backup was made of {contents.encoding}, so that "
                f"rows could not be compared: make the database with encoding '{contents.encoding}' template template0",
            )
        if missing := await missing_roles(connection, contents.roles if owners else contents.policy_roles):
            named = ", ".join(missing)
            raise JobError(
                Exit.REFUSED,
                f"{target} lacks the roles {named}, which own or may use what is in the backup: create them, or give "
                "all to the user of the restore with --no-owner"
                if owners
                else f"{target} lacks the roles {named}, which the backup's row security policies name: create them",
            )
        return {kind: objects.get(kind, {}) for kind in _ALWAYS_THERE}


@click.command(
    "restore",
    cls=JobCommand,
    epilog="""\b
Examples:
  unioncore-ops restore --to postgresql://unioncore@db.example.org/unioncore_new
  UNIONCORE_RESTORE_URL_FILE=/run/secrets/new unioncore-ops restore unioncore-20260301T020000000Z.dump
  unioncore-ops restore s3://backups/daily/unioncore-20260301T020000000Z.dump --to service=new --no-owner""",
)
@click.argument("what", default=LATEST, metavar="[FILE | s3://BUCKET/KEY | NAME | latest]")
@click.option("--to", metavar="URL", help="The database: a URL without a password, or service=NAME.")
@click.option("--no-owner", is_flag=True, help="Give all to the user of the restore, without the grants.")
@click.option(
    "--force-into-non-empty", "force", is_flag=True, help="Overwrite what is there, whole; asks for its name."
)
@json_option
def command(*, what: str, to: str | None, no_owner: bool, force: bool, as_json: bool) -> None:
    """Restore a backup into an empty database, and compare everything with its manifest.

    Without an argument: the latest one in S3_BUCKET and BACKUP_DIR, or in that of both which can be looked at.

    A password goes into PGPASSFILE, into the file that UNIONCORE_RESTORE_URL_FILE names, or into a service file;
    in --to it is refused.
    """
    settings = load(RestoreSettings)

    async def restore(run: Run[RestoreSettings]) -> Outcome:
        target = target_address(settings, to)
        if typed is not None and typed != target.database:
            raise JobError(Exit.REFUSED, f"what was typed is not the name of the database {target}")
        return await work(run, what, target, force=force, owners=not no_owner)

    # Asked before the job begins: a prompt would hold its locks.
    typed = click.prompt("The name of the database to overwrite", err=True) if force else None
    sys.exit(run_job("restore", restore, settings=settings, time_limit=settings.restore_seconds, as_json=as_json))


if __name__ == "__main__":
    command()
