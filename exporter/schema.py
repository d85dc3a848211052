"""Where each fact is: found in the database by reflection, never assumed.

UnionCore's database exists in two shapes, and migrations make more. A *fact* ("when did an audit event
happen") is looked for in one table under the names it is known by; what is found says how to read it:
the column's own name, its type, its enum labels in their own case.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exporter.facts import FACTS, Fact
from exporter.metrics import CollectError

Kind = Literal["date", "naive", "aware", "enum", "text", "number", "bool", "other"]

_KINDS: Mapping[str, Kind] = {
    "date": "date",
    "timestamp": "naive",
    "timestamptz": "aware",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "citext": "text",
    "numeric": "number",
    "int2": "number",
    "int4": "number",
    "int8": "number",
    "float4": "number",
    "float8": "number",
    "bool": "bool",
}

# All that a reflection depends on, in one number: the tables' names, columns, types and row security, the enums'
# labels. A sum, so that nothing need be sorted; each part is hashed with what it is of, so that no two can change
# places unseen.
SHAPE = """
(select coalesce(
          sum(hashtextextended(a.attname, hashint8extended(a.atttypid::bigint, hashint8extended(c.oid::bigint,
              hashtextextended(c.relname,
                               a.attnum * 4 + c.relrowsecurity::int * 2 + c.relforcerowsecurity::int)))))
          + (select coalesce(sum(hashtextextended(e.enumlabel, e.oid::bigint)), 0) from pg_catalog.pg_enum e), 0)::text
   from pg_catalog.pg_class c
   join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0
  where c.relname = any(cast(:tables as text[])) and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_catalog.pg_table_is_visible(c.oid))
"""
# Readable without privileges on the tables, and takes no lock on them: works while a migration holds one.
REFLECT = f"""
select {SHAPE} as shape, c.relname as table_name,
       a.attname as column_name, t.typname as type_name,
       has_column_privilege(c.oid, a.attnum, 'select') as readable,
       row_security_active(c.oid) as filtered,
       (select array_agg(e.enumlabel::text order by e.enumsortorder)
          from pg_catalog.pg_enum e where e.enumtypid = t.oid) as labels
  from pg_catalog.pg_class c
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type typed on typed.oid = a.atttypid
  join pg_catalog.pg_type t on t.oid = coalesce(nullif(typed.typbasetype, 0), typed.oid)
 where c.relname = any(cast(:tables as text[])) and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and pg_catalog.pg_table_is_visible(c.oid)
