"""What is left of the archive: whether a file without a manifest may be removed, and an answer be called complete.

A file without a manifest is what a run has left that ended between the two: its rows are in the database, or were
archived anew. But a manifest can also get lost when the rows have been deleted from the database long ago, and others
may have their ids by then. So such a file goes only if its very rows are elsewhere; whatever can't be compared stays.
"""

from collections.abc import Callable, Iterable

from asyncpg import Connection

from scripts.archive import guard
from scripts.archive.chunks import ChunkName
from scripts.archive.content import Lines, read_lines
from scripts.archive.place import COLD, Archive, Holdings
from scripts.archive.table import AuditTable, line_digests_query
from scripts.job.exits import Exit, JobError
from scripts.objects import ObjectDamagedError


async def why_kept(
    place: Archive, key: str, chunks: Iterable[ChunkName], connection: Connection, table: AuditTable
) -> str:
    """Say why a file without a manifest must stay; empty: each of its rows is in the database or in a chunk, too.

    Args:
        place: The archive.
        key: The file.
        chunks: The archive's chunks.
        connection: The database, its settings as `PINNED`.
        table: The audit log.

    Raises:
        ObjectError: The archive can't be read.
    """
    name = ChunkName.parse(key)
    if name is None:
        raise ValueError(f"{key} is no chunk's file")
    # Whatever has its ids by now, in the database or in another file, came later.
    if key in await guard.deleted(connection):
        return "its audit events were deleted from the database after they were archived"
    lines = await _lines(place, key)
    if lines is None:
        return "it can't be compared with the database, for it is damaged or lies in cold storage"
    left = lines.rows.copy()
    comparable = set(lines.columns) <= {column.name for column in table.columns}
    if comparable:
        query = line_digests_query(table.name, lines.columns, f"t.{table.id} = any ($1::int8[])")
        for row in await connection.fetch(query, list(left.values())):
            left.pop(row["digest"], None)
    for chunk in chunks:
        other = await _lines(place, chunk.key) if left and chunk.overlaps(name) else None
        if other and other.columns == lines.columns:
            left = {digest: number for digest, number in left.items() if digest not in other.rows}
    if left and not comparable:
        return f"{len(left)} of its audit events can't be compared, for it has columns that {table.name} lacks by now"
    are = "is" if len(left) == 1 else "are"
    return f"{len(left)} of its audit events {are} neither in the database nor in another file" if left else ""


async def _lines(place: Archive, key: str) -> Lines | None:
    """Read the rows of a file; None: it can't be read, or is not what its name says."""
    stored = await place.objects.in_thread(place.objects.head, key)
    if stored and stored.storage_class in COLD:
        return None
    try:
        lines = await place.read(key, read_lines)
    except ObjectDamagedError:
        return None
    # A file that was cut off between two frames can be unpacked.
    return lines if f"-{lines.sha256[:8]}." in key else None


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
