"""Takes rows out of the audit log, a chunk at a time, into a file on this machine."""

import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

import zstandard
from asyncpg import Connection

from exporter.schema import quoted
from scripts.archive.chunks import ChunkName, Facts, render_ids
from scripts.archive.content import Content, Rows
from scripts.archive.table import AuditTable

CHUNK_BYTES = 64 << 20
"""A chunk with more CSV than this, in bytes, is cut smaller: a server that digests its rows holds them in memory."""

_LEVEL = 1


class Stretch(NamedTuple):
    """A part of the audit log, by ids.

    Attributes:
        after: The id after which it begins.
        upto: Its last id.
        archived: The ids in it that are archived, as the text of an int8multirange.
    """

    after: int
    upto: int
    archived: str = "{}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk that is not in the archive yet.

    Attributes:
        name: Its name.
        facts: What is in it.
        content: What its file holds.
        file: Its file, deleted when it is closed.
        started_at: When its rows were read.
    """

    name: ChunkName
    facts: Facts
    content: Content
    file: BinaryIO
    started_at: datetime


class Extractor:
    """Makes chunks of rows that are old enough and not archived.

    Args:
        connection: The database, its settings as `PINNED`.
        table: The audit log.
        cutoff: Rows from before this moment are old enough.
        rows: How many rows a chunk has at most.
    """

    def __init__(self, connection: Connection, table: AuditTable, cutoff: datetime, rows: int) -> None:
        self._connection = connection
        self._table = table
        self._cutoff = table.bound(cutoff)
        self._rows = rows
        self._columns = ", ".join(quoted(column.name) for column in table.columns)

    async def next(self, stretch: Stretch) -> Draft | None:
        """Make the next chunk of a stretch; None: there is none.

        Raises:
            asyncpg.PostgresError: The rows can't be read.
            OSError: The file can't be written.
        """
        while True:
            with ExitStack() as closing:
                file = closing.enter_context(tempfile.TemporaryFile())
                # One snapshot for both statements: the ids are those of the rows, whatever is committed meanwhile.
                async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                    draft = await self._extract(stretch, file)
                if draft is None:
                    return None
                size, rows = draft.content.plain_size, draft.facts.rows
                if size <= CHUNK_BYTES or rows == 1:
                    closing.pop_all()
                    return draft
                # The rows that follow will hardly be smaller.
                self._rows = max(1, min(rows // 2, rows * CHUNK_BYTES // size))

    async def count(self, stretch: Stretch) -> int:
        """Count the rows of a stretch that are to be archived."""
        condition, arguments = self._condition(stretch)
        return int(
            await self._connection.fetchval(f"select count(*) from {self._table.name} where {condition}", *arguments)
        )

    def _condition(self, stretch: Stretch) -> tuple[str, list[object]]:
        key = self._table.id
        condition = (
            f"{key} > $1 and {key} <= $2 and {self._table.time} < $3"
            f" and not {key}::int8 <@ (select $4::text::int8multirange)"
        )
        return condition, [stretch.after, stretch.upto, self._cutoff, stretch.archived]

    async def _extract(self, stretch: Stretch, file: BinaryIO) -> Draft | None:
        table, started_at = self._table, datetime.now(UTC)
        condition, arguments = self._condition(stretch)
        # By the column itself, not by its cast: only that is the index's order, and saves sorting all that is left.
        plan = await self._connection.fetchrow(
            f"""
            select array_agg(id order by id) as ids, min(time) as oldest, max(time) as newest
              from (select t.{table.id}::int8 as id, t.{table.time} as time from {table.name} t where {condition}
                     order by t.{table.id} limit {self._rows}) next
            """,
            *arguments,
        )
        if plan is None or plan["ids"] is None:
            return None
        ids = plan["ids"]
        condition, arguments = self._condition(stretch._replace(upto=ids[-1]))
        spool = _Spool(file)
        status = await self._connection.copy_from_query(
            f"select {self._columns} from {table.name} where {condition} order by {table.id}",
            *arguments,
            output=spool.write,
            format="csv",
            header=True,
            force_quote=True,
            encoding="utf-8",
        )
        content = spool.close(int(status.removeprefix("COPY ")))
        oldest = table.instant(plan["oldest"])
        facts = Facts(
            rows=len(ids),
            ids=render_ids(ids),
            digest=content.digest,
            plain_size=content.plain_size,
            oldest=oldest,
            newest=table.instant(plan["newest"]),
            columns=table.columns,
            table=table.name,
            database=table.database,
        )
        return Draft(ChunkName.of(ids[0], ids[-1], oldest, content.sha256), facts, content, file, started_at)


class _Spool:
    """Takes COPY's output, packs it into a file and digests it on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows = Rows()
        self._packing = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        self._digest = hashlib.sha256()

    async def write(self, piece: bytes) -> None:
        """Take a piece."""
        self._rows.feed(piece)
        self._write(self._packing.compress(piece))

    def close(self, rows: int) -> Content:
        """Return what the file holds, now that it has so many rows."""
        self._write(self._packing.flush())
        return Content(self._digest.hexdigest(), self._file.tell(), rows, self._rows.digest, self._rows.size)

    def _write(self, packed: bytes) -> None:
        self._digest.update(packed)
        self._file.write(packed)
