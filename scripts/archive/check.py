"""The run that looks whether the archive still is what was archived: every file, whole."""

from scripts.archive.chunks import Chunk
from scripts.archive.place import COLD, Archive, open_archive
from scripts.archive.settings import ListSettings
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run
from scripts.objects import ObjectDamagedError, Stored

_SHOWN = 20


async def check(run: Run[ListSettings]) -> Outcome:
    """Read every file that can be read at once, and ask the store about the others; go on after one that is damaged.

    Raises:
        JobError: At least one is damaged, or can't be compared (NOT_VERIFIED); or the store can't be read.
    """
    place = open_archive(run.settings)
    holdings = await place.holdings()
    rows, wrong = 0, []
    with run.progress("verify", sum(stored.size for stored in holdings.chunks.values()), "bytes") as meter:
        for name, stored in holdings.chunks.items():
            try:
                (chunk,) = await place.load({name: stored})
                await _compare(place, chunk, stored)
                rows += chunk.facts.rows
            except ObjectDamagedError as error:
                run.log.error("not as it was", file=name.key, error=str(error))  # noqa: TRY400 - told in a line
                wrong.append(str(error))
            meter.advance(stored.size)
    for key in sorted(holdings.orphans):
        run.log.warning("this file has no manifest: the next run of `archive` completes or removes it", file=key)
    files = len(holdings.chunks)
    if not files:
        raise JobError(
            Exit.NOT_VERIFIED,
            f"there is no archive in {place.location}, so nothing was compared: run `unioncore-ops archive` first, or "
            "set S3_BUCKET and S3_PREFIX, or ARCHIVE_DIR, to where it is",
        )
    details = {"location": place.location, "rows": rows, "files": files - len(wrong)}
    if wrong:
        raise JobError(
            Exit.NOT_VERIFIED,
            f"{wrong[0]} ({len(wrong)} of {files} files; the others are as they were)",
            {**details, "wrong": wrong[:_SHOWN]},
        )
    return Outcome(files, details)


async def _compare(place: Archive, chunk: Chunk, stored: Stored) -> None:
    if stored.storage_class not in COLD:
        await place.verify(chunk)
    elif (await place.ask(chunk)).sha256 is None:
        raise ObjectDamagedError(
            f"{place.location}/{chunk.name.key} can't be compared: it can't be read at once, and the store keeps no "
            "checksum of it"
        )
