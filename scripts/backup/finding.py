"""Finds the backup that is meant, brings it here, and lets nothing through that is not as it was written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.manifests import Manifest, begun_at
from exporter.storage import Backup, Listing, StoreError
from exporter.whose import Database
from scripts.backup import age
from scripts.backup.sealing import Facts
from scripts.backup.settings import AnyBackups
from scripts.backup.shelves import LocalShelf, Shelf, open_s3
from scripts.backup.whose import identify
from scripts.embedded.directories import make_directory, remove_directory
from scripts.job.database import SESSION_ERRORS, one_line
from scripts.job.exits import Exit, JobError
from scripts.job.failures import explain
from scripts.job.frame import Run

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Found:
    """A backup, and where it lies.

    Attributes:
        shelf: Where.
        name: The dump's name.
    """

    shelf: Shelf
    name: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A backup that is as it was written, and can be restored from.

    Attributes:
        directory: For files that nobody else may read; gone when the block has ended.
        dump: A file that pg_restore reads.
        manifest: Its manifest.
        facts: What that says of the database.
    """

    directory: Path
    dump: Path
    manifest: Manifest
    facts: Facts


async def find(
    run: Run[AnyBackups], local: LocalShelf, offsite: Sequence[Shelf], what: str, *, newest: bool = False
) -> Found:
    """Find a backup.

    Args:
        run: Of this job; its settings say how to reach another bucket.
        local: The local shelf.
        offsite: The others that are configured.
        what: `latest`, a file, an `s3://` URL, or the name of a backup, which is never that of a file that lies about:
            from where a disaster would fetch it, the bucket if there is one.
        newest: `latest` is the newest of all, and if that is only in the local directory, or the bucket can't be looked
            at, it is taken from there.

    Raises:
        JobError: There is none (NOT_VERIFIED), or the place can't be read.
    """
    if what.startswith("s3://"):
        bucket, _, key = what.removeprefix("s3://").partition("/")
        prefix, _, name = key.rpartition("/")
        if not bucket or not name:
            raise JobError(Exit.CONFIGURATION, f"{what} names no object: s3://BUCKET/KEY")
        return Found(open_s3(run.settings.model_copy(update={"s3_bucket": bucket, "s3_prefix": prefix})), name)
    shelf = offsite[0] if offsite else local
    if what == LATEST:
        return await _newest(run, (*offsite, local) if newest else (shelf,))
    path = Path(what)
    if begun_at(what) is None and await asyncio.to_thread(path.is_file):
        return Found(LocalShelf(path.parent), path.name)
    if path.name != what:
        raise JobError(Exit.NOT_VERIFIED, f"{what}: there is no such file")
    return Found(shelf, what)


async def _newest(run: Run[AnyBackups], shelves: Sequence[Shelf]) -> Found:
    """Find the newest backup; of equals that on the first shelf."""
    listings: list[tuple[Shelf, Listing]] = []
    troubles: list[tuple[Shelf, JobError]] = []
    for shelf in shelves:
        try:
            listings.append((shelf, await shelf.listing()))
        except (StoreError, JobError) as error:
            troubles.append((shelf, explain(error)))
    backups = [backup for _, listing in listings for backup in listing.backups]
    ours = await _ours(run, shelves, sorted(backups, key=lambda backup: backup.manifest.finished_at))
    newest = ours[-1].manifest.name if ours else ""
    # A name tells the time. What was to be the newest backup and is none must not hide behind an older one.
    for shelf, listing in listings:
        for rejected in listing.rejected:
            told = f"{shelf.dumps.location}/{rejected.file}"
            if begun_at(rejected.dump) and rejected.dump > newest:
                raise JobError(Exit.NOT_VERIFIED, f"{told} is no backup: {rejected.reason}")
            if rejected.dump == newest:
                run.log.warning("this is no backup, but there is a copy", file=told, reason=rejected.reason)
    for shelf, trouble in troubles:
        if not newest:
            raise trouble
        run.log.warning("a newer backup may lie there", location=shelf.dumps.location, error=str(trouble))
    for shelf, listing in listings:
        if any(backup.manifest.name == newest for backup in listing.backups):
            return Found(shelf, newest)
    raise JobError(Exit.NOT_VERIFIED, f"there is no complete backup in {_places(shelves)}")


