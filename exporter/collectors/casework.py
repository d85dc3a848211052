"""Status counts of the application's further modules, for those that the database has.

A module is one line in `exporter.facts.CASEWORK`; its family is `unioncore_<table>`.
"""

from collections.abc import Iterator

from exporter.counting import CountSpec, Key, known_labels
from exporter.facts import CASEWORK
from exporter.metrics import CollectError, Family
from exporter.schema import Schema

FAMILIES = {
    table: Family(
        f"unioncore_{table}",
        f"{table.replace('_', ' ').capitalize()} by status, where the database has that table.",
        ("status",),
        example=f"sum by (status) (unioncore_{table})",
    )
    for table in CASEWORK
}


def _there(schema: Schema) -> list[str]:
    unreadable = [problem for table in CASEWORK if (problem := schema.problems.get(f"{table}.status"))]
    if unreadable:
        raise CollectError("; ".join(unreadable))
    return [table for table in CASEWORK if schema.has(f"{table}.status")]


def _statement(schema: Schema) -> str:
    selects = []
    for table in _there(schema):
        (status,) = schema.need(f"{table}.status")
        selects.append(f"""
    select '{FAMILIES[table].name}', {status}::text, null::text, count(*)::float8, null::timestamptz
      from {table} where {schema.alive(table)} group by {status}""")
    # A select of no rows, where the database has none of the tables.
    return " union all ".join(selects) or "select '', null::text, null::text, null::float8, null::timestamptz limit 0"


def _known(schema: Schema) -> Iterator[Key]:
    for table in _there(schema):
        yield from known_labels(FAMILIES[table], schema.need(f"{table}.status")[0].labels)


SPEC = CountSpec("casework", tuple(FAMILIES.values()), tuple(CASEWORK), _statement, _known)
