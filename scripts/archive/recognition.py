"""Whether the rows that have the ids of archived ones are those that were archived, and what is there beside them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from asyncpg import Connection, Record

from scripts.archive.chunks import Chunk, multirange
from scripts.archive.content import BEGINNING, read_lines
from scripts.archive.extract import Stretch
from scripts.archive.place import COLD, Archive
from scripts.archive.table import AuditTable, line_digests_query
from scripts.job.exits import Exit, JobError


class Recognized(NamedTuple):
    """What a stretch that is archived has.

    Attributes:
        more: Whether it has rows that are old enough and in no chunk: they were committed, or grew old, later.
        gone: How many rows of a chunk the database has no longer, though it has others of it; by the chunk's key.
    """

    more: bool
    gone: dict[str, int]


class Recognizer:
    """Knows archived rows when it sees them.

    Args:
        connection: The database, its settings as `PINNED`.
        table: The audit log.
        place: The archive.
        cutoff: Older rows are old enough to be archived.
    """

    def __init__(self, connection: Connection, table: AuditTable, place: Archive, cutoff: datetime) -> None:
        self._connection = connection
        self._table = table
        self._place = place
        self._cutoff = cutoff

    async def look(self, stretch: Stretch, chunks: Sequence[Chunk]) -> Recognized:
        """Look at the rows of a stretch.

        Args:
            stretch: The stretch.
            chunks: All chunks that have ids in it.

        Raises:
            JobError: Rows have ids of a chunk and are others (REFUSED), or that can't be known.
        """
        more, gone = False, {}
        for row in await self._found(stretch, chunks):
            if row["number"] is None:
                more = bool(row["old"])
                continue
            chunk = chunks[row["number"] - 1]
            facts = chunk.facts
            oldest, newest = self._table.bound(facts.oldest), self._table.bound(facts.newest)
            within = oldest <= row["oldest"] and row["newest"] <= newest
            # Ids are given once: what is there must be all that was archived. But if two runs have archived the same
            # rows, some may have gone with the other chunk; and others may have been removed by whoever can.
            if (row["rows"], row["oldest"], row["newest"]) == (facts.rows, oldest, newest) or (
                row["shares"] and within
            ):
                continue
            if within and row["rows"] < facts.rows and await self._are_archived(chunk):
                gone[chunk.name.key] = facts.rows - row["rows"]
                continue
            raise JobError(
                Exit.REFUSED,
                f"{self._table.name} has {row['rows']} of the {facts.rows} ids of "
                f"{self._place.location}/{chunk.name.key}, from {row['oldest']} to {row['newest']}, and not the rows "
                f"from {facts.oldest} to {facts.newest} that were archived by these ids: the archive is of another "
                "database, or this one was set back or its times altered; give it a place of its own (ARCHIVE_DIR or "
                "S3_PREFIX)",
            )
        return Recognized(more, gone)

    async def _found(self, stretch: Stretch, chunks: Sequence[Chunk]) -> Sequence[Record]:
        """Return what is there of each chunk, by its number from 1 on, and, without a number, of none."""
        table = self._table
        key, time = table.id, table.time
        # As a literal: asyncpg has no time before it, and sends that one itself as -infinity.
        beginning = f"timestamptz '{BEGINNING.isoformat()}'" + (" at time zone 'UTC'" if time.kind == "naive" else "")
        return await self._connection.fetch(
            f"""
            with archived as materialized (
                select number, ids::int8multirange as ids from unnest($3::text[]) with ordinality texts(ids, number)
            ), chunks as materialized (
                select *, exists (select from archived other where other.number <> one.number and other.ids && one.ids)
                       as shares
                  from archived one
            )
            select number, shares, count(*) as rows, count(*) filter (where {time} < $4) as old,
                   greatest(min({time}), {beginning}) as oldest, greatest(max({time}), {beginning}) as newest
              from {table.name} left join chunks on {key}::int8 <@ ids
             where {key} > $1 and {key} <= $2
             group by number, shares
            """,
            stretch.after,
            stretch.upto,
            [multirange([chunk.facts.ids]) for chunk in chunks],
            table.bound(self._cutoff),
        )

    async def _are_archived(self, chunk: Chunk) -> bool:
        """Say whether every row that has an id of a chunk is in it; no, if its file can't be compared."""
        table = self._table
        stored = await self._place.objects.in_thread(self._place.objects.head, chunk.name.key)
        if stored is None or stored.storage_class in COLD:
            return False
        lines = await self._place.read(chunk.name.key, read_lines)
        if lines.sha256 != chunk.manifest.sha256 or not set(lines.columns) <= {column.name for column in table.columns}:
            return False
        query = line_digests_query(table.name, lines.columns, f"t.{table.id} = any ($1::int8[])")
        found = await self._connection.fetch(query, list(lines.rows.values()))
        return all(row["digest"] in lines.rows for row in found)
