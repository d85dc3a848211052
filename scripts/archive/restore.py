"""The run that restores: archived rows into a table, for an auditor to look at."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from asyncpg import Connection

from exporter.schema import quoted
from scripts.archive import remains
from scripts.archive.chunks import Chunk, ChunkName, multirange
from scripts.archive.content import ContentError, unpacked
from scripts.archive.place import Archive, open_archive
from scripts.archive.settings import ArchiveSettings
from scripts.archive.table import PINNED, ArchivedColumn, digest_query
from scripts.job.database import one_line
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run

_STAGE = ("pg_temp", "unioncore_audit_stage")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are restored, and where to.

    Attributes:
        table: The table, quoted, with its schema or without.
        first: The lowest id.
        last: The highest id; None: there is no end.
        since: From this moment on, aware; None: from the beginning.
        until: Before this moment, aware; None: to the end.
        append: The table may have rows already.
    """

    table: str
    first: int = 0
    last: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    append: bool = False

    def may_have(self, name: ChunkName) -> bool:
        """Say whether a chunk may have such rows, by its ids."""
        return name.last >= self.first and (self.last is None or name.first <= self.last)

    def has(self, chunk: Chunk) -> bool:
        """Say whether a chunk may have such rows, by its times."""
        return (self.since is None or chunk.facts.newest >= self.since) and (
            self.until is None or chunk.facts.oldest < self.until
        )

    def condition(self, chunk: Chunk) -> tuple[str, list[object]]:
        """Return the condition that a row of a chunk is wanted, and its parameters."""
        key, time = (quoted(name) for name in chunk.column_names[:2])
        # Naive columns hold UTC (unioncore.md), which is the session's time zone.
        return (
            f"{key} between $1 and $2 and {time}::timestamptz >= $3 and {time}::timestamptz < $4",
            [
                self.first,
                chunk.name.last if self.last is None else self.last,
                self.since or chunk.facts.oldest,
                self.until or datetime.max.replace(tzinfo=chunk.facts.newest.tzinfo),
            ],
        )


async def restore(run: Run[ArchiveSettings], wanted: Wanted) -> Outcome:
    """Load what is wanted, all or nothing; in a dry run, only say from how many chunks."""
    place = open_archive(run.settings)
    holdings = await place.holdings()
    chunks = [
        chunk
        for chunk in await place.load(
            {name: stored for name, stored in holdings.chunks.items() if wanted.may_have(name)}
        )
        if wanted.has(chunk)
    ]
    details = {"table": wanted.table, "chunks": len(chunks), "location": place.location}
    nothing = JobError(Exit.FAILED, f"{place.location} has no such audit events")
    rows, before = 0, list[Chunk]()
    async with run.connect(None, **PINNED) as connection:
        # Before there is a table: what is not all must not look as if it were.
        await remains.check_whole(place, holdings, connection, wanted.may_have)
        if run.dry_run:
            return Outcome(0, details)
        if not chunks:
            raise nothing
        async with connection.transaction():
            made = await _prepare(connection, wanted, chunks)
            with run.progress("restore", sum(chunk.facts.rows for chunk in chunks), "rows") as meter:
                for chunk in chunks:
                    await _stage(connection, place, chunk)
                    rows += await _insert(connection, place, wanted, chunk, before)
                    if not made:
                        await _compare(connection, place, wanted, chunk)
                    before.append(chunk)
                    meter.advance(chunk.facts.rows)
            if not rows:
                raise nothing
    return Outcome(rows, {"rows": rows, **details})


async def _insert(connection: Connection, place: Archive, wanted: Wanted, chunk: Chunk, before: Sequence[Chunk]) -> int:
    """Insert what is wanted of the chunk that is staged; return how many rows that is.

    Two runs at once, which no lock kept apart, may have archived the same rows. Such a row is the same in both chunks.
    """
    condition, arguments = wanted.condition(chunk)
    twice = [one for one in before if one.name.first <= chunk.name.last and one.name.last >= chunk.name.first]
    key, *columns = map(quoted, chunk.column_names)
    all_columns = ", ".join([key, *columns])
    staged = f"(select {all_columns} from {'.'.join(_STAGE)} where {condition}) staged"
    there = f"staged.{key}::int8 <@ (select $5::text::int8multirange)"
    arguments.append(multirange(one.facts.ids for one in twice))
    if twice:
        same = "".join(f" and restored.{name}::text is not distinct from staged.{name}::text" for name in columns)
        other = await connection.fetchval(
            f"select min({key}) from {staged} where {there} and not exists"
            f" (select from {wanted.table} restored where restored.{key}::text = staged.{key}::text{same})",
            *arguments,
        )
        if other is not None:
            raise JobError(
                Exit.NOT_VERIFIED,
                f"audit event {other} is in {place.location}/{chunk.name.key} and, with another content, in "
                f"{' or '.join(one.name.key for one in twice)}",
            )
    # The stage has such values as text, which becomes nothing else by itself.
    owned = await connection.fetch(
        "select attname::text as name, format_type(atttypid, atttypmod) as type from pg_attribute"
        "  join pg_type t on t.oid = atttypid and t.typnamespace <> 'pg_catalog'::regnamespace"
        " where attrelid = to_regclass($1) and attnum > 0",
        wanted.table,
    )
    casts = {quoted(row["name"]): f"::text::{row['type']}" for row in owned}
    values = ", ".join(name + casts.get(name, "") for name in [key, *columns])
    try:
        status = await connection.execute(
            f"insert into {wanted.table} ({all_columns}) select {values} from {staged} where not {there}", *arguments
        )
    except asyncpg.UniqueViolationError as error:
        raise JobError(Exit.REFUSED, f"{wanted.table} has some of these rows already") from error
    return int(status.split()[-1])


