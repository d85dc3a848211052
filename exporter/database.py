"""UnionCore's database as the exporter sees it: read only, briefly, with at most two connections."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from exporter import __version__
from exporter.dsn import Address
from exporter.holding import Pulse, TableState
from exporter.schema import REFLECT, SHAPE, Schema

# Read before the counting snapshot (see `exporter.holding.Pulse`). No table is read, no lock on one taken.
# A crash, after which commits may be gone and transactions' numbers come again, leaves the postmaster as it is; but the
# recovery resets all statistics, those of the background writer with the moment (PostgreSQL's pgstat_discard_stats).
# A copy that takes the database's name has its tables' oids, files and counters, but another oid itself.
# Whoever may read nothing of other sessions may still see which of them have a transaction open.
_PULSE = text(f"""
select statement_timestamp() as now, {SHAPE} as shape, pg_current_snapshot()::text as snapshot,
       not pg_is_in_recovery() as settled, current_setting('track_counts')::boolean as track_counts,
       concat_ws(' ', d.oid, pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time(),
                 pg_stat_get_db_stat_reset_time(d.oid)) as epoch,
       array(select l.virtualxid
               from pg_catalog.pg_locks l join pg_catalog.pg_stat_get_activity(null) a on a.pid = l.pid
              where l.locktype = 'virtualxid' and l.mode = 'ExclusiveLock' and l.pid <> pg_backend_pid()
                and a.datid = (select oid from pg_catalog.pg_database where datname = current_database())) as open,
       c.relname as table_name, c.oid::bigint as table_oid, c.relfilenode::bigint as filenode,
       c.relkind in ('r', 'm') or c.relkind = 'p' and not exists (
           select from pg_catalog.pg_inherits i join pg_catalog.pg_foreign_table f on f.ftrelid = i.inhrelid) as own,
       c.relkind = 'r' and not c.relhassubclass as plain,
       pg_stat_get_tuples_inserted(c.oid) as inserted, pg_stat_get_tuples_updated(c.oid) as updated,
       pg_stat_get_tuples_deleted(c.oid) as deleted,
       greatest(pg_stat_get_live_tuples(c.oid), c.reltuples, 0)::bigint as rows
  from pg_catalog.pg_database d
  left join pg_catalog.pg_class c
    on c.relname = any(cast(:tables as text[])) and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and pg_catalog.pg_table_is_visible(c.oid)
 where d.datname = current_database()
""")
_REFLECT = text(REFLECT)
_TIMEOUTS = text("select set_config('statement_timeout', :statement, false), set_config('lock_timeout', :lock, false)")
# What the server says when it has no room or no wish for us, beyond refusing the socket.
_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class DatabaseLimits:
    """Time limits in seconds.

    Attributes:
        connect: For a connection attempt.
        statement: The longest that any statement may run on the server.
        lock: The longest that a statement may wait for a lock.
    """

    connect: float = 5.0
    statement: float = 8.0
    lock: float = 1.0


class DatabaseDownError(Exception):
    """The database does not answer; the message says how, without the password.

    Attributes:
        stale: The connection had been kept since an earlier scrape, and broke at its first use: a new one
            may well succeed.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class StatementError(Exception):
    """The database refused a statement, and goes on; the message is one line."""


def _milliseconds(seconds: float) -> str:
    # Zero would mean: no limit.
    return str(max(1, round(seconds * 1000)))


