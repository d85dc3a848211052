"""The run that archives: finds the rows that are in no chunk, and makes chunks of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from asyncpg import Connection

from exporter.manifests import MANIFEST_SUFFIX
from scripts.archive import remains
from scripts.archive.chunks import Chunk, ChunkName, Facts, multirange
from scripts.archive.content import BEGINNING
from scripts.archive.extract import Draft, Extractor, Stretch
from scripts.archive.place import Archive, Holdings, open_archive
from scripts.archive.settings import ArchiveSettings
from scripts.archive.table import PINNED, AuditTable, describe
from scripts.job.console import Meter
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run
from scripts.objects import ObjectExistsError


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
        self._rows = 0
        self._chunks: list[ChunkName] = []
        self._bytes = 0
        self._removed = 0
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
            await remains.check_deleted(self._place, self._holdings, self._connection)
        except JobError as error:
            raise JobError(error.exit, str(error), {**self.outcome().details, **error.details}) from error

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
            if upto >= ends["lowest"]:
                chunks = await self._place.load({name: self._unread.pop(name) for name in names})
                stretch = Stretch(after, upto, multirange(chunk.facts.ids for chunk in chunks))
                if await self._has_more(stretch, chunks):
                    yield stretch
            after = upto
        # What comes in from now on is the next run's.
        yield Stretch(after, ends["highest"])

    async def _has_more(self, stretch: Stretch, chunks: Sequence[Chunk]) -> bool:
        """Say whether a stretch that is archived has rows that are not: they were committed, or grew old, later."""
        key, time, bound = self._table.id, self._table.time, self._table.bound
        found = await self._connection.fetch(
            f"""
            with archived as materialized (
                select number, ids::int8multirange as ids from unnest($3::text[]) with ordinality texts(ids, number)
            ), chunks as materialized (
                select *, exists (select from archived other where other.number <> one.number and other.ids && one.ids)
                       as shares
                  from archived one
            )
            select number, shares, count(*) as rows, count(*) filter (where {time} < $4) as old,
                   greatest(min({time}), $5) as oldest, greatest(max({time}), $5) as newest
              from {self._table.name} left join chunks on {key}::int8 <@ ids
             where {key} > $1 and {key} <= $2
             group by number, shares
            """,
            stretch.after,
            stretch.upto,
            [multirange([chunk.facts.ids]) for chunk in chunks],
            bound(self._cutoff),
            bound(BEGINNING),
        )
        more = False
        for row in found:
            if row["number"] is None:
                more = bool(row["old"])
                continue
            facts = (chunk := chunks[row["number"] - 1]).facts
            oldest, newest = bound(facts.oldest), bound(facts.newest)
            # Rows are deleted all or none, and ids are given once: what is there must be all that was archived. But if
            # two runs have archived the same rows, some may have gone with the other chunk.
            same = (row["rows"], row["oldest"], row["newest"]) == (facts.rows, oldest, newest)
            if not same and not (row["shares"] and oldest <= row["oldest"] and row["newest"] <= newest):
                raise JobError(
                    Exit.REFUSED,
                    f"{self._table.name} has {row['rows']} of the {facts.rows} ids of "
                    f"{self._place.location}/{chunk.name.key}, from {row['oldest']} to {row['newest']}, and not the "
                    f"rows from {facts.oldest} to {facts.newest} that were archived by these ids: the archive is of "
                    "another database, or this one was set back; give it a place of its own (ARCHIVE_DIR or S3_PREFIX)",
                )
        return more

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
