#!/usr/bin/env python3
"""The job `verify`: a backup counts as proven when a restore of it has brought everything back."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from exporter.manifests import Proof
from scripts.backup import legacy
from scripts.backup.finding import LATEST, Fetched, Found, fetched, find
from scripts.backup.programs import Programs, choose_reader, installed
from scripts.backup.restoring import compare, pg_restore
from scripts.backup.scratch import Wanted, scratch
from scripts.backup.settings import VerifySettings
from scripts.backup.shelves import Shelf, open_shelves
from scripts.job.commands import JobCommand, json_option
from scripts.job.configuration import load_for
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run, run_job
from scripts.objects import ObjectDamagedError

_SCRATCH = ("--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions", "--no-security-labels")


async def work(run: Run[VerifySettings], what: str) -> Outcome:
    """Restore a backup into a scratch database, compare everything, and write down that it was right."""
    local, offsite = open_shelves(run.settings)
    found = await find(run, local, offsite, what)
    installations = await asyncio.to_thread(installed, run.settings.programs_directory)
    if found.name.endswith(legacy.SUFFIXES):
        return await legacy.verify(run, installations, found)
    shelves = (found.shelf, local, *offsite)
    sha256 = ""
    try:
        async with fetched(run, found) as backup:
            sha256 = backup.manifest.sha256
            details, proof = await _verified(run, installations, found, backup)
    except JobError as error:
        if error.exit is Exit.NOT_VERIFIED:
            await _disprove(run, shelves, found.name, sha256)
        raise
    proven = await _prove(shelves, found.name, proof)
    return Outcome(int(details["compared"]), {**details, "proven": proven})


async def _verified(
    run: Run[VerifySettings], installations: Sequence[Programs], found: Found, backup: Fetched
) -> tuple[dict[str, Any], Proof]:
    """Restore a backup, and compare it; return what was seen, and the proof.

    Raises:
        JobError: It does not bring back what it should (NOT_VERIFIED), or that can't be known (any other).
    """
    facts, contents = backup.facts, backup.facts.contents
    programs = await asyncio.to_thread(choose_reader, installations, facts.client_major, facts.compression)
    wanted = Wanted(
        major=max(contents.major, programs.major),
        encoding=contents.encoding,
        collation=contents.collation,
        ctype=contents.ctype,
        provider=contents.provider,
        locale=contents.locale,
        roles=contents.roles,
        policy_roles=contents.policy_roles,
    )
    began = time.monotonic()
    async with scratch(run, installations, wanted) as database:
        try:
            await pg_restore(run, programs, backup.dump, database, *_SCRATCH, failure=Exit.NOT_VERIFIED)
        except JobError as error:
            if error.exit is Exit.NOT_VERIFIED:
                raise
            message = f"the scratch server can't take the backup, which says nothing of the backup itself: {error}"
            raise JobError(error.exit, message, error.details) from error
        seconds = time.monotonic() - began
        restored = await compare(run, contents, database)
    details = {
        "name": found.name,
        "location": found.shelf.dumps.location,
        "database": contents.database,
        "critical": restored.critical(),
        "tables": len(restored.tables),
        "rows": sum(table.rows for table in restored.tables.values()),
        "compared": contents.compared(),
        "restore_seconds": round(seconds, 3),
        "server": restored.version,
    }
    return details, Proof(backup.manifest.sha256, datetime.now(UTC), details)


async def _disprove(run: Run[VerifySettings], shelves: Sequence[Shelf], name: str, sha256: str) -> None:
    """Remove the proofs of what does not bring back what it should.

    Retention keeps the newest one that is proven, and may delete those before it. What is wrong with bytes that are as
    they were written is wrong with every copy of them; else it is that one place which has lost them.

    Args:
        run: Of this job.
        shelves: All, first the one that it was fetched from.
        name: The backup.
        sha256: Of the dump; empty if what lies there is not what was written.
    """
    for shelf in shelves if sha256 else shelves[:1]:
        try:
            await shelf.disprove(name, sha256 if shelf is not shelves[0] else "")
        except JobError as trouble:
            run.log.error("an earlier proof can't be removed", location=shelf.dumps.location, error=str(trouble))  # noqa: TRY400 - told in a line


async def _prove(shelves: Sequence[Shelf], name: str, proof: Proof) -> list[str]:
    """Write the proof wherever this very backup lies, first where it was restored from; return where.

    Raises:
        JobError: There is a copy that is not what it was (NOT_VERIFIED).
    """
    places = {shelf.dumps.location: shelf for shelf in reversed(shelves)}
    restored = shelves[0].dumps.location
    proven: list[str] = []
    for location in sorted(places, key=lambda location: location != restored):
        try:
            if await places[location].prove(name, proof, restored=location == restored):
                proven.append(location)
        except ObjectDamagedError as error:
            raise JobError(
                Exit.NOT_VERIFIED,
                f"the backup is proven in {restored}, but there is a damaged copy of it: {error}: look at that disk or "
                "store, and delete the copy",
                {**proof.extra, "proven": proven},
            ) from error
    return proven


@click.command(
    "verify",
    cls=JobCommand,
    epilog="""\b
Examples:
  unioncore-ops verify
  unioncore-ops verify /var/backups/unioncore/unioncore-20260301T020000000Z.dump
  UNIONCORE_SCRATCH_URL_FILE=/run/secrets/scratch unioncore-ops verify s3://backups/daily/unioncore-20260301T020000000Z.dump
  unioncore-ops verify unioncore_20250101_020000.sql.gz""",
)
@click.argument("what", default=LATEST, metavar="[FILE | s3://BUCKET/KEY | NAME | latest]")
@json_option
def command(*, what: str, as_json: bool) -> None:
    """Restore a backup into a scratch database, and compare everything with its manifest.

    Without an argument: the latest one in S3_BUCKET, or in BACKUP_DIR if there is no bucket. The scratch database is
    on the server UNIONCORE_SCRATCH_URL, or on one that is started for it and removed afterwards.

    Old `.sql.gz` files that have no manifest can be verified as far as that goes: that they are complete, can be
    restored, and have the tables that matter.
    """
    settings = load_for("verify", VerifySettings)

    async def verify(run: Run[VerifySettings]) -> Outcome:
        return await work(run, what)

    sys.exit(run_job("verify", verify, settings=settings, time_limit=settings.restore_seconds, as_json=as_json))


if __name__ == "__main__":
    command()
