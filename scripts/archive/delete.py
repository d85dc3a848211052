"""The run that deletes: rows that are archived, verified and old enough, a chunk at a time."""

from datetime import datetime, timedelta

from asyncpg import Connection

from scripts.archive import guard
from scripts.archive.chunks import Chunk, ChunkName, multirange
from scripts.archive.place import COLD, Archive, open_archive
from scripts.archive.settings import LEGAL_DAYS, DeleteSettings
from scripts.archive.table import AuditTable, describe
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run
from scripts.objects import Stored


async def delete(run: Run[DeleteSettings]) -> Outcome:
    """Delete the rows of every chunk that may go; in a dry run, only say how many."""
    keep = timedelta(days=guard.retention_days(run.settings))
    place = open_archive(run.settings)
    async with run.connect() as connection:
        if not run.dry_run:
            await guard.require(connection)
        table = await describe(connection)
        now = await connection.fetchval("select now()")
        deletion = _Deletion(run=run, place=place, connection=connection, table=table, now=now, keep=keep)
        chunks = (await place.holdings()).chunks
        lowest = await connection.fetchval(f"select min({table.id}) from {table.name}")
        with run.progress("delete", None, "rows") as meter:
            for name, stored in chunks.items():
                # What ends below the first row was deleted by earlier runs.
                if lowest is not None and name.last >= lowest:
                    meter.advance(await deletion.chunk(name, stored))
        await deletion.check_overlapping()
    return deletion.outcome()


class _Deletion:
    """One run: what it knows, and what it has done."""

    def __init__(
        self,
        *,
        run: Run[DeleteSettings],
        place: Archive,
        connection: Connection,
        table: AuditTable,
        now: datetime,
        keep: timedelta,
    ) -> None:
        self._run = run
        self._place = place
        self._connection = connection
        self._table = table
        self._now = now
        self._keep = keep
        self._rows = 0
        self._chunks = 0
        self._too_young = 0
        self._in_grace = 0
        self._overlapping: list[Chunk] = []

    def outcome(self) -> Outcome:
        """Return what was done; in a dry run, what would be."""
        return Outcome(
            self._rows,
            {
                "rows": self._rows,
                "chunks": self._chunks,
                "chunks_too_young": self._too_young,
                "chunks_in_grace": self._in_grace,
                "location": self._place.location,
            },
        )

    async def chunk(self, name: ChunkName, stored: Stored) -> int:
        """Delete a chunk's rows if they may go; return how many went."""
        (chunk,) = await self._place.load({name: stored})
        if chunk.facts.newest > self._now - self._keep:
            self._too_young += 1
            return 0
        # The store's clock and that of the machine that archived: one of them may have been wrong.
        archived_at = max(chunk.manifest.finished_at, stored.modified)
        if archived_at > self._now - timedelta(days=self._run.settings.archive_grace_days):
            self._in_grace += 1
            return 0
        if not await self._rows_left(chunk):
            return 0
        try:
            await self._make_sure(chunk, stored)
            await self._run.require_lock()
            deleted = chunk.facts.rows if self._run.dry_run else await guard.delete(self._connection, chunk)
        except guard.OverlapError:
            self._overlapping.append(chunk)
            return 0
        except JobError as error:
            raise JobError(error.exit, str(error), self.outcome().details) from error
        self._rows += deleted
        self._chunks += 1
        self._run.log.debug("deleted", chunk=name.key, rows=deleted)
        return deleted

    async def check_overlapping(self) -> None:
        """Make sure that the rows of chunks that overlap were deleted, as those of one chunk or of another.

        Raises:
            JobError: Some were not, for no chunk that has them can be deleted by now (NOT_VERIFIED).
        """
        left = [chunk.name.key for chunk in self._overlapping if await self._rows_left(chunk)]
        if left:
            raise JobError(
                Exit.NOT_VERIFIED,
                f"{self._place.location}/{left[0]} ({len(left)} such files) has events that another file has, too, and "
                "that were deleted by that one; what it has beyond them was not deleted, all else was. Nothing is lost "
                "if you move it and its manifest to a place outside of the archive, and keep them there; then run "
                "`unioncore-ops archive`, which archives anew what no other file has, and delete again",
                {**self.outcome().details, "overlapping": left},
            )

    async def _rows_left(self, chunk: Chunk) -> int:
        key = self._table.id
        return int(
            await self._connection.fetchval(
                f"select count(*) from {self._table.name} where {key} >= $1 and {key} <= $2"
                f" and {key}::int8 <@ (select $3::text::int8multirange)",
                chunk.name.first,
                chunk.name.last,
                multirange([chunk.facts.ids]),
            )
        )

    async def _make_sure(self, chunk: Chunk, stored: Stored) -> None:
        """Make sure that the archive has what is about to be deleted, whatever its manifest says.

        Raises:
            JobError: It has not, or that can't be known.
        """
        if stored.storage_class not in COLD:
            await self._place.verify(chunk)
            return
        # It must be as it was, by the store's own checksum, or unalterable for as long as the law asks.
        head = await self._place.ask(chunk)
        legal = chunk.facts.newest + timedelta(days=LEGAL_DAYS)
        locked = head.locked_until is not None and head.locked_until >= legal
        if head.sha256 is None and not locked and legal > self._now:
            raise JobError(
                Exit.REFUSED,
                f"{self._place.location}/{chunk.name.key} can't be read back, has no checksum of the store's, and is "
                "not locked for seven years from its rows' time: younger rows are deleted only if one of these is so",
            )