def _places(shelves: Sequence[Shelf]) -> str:
    return " or ".join(shelf.dumps.location for shelf in shelves)


async def _ours(run: Run[AnyBackups], shelves: Sequence[Shelf], backups: Sequence[Backup]) -> Sequence[Backup]:
    """Leave out the backups of other databases.

    Raises:
        JobError: Which of them the configured database is can't be told (REFUSED).
    """
    if not backups or all(backups[-1].whose.is_same(backup.whose) for backup in backups):
        return backups
    database, trouble = Database(""), "DATABASE_URL is not set"
    if source := run.settings.source:
        database, trouble = Database(source.database), "none of them is the one that DATABASE_URL names"
        try:
            async with run.connect(source) as connection:
                database = await identify(connection)
        except (JobError, *SESSION_ERRORS) as error:
            trouble = f"which one DATABASE_URL names can't be asked: {one_line(error)}"
    ours = [backup for backup in backups if database.is_same(backup.whose)]
    # Of its name alone, there may be several.
    if not ours or (not database.cluster and not all(ours[-1].whose.is_same(backup.whose) for backup in ours)):
        databases = ", ".join(sorted({str(backup.whose) for backup in backups}))
        raise JobError(
            Exit.REFUSED,
            f"{_places(shelves)} has backups of several databases ({databases}), and {trouble}: "
            "name the backup that is meant",
        )
    return ours


@asynccontextmanager
async def workspace() -> AsyncIterator[Path]:
    """Lend a directory for files that nobody else may read; it is gone when the block or the process ends."""
    # In a thread: what a killed run has left, which goes first, may be large.
    directory = await asyncio.to_thread(make_directory, "unioncore-work-")
    try:
        yield directory
    finally:
        await asyncio.to_thread(remove_directory, directory)


async def local_copy(run: Run[AnyBackups], found: Found, directory: Path) -> tuple[Path, str]:
    """Bring a file here, if it is not.

    Returns:
        Where it is, and its SHA-256 in lower-case hexadecimal.
    """
    stored = await found.shelf.work(found.shelf.dumps.head, found.name)
    if stored is None:
        raise JobError(Exit.NOT_VERIFIED, f"{found.shelf.dumps.location}/{found.name}: there is no such dump")
    with run.progress("fetch", stored.size, "bytes") as meter:
        if isinstance(found.shelf, LocalShelf):
            digest, _ = await found.shelf.work(found.shelf.dumps.measure, found.name)
            return found.shelf.directory / found.name, digest
        path = directory / found.name
        return path, await found.shelf.fetch(found.name, path, meter)


@asynccontextmanager
async def fetched(run: Run[AnyBackups], found: Found) -> AsyncIterator[Fetched]:
    """Lend a backup whose manifest and dump are as they were written.

    Args:
        run: Of this job.
        found: The backup.

    Raises:
        JobError: It is none, or one that was changed (NOT_VERIFIED), or can't be decrypted (CONFIGURATION).
    """
    manifest, facts = await found.shelf.manifest(found.name)
    async with workspace() as directory:
        dump, digest = await local_copy(run, found, directory)
        if digest != manifest.sha256:
            raise JobError(
                Exit.NOT_VERIFIED,
                f"{found.shelf.dumps.location}/{found.name} is not what was written there: its SHA-256 is {digest}, "
                f"and should be {manifest.sha256}",
            )
        if facts.encryption:
            identity = run.settings.age_identity.get_secret_value() if run.settings.age_identity else ""
            plain = directory / "dump"
            await asyncio.to_thread(age.decrypt, dump, plain, identity)
            dump = plain
            facts = replace(facts, contents=facts.contents.revealed(lambda text: age.reveal(text, identity)))
        yield Fetched(directory, dump, manifest, facts)
