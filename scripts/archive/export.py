"""The run that archives: finds the rows that are in no chunk, and makes chunks of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from asyncpg import Connection

from exporter.manifests import MANIFEST_SUFFIX
from scripts.archive import remains
from scripts.archive.chunks import Chunk, ChunkName, Facts, multirange
from scripts.archive.extract import Draft, Extractor, Stretch
from scripts.archive.place import Archive, Holdings, open_archive
from scripts.archive.recognition import Recognizer
from scripts.archive.settings import ArchiveSettings
from scripts.archive.table import PINNED, AuditTable, describe
from scripts.job.console import Meter
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run
from scripts.objects import ObjectDamagedError, ObjectExistsError, Stored


async def archive(run: Run[ArchiveSettings]) -> Outcome:
    """Archive every row that is old enough and in no chunk; in a dry run, only count them."""
    place = open_archive(run.settings)
    async with run.connect(None, **PINNED, default_transaction_read_only="on") as connection:
        holdings = await place.holdings()
        table = await describe(connection)
        now = await connection.fetchval("select now()")
        cutoff = now - timedelta(days=run.settings.archive_threshold_days)
        exporting = _Export(run=run, place=place, holdings=holdings, connection=connection, table=table, cutoff=cutoff)
        await exporting.run()
    return exporting.outcome()


class _Export:
    """One run: what it knows, and what it has done."""

    def __init__(
        self,
        *,
        run: Run[ArchiveSettings],
        place: Archive,
        holdings: Holdings,
        connection: Connection,
        table: AuditTable,
        cutoff: datetime,
    ) -> None:
        self._run = run
        self._place = place
        self._holdings = holdings
        self._connection = connection
        self._table = table
        self._cutoff = cutoff
        self._extractor = Extractor(connection, table, cutoff, run.settings.archive_chunk_rows)
        self._recognizer = Recognizer(connection, table, place, cutoff)
        self._rows = 0
        self._chunks: list[ChunkName] = []
        self._bytes = 0
        self._removed = 0
        self._gone = 0
        self._damaged: list[ObjectDamagedError] = []
        self._unread = dict(holdings.chunks)

    def outcome(self) -> Outcome:
        """Return what was done."""
        return Outcome(
            self._rows,
            {
                "rows": self._rows,
                "chunks": len(self._chunks),
                "bytes": self._bytes,
                "location": self._place.location,
                "older_than": self._cutoff.isoformat(timespec="seconds"),
                "orphans_removed": self._removed,
                "rows_gone": self._gone,
            },
        )

    async def run(self) -> None:
        """Go through the whole audit log."""
        try:
            with self._run.progress("archive", None, "rows") as meter:
                async for stretch in self._stretches():
                    if self._run.dry_run:
                        self._rows += await self._extractor.count(stretch)
                    else:
                        await self._archive(stretch, meter)
            if not self._run.dry_run:
                await self._tidy()
            # Whose rows were deleted: nothing else looks at these files, and they are all that there is.
            await self._place.load(self._unread)
            self._check_damaged()
            await remains.check_deleted(self._place, self._holdings, self._connection)
        except JobError as error:
            raise JobError(error.exit, str(error), {**self.outcome().details, **error.details}) from error

    def _check_damaged(self) -> None:
        for error in self._damaged:
            raise JobError(
                error.exit,
                f"{error} ({len(self._damaged)} such stretches of the archive: what came late for them is not "
                "archived, all else is)",
            )

    async def _stretches(self) -> AsyncIterator[Stretch]:
        """Go through the stretches that have rows to archive."""
        key = self._table.id
        (ends,) = await self._connection.fetch(
            f"select min({key}) as lowest, max({key}) as highest from {self._table.name}"
        )
        if ends["lowest"] is None:
            return
        after = -1
        for names in _overlapping(self._holdings.chunks):
            upto = max(name.last for name in names)
            # All that is below the first row was deleted, and can't come back: ids are given once.
            unread = {name: self._unread.pop(name) for name in names} if upto >= ends["lowest"] else {}
            if unread and (stretch := await self._stretch(after, upto, unread)):
                yield stretch
            after = upto
        # What comes in from now on is the next run's.
        yield Stretch(after, ends["highest"])

    async def _stretch(self, after: int, upto: int, names: Mapping[ChunkName, Stored]) -> Stretch | None:
        """Return a stretch that is archived, if it has rows that are not."""
        try:
            chunks = await self._place.load(names)
        except ObjectDamagedError as error:
            # What is archived there is not known, and so not what is not; all else can be.
            self._damaged.append(error)
            return None
        stretch = Stretch(after, upto, multirange(chunk.facts.ids for chunk in chunks))
        found = await self._recognizer.look(stretch, chunks)
        for key, rows in found.gone.items():
            self._run.log.warning("the database has lost some of the rows of a file", file=key, rows=rows)
            self._gone += rows
        return stretch if found.more else None

    async def _archive(self, stretch: Stretch, meter: Meter) -> None:
        """Make chunks of what a stretch has: while one goes into the archive, the next one is made."""
        making = asyncio.create_task(self._extractor.next(stretch))
        try:
            while (draft := await making) is not None:
                stretch = stretch._replace(after=draft.name.last)
                making = asyncio.create_task(self._extractor.next(stretch))
                await self._finish(draft, meter)
        finally:
            making.cancel()
            (left,) = await asyncio.gather(making, return_exceptions=True)
            if isinstance(left, Draft):
                left.file.close()

    async def _finish(self, draft: Draft, meter: Meter) -> None:
        """Bring a chunk into the archive, read it back, and only then write the manifest: of what was read back."""
        table, name = self._table, draft.name
        with draft.file:
            try:
                await self._place.write(name.key, draft.file, draft.content.sha256)
            except ObjectExistsError:
                if name.key not in self._holdings.orphans:
                    raise
                await self._remove_orphan(name.key)
                await self._place.write(name.key, draft.file, draft.content.sha256)
        reading = await self._place.read_back(name.key, draft.content)
        facts = Facts.of(reading, columns=table.columns, table=table.name, database=table.database)
        chunk = Chunk.of(name, facts, draft.content, started_at=draft.started_at, finished_at=datetime.now(UTC))
        # Another run may have archived the same rows if the lock is lost.
        await self._run.require_lock()
        await self._place.commit(chunk)
        self._run.log.debug("archived", chunk=name.key, rows=facts.rows)
        self._chunks.append(name)
        self._rows += facts.rows
        self._bytes += chunk.manifest.size
        meter.advance(facts.rows)

    async def _remove_orphan(self, key: str) -> None:
        # Another run may have completed it if the lock is lost.
        await self._run.require_lock()
        await self._place.remove_orphan(key)

    async def _tidy(self) -> None:
        """Remove what earlier runs have left unfinished, and move what is verified into its storage class."""
        objects = self._place.objects
        chunks = [*self._holdings.chunks, *self._chunks]
        kept: dict[str, str] = {}
        for key in sorted(self._holdings.orphans - {name.key for name in self._chunks}):
            if why := await remains.why_kept(self._place, key, chunks, self._connection, self._table):
                kept[key] = why
                continue
            await self._remove_orphan(key)
            self._run.log.info("removed a file that a run has left without a manifest", file=key)
            self._removed += 1
        # As long as this run has the lock, no other one writes.
        await self._run.require_lock()
        self._removed += await objects.in_thread(objects.clean, self._run.started_at)
        for name in [*self._holdings.warm(self._place.cold), *self._chunks]:
            await self._place.cool(name)
        for key, why in kept.items():
            raise JobError(
                Exit.NOT_VERIFIED,
                f"{self._place.location}/{key} has no manifest, and {why}: bring both, the file and "
                f"{key}{MANIFEST_SUFFIX}, back from a copy of the archive; or, if no audit event is lost with it, move "
                "the file out of the archive",
                {"without_manifest": kept},
            )


def _overlapping(names: Iterable[ChunkName]) -> Iterator[list[ChunkName]]:
    """Group chunks, given by ascending ids, whose ranges of ids overlap: a chunk, and what was late for it."""
    group: list[ChunkName] = []
    last = -1
    for name in names:
        if group and name.first > last:
            yield group
            group = []
        group.append(name)
        last = max(last, name.last)
    if group:
        yield group
