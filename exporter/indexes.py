"""Indexes that would make the exporter's own statements faster, where the database lacks them.

Each was measured with the statement that it is for, on generated data. What did not help is not offered: the dues,
sessions and users statements count every row in one pass and gain nothing from any index, those of the audit log
follow its primary key and never compare its time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from sqlalchemy import text

from exporter.database import Database
from exporter.facts import TABLES
from exporter.metrics import CollectError
from exporter.schema import Schema, quoted


@dataclass(frozen=True, slots=True)
class Index:
    """An index worth having.

    Attributes:
        name: What it is called.
        table: The table it is on, whose soft-deleted rows it leaves out.
        facts: What its columns hold, in order.
        saves: What was measured.
    """

    name: str
    table: str
    facts: tuple[str, ...]
    saves: str


INDEXES = (
    Index(
        "ix_members_exporter",
        "members",
        ("members.status", "members.classification"),
        "unioncore_members: a count of 120,000 members takes 9 ms instead of 25, for 1 MB of disk. It reads the index "
        "alone, so that holds where autovacuum keeps up. A few thousand members are counted in 1 ms without it.",
    ),
)

_HOW = """\
-- Optional: the exporter works without. Building one keeps nobody from writing; run it outside of a transaction,
-- as the owner of the table."""
_EXISTING = text("""
select n.nspname as schema, t.relname as table, c.relname as name, i.indisvalid as valid,
       coalesce('where ' || pg_get_expr(i.indpred, i.indrelid), '') as predicate,
       array(select a.attname::text from pg_catalog.pg_attribute a
              where a.attrelid = i.indrelid and a.attnum = any(i.indkey)) as columns
  from pg_catalog.pg_class t
  join pg_catalog.pg_namespace n on n.oid = t.relnamespace
  left join (pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid) on i.indrelid = t.oid
 where t.relname = any(cast(:tables as text[])) and t.relkind in ('r', 'm')
   and pg_catalog.pg_table_is_visible(t.oid)
""")


async def advise(database: Database) -> str:
    """Return SQL that creates the indexes that the database lacks; only a comment if it lacks none.

    Raises:
        DatabaseDownError: It does not answer.
        StatementError: It refused to show its catalog.
    """
    async with database.link() as link:
        schema = await link.reflect(TABLES)
        existing = await link.read(_EXISTING, {"tables": [index.table for index in INDEXES]})
    advice = [words for index in INDEXES if (words := _advice(index, schema, existing))]
    return "\n\n".join([_HOW, *advice] if advice else ["-- Nothing to add."])


def _advice(index: Index, schema: Schema, existing: Sequence[Any]) -> str:
    on_table = [row for row in existing if row.table == index.table]
    try:
        columns = schema.need(*index.facts)
        alive = schema.alive(index.table)
    except CollectError as error:
        return f"-- {index.name} can't be considered: {error}"
    deleted = schema.columns.get(f"{index.table}.deleted")
    # Without a predicate, an index serves only if it holds what the statement's own condition asks of.
    serving = {
        _bare(f"where {alive}"): {column.name for column in columns},
        "": {column.name for column in (*columns, deleted) if column},
    }
    if not on_table or any(
        row.valid and serving.get(_bare(row.predicate), {""}) <= set(row.columns) for row in on_table
    ):
        return ""
    lines = [fill(index.saves, 110, initial_indent="-- ", subsequent_indent="-- ")]
    namespace = quoted(on_table[0].schema)
    if any(row.name == index.name for row in on_table):
        lines += [
            "-- What has this name is another, or invalid: an attempt failed, or is under way (then wait for it).",
            f"drop index concurrently if exists {namespace}.{quoted(index.name)};",
        ]
    where = f" where {alive}" if deleted else ""
    lines.append(
        f"create index concurrently if not exists {quoted(index.name)}\n"
        f"    on {namespace}.{quoted(index.table)} ({', '.join(map(str, columns))}){where};"
    )
    return "\n".join(lines)


def _bare(predicate: str) -> str:
    """Return a predicate as it can be compared: PostgreSQL shows it with its own parentheses and capitals."""
    return re.sub(r'[()"]', "", predicate).lower()