async def _compare(connection: Connection, place: Archive, wanted: Wanted, chunk: Chunk) -> None:
    """Make sure that the table has what is wanted of the chunk that is staged, once, and nothing else by these ids.

    A table that was there before may round values, have triggers and rules, or have the same rows already.
    """
    condition, arguments = wanted.condition(chunk)
    stage, key = ".".join(_STAGE), quoted(chunk.column_names[0])
    # The range lets an index be used.
    arrived = (
        f"t.{key} between {chunk.name.first} and {chunk.name.last}"
        f" and t.{key} in (select {key} from {stage} where {condition})"
    )
    archived, there = [
        tuple((await connection.fetch(digest_query(name, key, chunk.column_names, which), *arguments))[0])
        for name, which in ((stage, condition), (wanted.table, arrived))
    ]
    if archived != there:
        raise JobError(
            Exit.REFUSED,
            f"{wanted.table} does not hold what {place.location}/{chunk.name.key} has ({there[0]} rows instead of "
            f"{archived[0]}, or others): it has some of these rows already, other types, a trigger or a rule; choose "
            "another --table, best one that is not there yet",
        )


async def _prepare(connection: Connection, wanted: Wanted, chunks: Sequence[Chunk]) -> bool:
    """Make the table, unless it is there and may be used; return whether it was made."""
    if not await connection.fetchval("select to_regclass($1) is null", wanted.table):
        if await connection.fetchval("select to_regclass($1) = to_regclass('audit_logs')", wanted.table):
            raise JobError(Exit.REFUSED, "the audit log itself is nothing to restore into: choose another --table")
        if not wanted.append and await connection.fetchval(f"select exists (select from {wanted.table})"):
            raise JobError(Exit.REFUSED, f"{wanted.table} has rows: choose another --table, or --append to them")
        return False
    types: dict[str, set[str]] = {}
    for chunk in chunks:
        for column in chunk.facts.columns:
            types.setdefault(column.name, set()).add(column.type)
    columns = [ArchivedColumn(name, next(iter(found)) if len(found) == 1 else "text") for name, found in types.items()]
    key = quoted(chunks[0].column_names[0])
    await connection.execute(
        f"create table {wanted.table} ({await _definitions(connection, columns)}, primary key ({key}))"
    )
    return True


async def _definitions(connection: Connection, columns: Sequence[ArchivedColumn]) -> str:
    """Define columns; of a type that is not PostgreSQL's own, as text: what has its name here may be another one."""
    known = await connection.fetchval(
        "select array_agg(t.oid is not null order by position)"
        " from unnest($1::text[]) with ordinality named(name, position)"
        " left join pg_type t on t.oid = to_regtype(name) and t.typnamespace = 'pg_catalog'::regnamespace",
        [column.type for column in columns],
    )
    return ", ".join(
        f"{quoted(column.name)} {column.type if there else 'text'}"
        for column, there in zip(columns, known, strict=True)
    )


async def _stage(connection: Connection, place: Archive, chunk: Chunk) -> None:
    """Load a chunk whole into a temporary table, and compare that with the manifest."""
    await connection.execute(
        f"drop table if exists {'.'.join(_STAGE)};"
        f" create temporary table {_STAGE[1]} ({await _definitions(connection, chunk.facts.columns)})"
        " on commit drop"
    )
    objects = place.objects
    damaged = f"{place.location}/{chunk.name.key} is damaged"
    with ExitStack() as opened:
        stream = await objects.in_thread(opened.enter_context, objects.open(chunk.name.key))
        blocks = unpacked(stream)

        async def pieces() -> AsyncIterator[bytes]:
            while block := await objects.in_thread(next, blocks, b""):
                yield block

        try:
            await connection.copy_to_table(
                _STAGE[1],
                schema_name=_STAGE[0],
                columns=chunk.column_names,
                source=pieces(),
                format="csv",
                header=True,
                encoding="utf-8",
            )
        except (ContentError, asyncpg.DataError) as error:
            raise JobError(Exit.NOT_VERIFIED, f"{damaged}: {one_line(error)}") from error
    key, *_ = chunk.column_names
    (found,) = await connection.fetch(digest_query(".".join(_STAGE), quoted(key), chunk.column_names, "true"))
    if (found["rows"], found["digest"]) != (chunk.facts.rows, chunk.facts.digest):
        raise JobError(Exit.NOT_VERIFIED, f"{damaged}: its rows are not those of its manifest")
