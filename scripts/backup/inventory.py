"""Reads what a database holds in one snapshot, which pg_dump can share."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from scripts.backup import catalog
from scripts.backup.contents import Contents, Table
from scripts.job.console import Meter

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_LONG = 160  # characters; a definition that is longer is kept as its hash
_LANE = 1 << 64


class Snapshot:
    """One moment of a database.

    Attributes:
        id: What `pg_dump --snapshot` takes, while this snapshot is open.
        size: The database's size in bytes.
        major: The server's major version.
        version: Its whole version.
    """

    def __init__(self, connection: "Connection[Record]", snapshot: str, facts: "Record") -> None:
        self._connection = connection
        self._facts = facts
        self.id = snapshot
        self.size: int = facts["size"]
        self.major: int = facts["major"]
        self.version: str = facts["version"]

    async def lock(self, seconds: float) -> list[str]:
        """Keep every table from being altered or dropped while the snapshot is open; reading and writing go on.

        Args:
            seconds: How long to wait for one that another session holds.

        Returns:
            The tables, as SCHEMA.TABLE, not quoted.

        Raises:
            asyncpg.PostgresError: It can't be had in time, or not at all.
        """
        tables = await self._connection.fetch(catalog.TABLES)
        await self._connection.execute("select set_config('lock_timeout', $1, true)", f"{seconds * 1000:.0f}")
        if tables:
            await self._connection.execute(
                f"lock table only {', only '.join(table['name'] for table in tables)} in access share mode"
            )
        return [table["plain_name"] for table in tables]

    async def sequences(self) -> dict[str, int]:
        """Return each sequence's next value, as it is now: sequences are in no snapshot."""
        found = await self._connection.fetch(catalog.SEQUENCES)
        parts = [
            f"select {index} as index, last_value + case when is_called then {sequence['step']} else 0 end as next"
            f" from {sequence['name']}"
            for index, sequence in enumerate(found)
        ]
        rows = await self._connection.fetch(" union all ".join(parts)) if parts else []
        return {found[row["index"]]["name"]: row["next"] for row in rows}

    async def objects(self) -> dict[str, dict[str, str]]:
        """Return the definition of every object, by kind and name."""
        objects: dict[str, dict[str, str]] = {}
        for kind, name, definition in await self._connection.fetch(catalog.OBJECTS):
            objects.setdefault(kind, {})[name] = _short(definition)
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
            major=self.major,
            version=self.version,
            encoding=self._facts["encoding"],
            collation=self._facts["collation"],
            ctype=self._facts["ctype"],
            size=self.size,
            migration=migration,
            roles=self._facts["roles"],
            large_objects=self._facts["large_objects"],
            tables=tables,
            sequences={name: (value, value) for name, value in before.items()},
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
async def snapshot(connection: "Connection[Record]") -> AsyncIterator[Snapshot]:
    """Open a snapshot: a read-only transaction that lasts as long as the block.

    Args:
        connection: A connection that is used for nothing else meanwhile.

    Raises:
        asyncpg.PostgresError: The server refuses.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Not with a plain SET: no version knows all of them.
        await connection.execute(
            "select set_config(name, value, true) from unnest($1::text[], $2::text[]) pinned(name, value)"
            " where lower(name) in (select lower(name) from pg_settings)",
            list(catalog.PINNED),
            list(catalog.PINNED.values()),
        )
        exported = await connection.fetchval("select pg_export_snapshot()")
        (facts,) = await connection.fetch(catalog.DATABASE)
        yield Snapshot(connection, exported, facts)


def _short(definition: str | None) -> str:
    text = definition or ""
    return text if len(text) <= _LONG else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