"""


def quoted(identifier: str) -> str:
    """Quote an identifier as PostgreSQL does."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a text literal (standard_conforming_strings, the default since PostgreSQL 9.1)."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that holds a fact. As text, it is its quoted name."""

    table: str
    name: str
    kind: Kind
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return quoted(self.name)

    def moment(self, parameter: str) -> str:
        """Return a timestamptz bind parameter in this column's own type, whatever the session's TimeZone.

        Naive columns hold UTC (unioncore.md): compared with a timestamptz directly, PostgreSQL would
        shift them by the session's zone.
        """
        moment = f"cast(:{parameter} as timestamptz)"
        return f"({moment} at time zone 'UTC')" if self.kind == "naive" else moment

    def instant(self) -> str:
        """Return the expression of this column as timestamptz."""
        return f"({self} at time zone 'UTC')" if self.kind == "naive" else str(self)

    def is_any(self, value: str, words: Collection[str]) -> str:
        """Return the condition that a text, a value of this status column, is one of the words, whatever its case.

        It asks for the text, not for the enum's labels: there may be a new one since those were read.

        Raises:
            CollectError: It is an enum, and none of its labels is one of the words.
        """
        if self.kind == "enum" and not any(label.lower() in words for label in self.labels):
            raise CollectError(
                f"{self.table}.{self.name}: none of its labels ({', '.join(self.labels)}) "
                f"means {' or '.join(sorted(words))}"
            )
        return f"lower({value}) in ({', '.join(literal(word) for word in sorted(words))})"


class Schema:
    """What reflection found: each fact's column, or why it has none.

    Attributes:
        shape: What `SHAPE` was: another one means, reflect again.
        columns: The facts that were found.
        problems: Why others were not.
        lost: The columns of those that need not be there, but were.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        facts: Mapping[str, Fact] = FACTS,
        *,
        before: "Schema | None" = None,
    ) -> None:
        """Resolve every fact.

        Args:
            rows: Those of `REFLECT`.
            facts: What to look for.
            before: What was found earlier: a column that is optional must not be lost while its table is there.
        """
        tables: dict[str, dict[str, Mapping[str, Any]]] = {}
        self.shape = "0"
        for row in rows:
            tables.setdefault(row["table_name"], {})[row["column_name"]] = row
            self.shape = row["shape"]
        self._tables = frozenset(tables)
        self.columns: dict[str, Column] = {}
        self.problems: dict[str, str] = {}
        for name, fact in facts.items():
            found = _resolve(fact, tables.get(fact.table))
            if isinstance(found, Column):
                self.columns[name] = found
            elif found is not None:
                self.problems[name] = found
        known = {**before.lost, **before.columns} if before else {}
        self.lost: Mapping[str, Column] = {
            name: column
            for name, column in known.items()
            if column.table in tables and name not in self.columns.keys() | self.problems.keys()
        }
        # Renamed, for all that is known: without it, rows that are deleted would count.
        self.problems |= {
            name: f"table {column.table} has lost its column {column.name}: if that is meant, restart the exporter"
            for name, column in self.lost.items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # equal schemas are compared, never looked up

    def has(self, fact: str) -> bool:
        """Say whether a fact was found."""
        return fact in self.columns

    def has_table(self, table: str) -> bool:
        """Say whether a table exists."""
        return table in self._tables

    def need(self, *facts: str) -> Sequence[Column]:
        """Return the columns of facts.

        Raises:
            CollectError: Some were not found; the message names each, its table and the columns looked for.
        """
        missing = [self.problems.get(fact, f"{fact} is not there") for fact in facts if not self.has(fact)]
        if missing:
            raise CollectError("; ".join(missing))
        return [self.columns[fact] for fact in facts]

    def alive(self, table: str) -> str:
        """Return the condition that a row is not soft-deleted: always true where the shape has no such column.

        Raises:
            CollectError: The column is there, but may not be read: every deleted row would count.
        """
        fact = f"{table}.deleted"
        if fact in self.problems:
            raise CollectError(self.problems[fact])
        column = self.columns.get(fact)
        if column is None:
            return "true"
        return f"{column} is not true" if column.kind == "bool" else f"{column} is null"


def _resolve(fact: Fact, columns: Mapping[str, Mapping[str, Any]] | None) -> Column | str | None:
    """Find a fact's column; a text says why there is none; None: it need not be there."""
    looked_for = " or ".join(fact.columns)
    if columns is None:
        # A column that some shapes do without is needed by nobody where even its table is missing.
        return None if fact.optional else f"there is no table {fact.table} (for its {looked_for})"
    for name in fact.columns:
        row = columns.get(name)
        if row is None:
            continue
        if row["filtered"]:
            # Hidden rows would be missing from every count, in silence.
            return f"table {fact.table} has row security, which hides rows from this role: give it BYPASSRLS"
        if not row["readable"]:
            return f"{fact.table}.{name} may not be read: run `unioncore-exporter grants`"
        labels = tuple(row["labels"] or ())
        kind: Kind = "enum" if labels else _KINDS.get(row["type_name"], "other")
        if fact.kinds and kind not in fact.kinds:
            return f"{fact.table}.{name} is a {row['type_name']}, not a {' or '.join(fact.kinds)}"
        return Column(fact.table, name, kind, labels)
    return None if fact.optional == "column" else f"table {fact.table} has no column {looked_for}"
