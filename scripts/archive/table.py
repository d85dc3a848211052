"""The audit log as it is found in the database, whichever shape that has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from asyncpg import Connection
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from exporter.facts import FACTS
from exporter.schema import Column, quoted
from scripts.job.database import find
from scripts.job.exits import Exit, JobError

PINNED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
}
"""Server settings on which the text of a value depends: the same for writing, comparing and deleting."""

CELL = """case when t.%1$I is null then '' else '"' || replace(concat(t.%1$I), '"', '""') || '"' end"""
"""A value as COPY writes it in CSV with all values quoted: `%1$I` is its column, quoted.

concat, unlike a cast to text, uses the type's output function, as COPY does."""

DIGEST = r"encode(sha256(convert_to(coalesce(string_agg(line || E'\n', '' order by id), ''), 'UTF8')), 'hex')"
"""The digest of rows that have an `id` and a `line`: the SHA-256 of their CSV in the order of their ids."""


@checked(frozen=True)
class ArchivedColumn:
    """A column of the audit log.

    Attributes:
        name: Its name, not quoted.
        type: Its type as SQL.
    """

    name: Annotated[str, Field(min_length=1)]
    type: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class AuditTable:
    """The audit log.

    Attributes:
        name: Its qualified name, quoted.
        database: The database's name.
        id: The column of the ids.
        time: The column of the events' times.
        columns: All columns, the id first, the time second.
    """

    name: str
    database: str
    id: Column
    time: Column
    columns: tuple[ArchivedColumn, ...]

    def bound(self, moment: datetime) -> datetime:
        """Return an aware moment as a parameter that is compared with the column `time`."""
        return moment.astimezone(UTC).replace(tzinfo=None) if self.time.kind == "naive" else moment


async def describe(connection: Connection) -> AuditTable:
    """Find the audit log.

    Args:
        connection: The database.

    Raises:
        CollectError: The database has no audit log, or not one with an id and a time.
        JobError: Its ids are not what the archive can name (FAILED), or not each row's own (REFUSED).
    """
    schema = await find(connection, {name: FACTS[name] for name in ("audit.id", "audit.time")})
    key, time = schema.need("audit.id", "audit.time")
    name = await connection.fetchval(
        """
        select format('%I.%I', n.nspname, c.relname)
          from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'audit_logs'::regclass
        """
    )
    database = await connection.fetchval("select current_database()")
    rows = await connection.fetch(
        """
        select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
         where attrelid = 'audit_logs'::regclass and attnum > 0 and not attisdropped
         order by attname <> $1, attname <> $2, attnum
        """,
        key.name,
        time.name,
    )
    if await connection.fetchval(f"select exists (select from {name} where {key} < 0)"):
        raise JobError(Exit.FAILED, f"{name} has rows with a negative {key}, which can't be archived")
    await _check_ids(connection, name, key)
    return AuditTable(name, database, key, time, tuple(ArchivedColumn(**dict(row)) for row in rows))


async def _check_ids(connection: Connection, name: str, key: Column) -> None:
    """Refuse a table in which an id may stand for several rows, of which the archive would keep one."""
    unique = await connection.fetchval(
        """
        select exists (
            select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
             where i.indrelid = 'audit_logs'::regclass and a.attname = $1 and i.indnkeyatts = 1 and i.indisunique
               and i.indisvalid and i.indpred is null)
           -- A partition's ids are in the index of the whole, a child's by inheritance are in none.
           and not exists (select from pg_class where oid = 'audit_logs'::regclass and relkind = 'r' and relhassubclass)
           and exists (select from pg_attribute where attrelid = 'audit_logs'::regclass and attname = $1 and attnotnull)
        """,
        key.name,
    )
    if unique:
        return
    if await connection.fetchval(f"select exists (select from {name} where {key} is null)"):
        raise JobError(
            Exit.REFUSED,
            f"{name} has rows without {key}, which an archive can't name: give each an id of its own, and the table "
            "its primary key back",
        )
    twice = await connection.fetchval(f"select {key} from {name} group by {key} having count(*) > 1 limit 1")
    if twice is not None:
        raise JobError(
            Exit.REFUSED,
            f"{name} has several rows with the {key} {twice}, of which an archive could keep only one: give each an id "
            "of its own, and the table its primary key back",
        )


def digest_query(name: str, key: str, columns: Sequence[str], condition: str) -> str:
    """Return the question for the count (`rows`) and the digest (`digest`) of rows of a table.

    Args:
        name: The table's qualified name, quoted.
        key: The column of the ids, quoted.
        columns: The columns that were archived, in their order, not quoted.
        condition: Which rows.
    """
    return f"""
    select count(*) as rows, {DIGEST} as digest
      from (select t.{key} as id, {_line(columns)} as line from {name} t where {condition}) lines
    """


def line_digests_query(name: str, columns: Sequence[str], condition: str) -> str:
    """Return the question for the SHA-256 (`digest`) of each row's CSV without its line end.

    Args:
        name: The table's qualified name, quoted; the condition calls it `t`.
        columns: The columns that were archived, in their order, not quoted.
        condition: Which rows.
    """
    return f"select sha256(convert_to({_line(columns)}, 'UTF8')) as digest from {name} t where {condition}"


def _line(columns: Sequence[str]) -> str:
    return " || ',' || ".join(CELL.replace("%1$I", quoted(column)) for column in columns)
