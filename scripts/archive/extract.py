"""Takes rows out of the audit log, a chunk at a time, into a file on this machine."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from asyncpg import Connection

from exporter.schema import quoted
from scripts.archive.chunks import ChunkName
from scripts.archive.content import Content, ContentError, moment
from scripts.archive.packing import Packer
from scripts.archive.table import AuditTable
from scripts.job.exits import Exit, JobError

CHUNK_BYTES = 64 << 20
"""A chunk with more CSV than this, in bytes, is cut smaller: a server that digests its rows holds them in memory."""


NOTHING = "{}"
"""No ids, as the text of an int8multirange."""


class Stretch(NamedTuple):
    """A part of the audit log, by ids.

    Attributes:
        after: The id after which it begins.
        upto: Its last id.
        archived: The ids in it that are archived, as the text of an int8multirange.
    """

    after: int
    upto: int
    archived: str = NOTHING


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk that is not in the archive yet.

    Attributes:
        name: Its name.
        content: What its file holds.
        file: Its file, deleted when it is closed.
        started_at: When its rows were read.
    """

    name: ChunkName
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
        self._rows = self._most = rows
        # The last row of what was too large for a chunk.
        self._crowded = -1
        self._columns = ", ".join(quoted(column.name) for column in table.columns)

    async def next(self, stretch: Stretch) -> Draft | None:
        """Make the next chunk of a stretch; None: there is none.

        Raises:
            JobError: The rows are none that the archive can hold.
            asyncpg.PostgresError: The rows can't be read.
            OSError: The file can't be written.
        """
        while True:
            with ExitStack() as closing:
                file = closing.enter_context(tempfile.TemporaryFile())
                draft = await self._extract(stretch, file)
                if draft is None:
                    return None
                size, rows = draft.content.plain_size, draft.content.rows
                if size <= CHUNK_BYTES or rows == 1:
                    # Past one huge row those that follow are as small as ever. Where all are large a chunk is nearly
                    # full, and stays as it is: one that does not fit would be read twice.
                    if draft.name.last >= self._crowded and size <= CHUNK_BYTES // 2:
                        self._rows = min(self._most, max(self._rows, rows * CHUNK_BYTES * 3 // (size * 4)))
                    closing.pop_all()
                    return draft
                # The rows that follow will hardly be smaller, up to the last of these.
                self._crowded = draft.name.last
                self._rows = max(1, min(rows // 2, rows * CHUNK_BYTES // size))

    async def count(self, stretch: Stretch) -> int:
        """Count the rows of a stretch that are to be archived."""
        condition, arguments = self._condition(stretch)
        return int(
            await self._connection.fetchval(f"select count(*) from {self._table.name} where {condition}", *arguments)
        )

    def _condition(self, stretch: Stretch) -> tuple[str, list[object]]:
        key = self._table.id
        condition = f"{key} > $1 and {key} <= $2 and {self._table.time} < $3"
        arguments = [stretch.after, stretch.upto, self._cutoff]
        if stretch.archived != NOTHING:
            condition += f" and not {key}::int8 <@ (select $4::text::int8multirange)"
            arguments.append(stretch.archived)
        return condition, arguments

    async def _extract(self, stretch: Stretch, file: BinaryIO) -> Draft | None:
        table, started_at = self._table, datetime.now(UTC)
        condition, arguments = self._condition(stretch)
        async with Packer(file) as packer:
            # One statement, one snapshot: the file has what there was, whatever is committed meanwhile.
            # By the column itself, not by its cast: only that is the index's order, and saves sorting all that is left.
            status = await self._connection.copy_from_query(
                f"select {self._columns} from {table.name} where {condition} order by {table.id} limit {self._rows}",
                *arguments,
                output=packer.write,
                format="csv",
                header=True,
                force_quote=True,
                encoding="utf-8",
            )
            try:
                packed = await packer.close(int(status.removeprefix("COPY ")))
            except ContentError as error:
                raise JobError(Exit.FAILED, f"{table.name} can't be archived: {error}") from error
        if packed is None:
            return None
        name = ChunkName.of(packed.first.id, packed.last.id, moment(packed.first.time), packed.content.sha256)
        return Draft(name, packed.content, file, started_at)
