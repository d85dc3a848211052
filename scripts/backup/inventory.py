"""Reads what a database holds in one snapshot, which pg_dump can share."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from exporter.whose import Database
from scripts.backup import catalog
from scripts.backup.around import ROLES, read_around
from scripts.backup.contents import Contents, Table
from scripts.backup.rights import OWNED, RIGHTS
from scripts.backup.whose import identify
from scripts.job.console import Meter
from scripts.job.database import SESSION_ERRORS
from scripts.job.exits import Exit, JobError

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.transaction import Transaction

_LANE = 1 << 64
_ATTEMPTS = 20


class Snapshot:
    """One moment of a database.

    Attributes:
        id: What `pg_dump --snapshot` takes, while this snapshot is open.
        database: What it is of.
        size: Its size in bytes.
        major: The server's major version.
        version: Its whole version.
        encoding: The database's encoding, as `UTF8`.
        large_objects: How many it has.
        clock_ahead: By how much this machine's clock was ahead of the server's.
        tables: Those that can't be altered or dropped while the snapshot is open, as SCHEMA.TABLE, not quoted, and
            that in the database's encoding.
    """

    def __init__(
        self,
        connection: "Connection[Record]",
        snapshot: str,
        facts: "Record",
        tables: Sequence["Record"],
        database: Database,
    ) -> None:
        self._connection = connection
        self._facts = facts
        self.id = snapshot
        self.database = database
        self.tables: dict[str, bytes] = {table["plain_name"]: table["stored_name"] for table in tables}
        self.size: int = facts["size"]
        self.major: int = facts["major"]
        self.version: str = facts["version"]
        self.encoding: str = facts["encoding"]
        self.large_objects: int = facts["large_objects"]
        self.clock_ahead: timedelta = datetime.now(UTC) - facts["now"]

    async def sequences(self) -> dict[str, tuple[int, bool]]:
        """Return each sequence's next value as it is now, for sequences are in no snapshot, and whether it descends."""
        found = await self._connection.fetch(catalog.SEQUENCES)
        # Numeric, for the next value of one that is at its end is no bigint.
        parts = [
            f"select {index} as index, last_value::numeric + case when is_called then {sequence['step']} else 0 end"
            f" as next from {sequence['name']}"
            for index, sequence in enumerate(found)
        ]
        rows = await self._connection.fetch(" union all ".join(parts)) if parts else []
        return {found[row["index"]]["name"]: (int(row["next"]), found[row["index"]]["step"] < 0) for row in rows}

    async def objects(self) -> dict[str, dict[str, str]]:
        """Return the definition of every object, and whose it is, by kind and name: as PostgreSQL has written it."""
        objects: dict[str, dict[str, str]] = {}
        for kind, name, definition in await self._connection.fetch(catalog.OBJECTS):
            objects.setdefault(kind, {})[name] = definition or ""
        objects[OWNED] = {name: definition or "" for name, definition in await self._connection.fetch(RIGHTS)}
        return objects

    async def contents(self, meter: Meter) -> Contents:
        """Read everything.

        Args:
            meter: Is told of each table that has been read.

        Raises:
            asyncpg.PostgresError: Something can't be read.
        """
        before = await self.sequences()
        objects = await self.objects()
        roles = await self._connection.fetch(ROLES)
        around = await read_around(self._connection)
        found = await self._connection.fetch(catalog.TABLES)
        tables: dict[str, Table] = {}
        migration = ""
        for table in found:
            tables[table["name"]] = await self.digest(table)
            if table["plain_name"].endswith(".alembic_version"):
                migration = await self._connection.fetchval(
                    f"select coalesce(string_agg(version_num, ',' order by version_num), '') from {table['name']}"
                )
            meter.advance(1)
        return Contents(
            database=self._facts["name"],
            cluster=self.database.cluster or "",
            oid=self.database.oid or 0,
            major=self.major,
            version=self.version,
            encoding=self.encoding,
            collation=self._facts["collation"],
            ctype=self._facts["ctype"],
            provider=self._facts["provider"],
            locale=self._facts["locale"],
            size=self.size,
            migration=migration,
            roles=[role["name"] for role in roles],
            policy_roles=[role["name"] for role in roles if role["in_policy"]],
            settings=around.settings,
            grants=around.grants,
            large_objects=self.large_objects,
            tables=tables,
            sequences={name: (value, value) for name, (value, _) in before.items()},
            objects=objects,
        )

    async def digest(self, table: "Record") -> Table:
        """Read a table: count its rows, and digest them.

        Args:
            table: Its row of `catalog.TABLES`.
        """
        (row,) = await self._connection.fetch(catalog.digest_of(table["name"], table["hashes"], table["doubtful"]))
        lanes = [int(row[lane] or 0) % _LANE for lane in ("one", "two")]
        return Table(row["rows"], "".join(f"{lane:016x}" for lane in lanes))


@asynccontextmanager
async def snapshot(connection: "Connection[Record]", *, lock_seconds: float | None = None) -> AsyncIterator[Snapshot]:
    """Open a snapshot: a read-only transaction that lasts as long as the block.

    Args:
        connection: A connection that is used for nothing else meanwhile.
        lock_seconds: Keep every table from being altered, truncated or dropped while the snapshot is open; reading and
            writing go on. So many seconds are waited for a table that another session holds. None: no lock is taken.

    Raises:
        asyncpg.PostgresError: The server refuses, or a table can't be had in time.
        JobError: Tables come and go all the time.
    """
    transaction, tables = await _begin(connection, lock_seconds)
    try:
        # Not with a plain SET: no version knows all of them.
        await connection.execute(
            "select set_config(name, value, true) from unnest($1::text[], $2::text[]) pinned(name, value)"
            " where lower(name) in (select lower(name) from pg_settings)",
            list(catalog.PINNED),
            list(catalog.PINNED.values()),
        )
        exported = await connection.fetchval("select pg_export_snapshot()")
        (facts,) = await connection.fetch(catalog.DATABASE)
        yield Snapshot(connection, exported, facts, tables, await identify(connection))
    finally:
        # A connection that is lost has no transaction to end.
        with suppress(*SESSION_ERRORS):
            await transaction.rollback()


async def _begin(
    connection: "Connection[Record]", lock_seconds: float | None
) -> tuple["Transaction", Sequence["Record"]]:
    """Begin a transaction whose snapshot is younger than its locks, and return what it has locked.

    A table that was truncated, or rewritten by ALTER TABLE, after the snapshot was taken looks empty in it, and no
    error tells (PostgreSQL's documentation, "Caveats" of MVCC). So no statement that takes the snapshot may come before
    LOCK TABLE, which waits for whoever does that.
    """
    for _ in range(_ATTEMPTS):
        tables = await connection.fetch(catalog.TABLES) if lock_seconds is not None else []
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        if not tables:
            return transaction, tables
        try:
            await connection.execute(f"set local lock_timeout = {max(1, round((lock_seconds or 0) * 1000))}")
            await connection.execute(
                f"lock table only {', only '.join(table['name'] for table in tables)} in access share mode"
            )
            # Those that were made or renamed meanwhile are not locked.
            locked = {table["oid"] for table in tables}
            if locked == {table["oid"] for table in await connection.fetch(catalog.TABLES)}:
                return transaction, tables
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            pass  # It was dropped meanwhile.
        await transaction.rollback()
    raise JobError(Exit.FAILED, f"tables were made or dropped during each of {_ATTEMPTS} attempts to lock them all")
