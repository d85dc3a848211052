"""Asks a server which database a connection is to."""

from typing import TYPE_CHECKING

from exporter.whose import Database

if TYPE_CHECKING:
    from asyncpg import Connection, Record


async def identify(connection: "Connection[Record]") -> Database:
    """Return the database of a connection.

    Raises:
        asyncpg.PostgresError: The server refuses.
    """
    ((name, oid, allowed),) = await connection.fetch(
        "select datname, oid::int8, has_function_privilege('pg_catalog.pg_control_system()', 'execute')"
        " from pg_database where datname = current_database()"
    )
    # A statement of its own: to call it without the right to ends the transaction.
    cluster = (
        await connection.fetchval("select system_identifier::text from pg_catalog.pg_control_system()")
        if allowed
        else ""
    )
    return Database(name, cluster, oid)
