"""`unioncore-exporter check`: a dry run that shows what is found and counted, and all that is wrong."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

import asyncpg
from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from exporter import logs
from exporter.assembly import Parts, assemble
from exporter.board import HEALTH, Snapshot
from exporter.contract import CONTRACT
from exporter.database import DatabaseDownError, describe
from exporter.facts import FACTS, TABLES
from exporter.metrics import Sample
from exporter.schema import Kind, Schema
from exporter.settings import Settings

_VERSION = text("select current_setting('server_version')")
_TYPES: dict[Kind, str] = {"naive": "timestamp, read as UTC", "aware": "timestamptz"}
_MOST = 8


@dataclass(frozen=True, slots=True)
class Report:
    """What the dry run found.

    Attributes:
        server: Things worth knowing of the server, by what they are called.
        schema: Where the facts are; None if the catalog could not be read.
        snapshot: What every collector brought.
    """

    server: dict[str, str]
    schema: Schema | None
    snapshot: Snapshot

    def problems(self) -> list[str]:
        """Return one line for each thing that is wrong."""
        facts = self.schema.problems if self.schema else {}
        lines = [f"fact {name}: {problem}" for name, problem in facts.items()]
        # A collector that fails for want of facts is not a trouble of its own.
        known = set(facts.values())
        lines += [
            f"collector {name}: {outcome.error}"
            for name, outcome in self.snapshot.outcomes.items()
            if outcome.error and not known.issuperset(outcome.error.split("; "))
        ]
        return lines


async def check(settings: Settings, out: TextIO) -> list[str]:
    """Run every collector once, and print what is found and what is counted.

    Args:
        settings: The configuration.
        out: Where to; as tables if it is a terminal.

    Returns:
        What is wrong, one line each.
    """
    logs.configure(settings.log_format, settings.log_level)
    # The report lists the failures; only what nobody foresaw belongs into the log too.
    logging.getLogger().handlers[0].addFilter(lambda record: "exception" in getattr(record, "msg", ()))
    parts = assemble(settings)
    try:
        report = await _look(settings, parts)
    except DatabaseDownError as error:
        return [f"the database {settings.address()} does not answer: {error}"]
    finally:
        await parts.close()
    _print(report, out)
    return report.problems()


async def _look(settings: Settings, parts: Parts) -> Report:
    # A connection that is open lets the scrape, which waits for one only briefly, begin at once.
    async with parts.database.link() as link:
        pulse = await link.pulse(TABLES)
        version = (await link.read(_VERSION, {}))[0][0]
    if not pulse.settled:
        statistics = "not usable: a standby does not count changes, so every scrape counts anew"
    elif not pulse.statistics:
        statistics = "not usable: track_counts is off, so every table is counted anew after every transaction"
    else:
        statistics = "usable: what has not changed is not counted again"
    server = {
        "Server": f"PostgreSQL {version} at {settings.address()}",
        "TimeZone": await _time_zone(settings),
        "Today": f"the calendar day in {settings.timezone}",
        "Statistics": statistics,
    }
    snapshot = await parts.scraper.scrape(settings.scrape_seconds)
    if snapshot.database_error:
        raise DatabaseDownError(snapshot.database_error)
    return Report(server, parts.reader.schema, snapshot)


async def _time_zone(settings: Settings) -> str:
    """Return the zone that sessions have unless they choose one, as the exporter's own do."""
    address = settings.address()
    try:
        connection = await asyncpg.connect(**address.connect_arguments(), timeout=settings.connect_seconds)
        try:
            zone = str(await connection.fetchval("show timezone"))
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseDownError(describe(error)) from error
    if zone in ("UTC", "Etc/UTC", "GMT"):
        return zone
    return f"{zone}; naive timestamps are read as UTC, which a column default of now() does not write here"


def _print(report: Report, out: TextIO) -> None:
    # Without a terminal there is no width to keep to. What is shown is not markup, whatever brackets it holds.
    terminal = out.isatty()
    console = Console(file=out, width=None if terminal else 10_000, markup=False, highlight=False, emoji=False)
    tables: list[tuple[Sequence[str], Iterable[Sequence[str]]]] = [
        ((), report.server.items()),
        (("Fact", "Found in", "Type", "Labels"), _facts(report.schema)),
        (("Collector", "State", "Series", "Time", "Error"), _collectors(report.snapshot)),
        (("Family", "Series", "Values"), _values(report.snapshot.samples())),
    ]
    with console.capture() as captured:
        for header, rows in tables:
            table = Table(*header, show_header=bool(header), box=ROUNDED if terminal else None, pad_edge=terminal)
            for row in rows:
                table.add_row(*row)
            console.print(table, end="\n\n")
    # Columns are padded with blanks, the last one too.
    out.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _facts(schema: Schema | None) -> Iterable[Sequence[str]]:
    for name, fact in FACTS.items():
        column = schema.columns.get(name) if schema else None
        if column:
            kind = _TYPES.get(column.kind, column.kind)
            yield name, f"{column.table}.{column.name}", kind, " ".join(column.labels)
        else:
            problem = schema.problems.get(name) if schema else "the catalog could not be read"
            yield name, problem or f"not in {fact.table}, which is fine", "", ""


def _collectors(snapshot: Snapshot) -> Iterable[Sequence[str]]:
    for name, outcome in snapshot.outcomes.items():
        time = f"{outcome.seconds * 1000:,.2f} ms"
        yield name, "failed" if outcome.error else "ok", str(len(outcome.samples)), time, outcome.error or ""


def _values(samples: Iterable[Sample]) -> Iterable[Sequence[str]]:
    by_family: dict[str, list[Sample]] = {family.name: [] for family in CONTRACT if family not in HEALTH}
    for sample in samples:
        if sample.family not in HEALTH:
            by_family.setdefault(sample.family.name, []).append(sample)
    for name, found in by_family.items():
        yield name, str(len(found)), _readable(found)


def _readable(samples: Sequence[Sample]) -> str:
    """Return the values; of many series their sums by the first label, the greatest first."""
    values = {"/".join(sample.labels): sample.value for sample in samples}
    if len(values) > _MOST:
        values = {}
        for sample in samples:
            values[sample.labels[0]] = values.get(sample.labels[0], 0.0) + sample.value
    shown = list(values.items())
    if len(shown) > _MOST:
        shown.sort(key=lambda item: -item[1])
    words = [f"{label} {_number(samples[0].family.name, value)}".strip() for label, value in shown[:_MOST]]
    return ", ".join(words) + (f", and {len(shown) - _MOST} more" if len(shown) > _MOST else "")


def _number(family: str, value: float) -> str:
    if family.endswith("_info"):
        return ""  # always 1: its labels are what it says
    if family.endswith("_timestamp_seconds"):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:,.2f}".removesuffix(".00")
