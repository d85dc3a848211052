"""What is left of the archive: whether a file without a manifest may be removed, and an answer be called complete.

A file without a manifest is what a run has left that ended between the two: its rows are in the database, or were
archived anew. But a manifest can also get lost when the rows have been deleted from the database long ago.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from asyncpg import Connection

from scripts.archive import guard
from scripts.archive.chunks import ChunkName, parse_ids
from scripts.archive.place import Archive, Holdings
from scripts.archive.table import AuditTable
from scripts.job.exits import Exit, JobError
from scripts.objects import ObjectDamagedError


async def only_there(
    place: Archive, key: str, chunks: Iterable[ChunkName], connection: Connection, table: AuditTable
) -> int:
    """Count the rows of a file without a manifest that are neither in the database nor in a chunk.

    Args:
        place: The archive.
        key: The file.
        chunks: The archive's chunks.
        connection: The database.
        table: The audit log.

    Raises:
        ObjectError: The archive can't be read.
    """
    name = ChunkName.parse(key)
    if name is None:
        raise ValueError(f"{key} is no chunk's file")
    # Rows are deleted all or none. So its ends tell, should it be damaged, or cut off, which unpacking does not notice.
    ids = {name.first, name.last}
    with suppress(ObjectDamagedError):
        ids.update((await place.read(key)).ids)
    for chunk in await place.load([other for other in chunks if other.overlaps(name)]):
        ids.difference_update(number for first, last in parse_ids(chunk.facts.ids) for number in range(first, last + 1))
    return int(
        await connection.fetchval(
            "select count(*) from unnest($1::int8[]) wanted(id)"
            f" where not exists (select from {table.name} t where t.{table.id} = wanted.id)",
            list(ids),
        )
    )


async def check_whole(
    place: Archive, holdings: Holdings, connection: Connection, wanted: Callable[[ChunkName], bool]
) -> None:
    """Make sure that the archive has all that it once had of what is wanted.

    Args:
        place: The archive.
        holdings: What is in it.
        connection: The database; one that has no guard does not say what was deleted.
        wanted: Says whether a chunk may have what is wanted, by its ids: without a manifest nothing else is known.

    Raises:
        JobError: A manifest or a chunk is gone (NOT_VERIFIED).
    """
    names = map(ChunkName.parse, sorted(holdings.orphans))
    unproven = [name for name in names if name and wanted(name)]
    if unproven:
        raise JobError(
            Exit.NOT_VERIFIED,
            f"{place.location}/{unproven[0].key} has no manifest ({len(unproven)} such files), and may have some of "
            "these audit events: run `unioncore-ops archive`, or wait for the run that is under way; if that changes "
            f"nothing, bring {unproven[0].manifest_key} back from a copy of the archive. Events with other ids can be "
            "restored, by --ids",
        )
    await check_deleted(place, holdings, connection, wanted)


async def check_deleted(
    place: Archive,
    holdings: Holdings,
    connection: Connection,
    wanted: Callable[[ChunkName], bool] = lambda _: True,
) -> None:
    """Make sure that the archive still has every chunk whose rows were deleted from the database.

    Args:
        place: The archive.
        holdings: What is in it.
        connection: The database.
        wanted: Says which chunks are asked for.

    Raises:
        JobError: One is gone (NOT_VERIFIED).
    """
    known = {name.key for name in holdings.chunks} | holdings.orphans
    lost = [
        key
        for key in await guard.deleted(connection)
        if key not in known and ((name := ChunkName.parse(key)) is None or wanted(name))
    ]
    if lost:
        raise JobError(
            Exit.NOT_VERIFIED,
            f"{place.location}/{lost[0]} is gone, whose audit events were deleted from the database after they were "
            f"archived ({len(lost)} such files): bring it and its manifest back from a copy of the archive, or set "
            "S3_BUCKET and S3_PREFIX, or ARCHIVE_DIR, to where they are",
        )