def describe(error: BaseException) -> str:
    """Return one line that says what went wrong, in the database's own words."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    state = getattr(original, "sqlstate", None)
    words = str(original).strip().splitlines()
    line = words[0] if words else type(original).__name__
    line = line.removeprefix(f"{type(original)}: ") if line.startswith("<class") else line
    if state == _LOCK_NOT_AVAILABLE:
        return f"{line}: another session holds the table"
    if state == _QUERY_CANCELED:
        return f"{line}: slower than its time limit"
    if isinstance(original, TimeoutError):
        return "it did not answer in time"
    return line


class Link:
    """An open connection."""

    def __init__(self, connection: AsyncConnection, info: MutableMapping[Any, Any]) -> None:
        """Wrap it.

        Args:
            connection: SQLAlchemy's connection.
            info: What is remembered of the server session for as long as that lives.
        """
        self._connection = connection
        self._info = info
        self._stale = "answered" in info

    async def pulse(self, tables: Sequence[str]) -> Pulse:
        """Ask what has happened.

        Raises:
            DatabaseDownError: The database does not answer.
        """
        with self._asking():
            rows = (await self._connection.execute(_PULSE, {"tables": list(tables)})).mappings().all()
        first = rows[0]
        return Pulse(
            now=first["now"],
            snapshot=first["snapshot"],
            settled=first["settled"],
            statistics=first["settled"] and first["track_counts"],
            epoch=first["epoch"],
            shape=first["shape"],
            open=frozenset(first["open"]),
            tables={
                row["table_name"]: TableState(
                    *(row[name] for name in ("table_oid", *TableState._fields[1:])),
                )
                for row in rows
                if row["table_oid"] is not None
            },
        )

    async def reflect(self, tables: Sequence[str], before: Schema | None = None) -> Schema:
        """Read where each fact is.

        Args:
            tables: Of which tables.
            before: What was found earlier on this database.

        Raises:
            DatabaseDownError: The connection broke.
            StatementError: The catalog could not be read.
        """
        with self._asking():
            rows = (await self._connection.execute(_REFLECT, {"tables": list(tables)})).mappings().all()
        return Schema([dict(row) for row in rows], before=before)

    async def limit(self, *, statement: float, lock: float) -> None:
        """Set the server's own time limits for what follows on this session, in seconds."""
        limits = {"statement": _milliseconds(statement), "lock": _milliseconds(lock)}
        if self._info.get("limits") != limits:
            with self._asking():
                await self._connection.execute(_TIMEOUTS, limits)
            self._info["limits"] = limits

    async def read(self, statement: TextClause, parameters: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        """Run one select in one read-only snapshot of its own.

        Raises:
            DatabaseDownError: The connection broke.
            StatementError: The server refused the statement, or it exceeded a limit.
        """
        with self._asking():
            return (await self._connection.execute(statement, dict(parameters))).all()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
            self._stale = False
            self._info["answered"] = True
        except DBAPIError as error:
            if error.connection_invalidated or _is_goodbye(error):
                raise DatabaseDownError(describe(error), stale=self._stale) from error
            raise StatementError(describe(error)) from error
        except (ValueError, ArithmeticError) as error:
            # asyncpg, of a value for which Python has none; the session goes on.
            raise StatementError(f"a value can't be read: {describe(error)}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError) as error:
            raise DatabaseDownError(describe(error), stale=self._stale) from error


def _is_goodbye(error: DBAPIError) -> bool:
    """Say whether the server ended the session: class 08 and 57P, PostgreSQL's Appendix A."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return state.startswith(("08", "57P"))


class Database:
    """The engine: opens connections, keeps them between scrapes, closes them."""

    def __init__(self, address: Address, limits: DatabaseLimits) -> None:
        self.address = address
        self.limits = limits
        settings = {
            "application_name": f"unioncore-exporter/{__version__}",
            "default_transaction_read_only": "on",
            # With AUTOCOMMIT each statement is a transaction, and has one snapshot in any isolation. In this one it is
            # taken once the statement has all its locks: an earlier one would see as empty whatever table is rewritten
            # or refilled while the statement waits for it (PostgreSQL's documentation, "Caveats" of MVCC).
            "default_transaction_isolation": "read committed",
            "statement_timeout": _milliseconds(limits.statement),
            "lock_timeout": _milliseconds(limits.lock),
            "idle_in_transaction_session_timeout": _milliseconds(limits.statement + limits.lock),
            "TimeZone": "UTC",
            # Measured on 10 M audit rows (unioncore.md): it makes these short counts slower.
            "jit": "off",
            # A policy that hides rows must fail the counting, not shorten it.
            "row_security": "off",
            # Planning anew takes longer than most of the counts. No plan here depends on the parameters' values.
            "plan_cache_mode": "force_generic_plan",
        }

        async def connect() -> Any:
            return await asyncpg.connect(**address.connect_arguments(**settings), timeout=limits.connect)

        self._engine = create_async_engine(
            # Each set of collectors that are due together is a statement of its own, whose plan the server keeps.
            "postgresql+asyncpg://?prepared_statement_cache_size=16",
            async_creator=connect,
            isolation_level="AUTOCOMMIT",
            pool_size=2,
            max_overflow=0,
            pool_timeout=limits.connect,
        )
        self._opening: asyncio.Task[AsyncConnection] | None = None

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Lend a connection.

        An attempt to connect outlives the caller that asked for it, and serves the next one: a server that is
        far away would else never be reached by scrapes that can't wait.

        Raises:
            DatabaseDownError: It can't be had.
        """
        failed = self._opening is not None and self._opening.done() and self._opening.exception() is not None
        if self._opening is None or failed:
            self._opening = asyncio.create_task(self._open())
        opening = self._opening
        try:
            connection = await asyncio.shield(opening)
        except (
            DBAPIError,
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            PoolTimeoutError,
        ) as error:
            raise DatabaseDownError(describe(error)) from error
        self._opening = None
        async with aclosing(connection):
            yield Link(connection, (await connection.get_raw_connection()).info)

    async def _open(self) -> AsyncConnection:
        return await self._engine.connect()

    async def close(self) -> None:
        """Close every connection."""
        if self._opening is not None:
            self._opening.cancel()
            # One that was opened for a scrape that could not wait is in nobody's hands.
            for opened in await asyncio.gather(self._opening, return_exceptions=True):
                if isinstance(opened, AsyncConnection):
                    await opened.close()
        await self._engine.dispose()
