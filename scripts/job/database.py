"""The database as a job meets it: sessions that are set up alike, and what it means when there is none to be had."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import asyncpg
from asyncpg import Connection

from exporter.dsn import Address
from exporter.facts import Fact
from exporter.schema import REFLECT, Schema
from scripts.job.exits import Exit, JobError

CLOSE_SECONDS = 3.0
"""How long a server may take to say goodbye."""

SESSION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a session raises that can't be had, or goes on no more. The last is asyncpg's own confusion if a statement comes
between the server's goodbye and the end of the connection."""

_TELLING = "client_connection_check_interval"
"""The setting of a session that shows whether it is one: nobody else sets it to this, and no caller changes it."""

# What a child may see of this process's environment: no secret, and no other PG* variable, which would lead elsewhere.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PGPASSFILE")

_SESSION = {
    # Naive columns hold UTC (unioncore.md).
    "TimeZone": "UTC",
    # Under any other, a row that changes while it is waited for is an error, not looked at anew.
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    # A role's own limits are made for the application; a job is bound by its time limit.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # A job that was killed, or whose machine is gone, must not hold its locks for hours.
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def session(
    address: Address, *, application: str, patience: float, settings: Mapping[str, str]
) -> AsyncIterator[Connection]:
    """Lend a connection.

    Args:
        address: The database.
        application: The session's name in pg_stat_activity.
        patience: Seconds for the attempt to connect.
        settings: Server settings of the session, over those that all jobs have.

    Raises:
        JobError: The database can't be reached, or refuses the login (UNREACHABLE); or what is between does not keep
            a session's settings (CONFIGURATION), and so neither its limits nor its locks.
    """
    try:
        connection = await asyncpg.connect(
            **address.connect_arguments(**{**_SESSION, "application_name": application, **settings}),
            timeout=patience,
        )
    except SESSION_ERRORS as error:
        raise JobError(Exit.UNREACHABLE, f"the database {address} {_trouble(error, address, patience)}") from error
    try:
        await _require_session(connection, address)
        yield connection
    finally:
        # asyncpg's own limit does not hold while a cancelled statement is being ended: a server that hangs would then
        # let neither the time limit nor Ctrl-C end the job.
        try:
            with suppress(*SESSION_ERRORS):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
        finally:
            connection.terminate()


async def _require_session(connection: Connection, address: Address) -> None:
    try:
        kept = await connection.fetchval(f"show {_TELLING}")
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
        # Another client's statement was prepared on this connection, or this one on another's.
        kept = None
    if kept != _SESSION[_TELLING]:
        raise JobError(
            Exit.CONFIGURATION,
            f"between here and the database {address} is a connection pooler that does not keep sessions (one in "
            "transaction mode): set DATABASE_URL to the server's own address, or to the pooler's port for sessions",
        )


def _trouble(error: Exception, address: Address, patience: float) -> str:
    """Return what is wrong, as it goes on after "the database …"."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            words = f"refuses the login ({one_line(error)}): set user and password in DATABASE_URL to valid ones"
        case asyncpg.InvalidCatalogNameError():
            words = "does not exist on that server: set the database's name in DATABASE_URL to one that does"
        case socket.gaierror():
            words = f"can't be reached: the host name {address.host} is not known: look at DATABASE_URL and at DNS"
        case TimeoutError():
            words = f"does not answer within {patience:g} s: look at the server, the network and its firewalls"
        case ConnectionRefusedError():
            words = "refuses the connection: look whether the server runs, and at host and port in DATABASE_URL"
        case ssl.SSLError():
            words = f"can't be reached by TLS ({one_line(error)}): look at sslmode and sslrootcert in DATABASE_URL"
        case _:
            words = f"can't be reached: {one_line(error)}"
    return words


def one_line(error: BaseException) -> str:
    """Return an error's own words, cut to one line."""
    words = str(error).strip().splitlines()
    return words[0] if words else type(error).__name__


def is_lost(error: BaseException) -> bool:
    """Say whether an error means that the connection to the database is gone."""
    # InterfaceError is for the caller's mistakes too.
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    return isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InternalClientError | ConnectionResetError) or (
        isinstance(error, asyncpg.OperatorInterventionError) and not isinstance(error, asyncpg.QueryCanceledError)
    )


async def find(connection: Connection, facts: Mapping[str, Fact]) -> Schema:
    """Look where facts are, in whichever shape the database has.

    Args:
        connection: The database.
        facts: What is looked for.
    """
    tables = list({fact.table for fact in facts.values()})
    return Schema(map(dict, await connection.fetch(REFLECT.replace(":tables", "$1"), tables)), facts)


def program_environment(address: Address, *, application: str, patience: float) -> dict[str, str]:
    """Return the whole environment for a program of PostgreSQL's (pg_dump, pg_restore, psql).

    Args:
        address: The database; its password is in the environment only.
        application: The session's name in pg_stat_activity.
        patience: Seconds for an attempt to connect.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        **address.libpq_environment(),
        "PGAPPNAME": application,
        "PGCONNECT_TIMEOUT": str(max(2, round(patience))),
        "PGTZ": "UTC",
    }
