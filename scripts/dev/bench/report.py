"""What was measured, as tables, and the targets beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.dev.bench.measuring import AtScale, Cost, OnDemo, Side

_MEGABYTE = 1e6
# The longest that the exporter keeps a count, by default, and how often Prometheus is configured to scrape.
_RECOUNT_SECONDS, _INTERVAL_SECONDS = 300, 15


class Target(NamedTuple):
    """A target of the project beside what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool


def _ms(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(factor: float) -> str:
    """Write a factor, as `12 x` or `1.23 x`."""
    return f"{factor:,.0f} x" if factor >= 10 else f"{factor:.2f} x"


def spread(found: AtScale) -> float:
    """Return the database's seconds of a steady scrape with its share of the recount that comes every so often."""
    return found.steady.database + found.cold.database * _INTERVAL_SECONDS / _RECOUNT_SECONDS


def at_scale(found: AtScale, title: str) -> Table:
    """Return the table of a page view and of scrapes in every state; a ratio is the page's number to the scrape's."""
    heads = ("database ms", "ratio", "its cpu ms", "ratio", "wall ms", "ratio", "statements")
    table = Table("", *heads, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    page = found.page

    def add(name: str, cost: Cost, *, ratios: bool = True) -> None:
        cells = []
        for value, of_page in (
            (cost.database, page.database),
            (cost.processor, page.processor),
            (cost.wall, page.wall),
        ):
            cells += [_ms(value), times(of_page / value) if ratios else ""]
        table.add_row(name, *cells, f"{cost.statements:g}")

    add("old page: its 8 queries", page, ratios=False)
    table.add_section()
    add("scrape, a few new events (steady)", found.steady)
    share = f"  + its share of a recount every {_RECOUNT_SECONDS} s"
    table.add_row(share, _ms(spread(found)), times(page.database / spread(found)))
    add("scrape, every table changed", found.changed)
    add("scrape, nothing happened", found.idle)
    add("first scrape, with the start", found.cold)
    table.add_section()
    add("steady, in turns with", found.beside, ratios=False)
    add("  a tenth of the audit events", found.tenth, ratios=False)
    return table


def on_demo(found: OnDemo, title: str, rival: str) -> Table:
    """Return the table of the two exporters on the demo's database."""
    table = Table("a scrape", "exporter", title=title, title_justify="left")
    sides: list[Side] = [found.ours]
    if found.theirs is not None:
        table.add_column(rival)
        table.add_column("ratio")
        sides.append(found.theirs)
    for column in table.columns[1:]:
        column.justify = "right"

    def add(name: str, values: Sequence[float], texts: Sequence[str]) -> None:
        ratio = [times(values[1] / values[0])] if len(values) > 1 else []
        table.add_row(name, *texts, *ratio)

    for name, seconds in (
        ("wall ms, nothing happened", [side.still.wall for side in sides]),
        ("wall ms, a few new audit events", [side.cost.wall for side in sides]),
        ("database ms, nothing happened", [side.still.database for side in sides]),
        ("database ms, a few new audit events", [side.cost.database for side in sides]),
        ("processor ms of the exporter's process", [side.cpu for side in sides]),
    ):
        add(name, seconds, [_ms(value) for value in seconds])
    statements = [side.cost.statements for side in sides]
    add("statements, a few new audit events", statements, [f"{value:g}" for value in statements])
    resident = [side.resident / _MEGABYTE for side in sides]
    add("resident MB", resident, [f"{value:.1f}" for value in resident])
    table.add_row("series from the database", *(str(side.series) for side in sides))
    return table


def targets(scale: AtScale, demo: OnDemo) -> list[Target]:
    """Compare with the project's targets."""

    def at_least(what: str, factor: float, wanted: float) -> Target:
        return Target(what, f"at least {wanted:g} x", times(factor), factor >= wanted)

    def at_most(what: str, value: float, wanted: float, unit: str) -> Target:
        return Target(what, f"at most {wanted:g} {unit}", f"{value:.3g} {unit}", value <= wanted)

    ours, theirs = demo.ours, demo.theirs
    return [
        at_least("steady: less database time than the page", scale.page.database / scale.steady.database, 100),
        at_least("every table changed: less database time", scale.page.database / scale.changed.database, 5),
        at_most("cold start to the first complete scrape", scale.cold.wall, 2, "s"),
        at_most("ten times the audit events: a scrape takes", scale.beside.wall / scale.tenth.wall, 1.3, "x"),
        at_most("small database: a scrape", ours.still.wall * 1000, 5, "ms"),
        at_most("  after a few new audit events", ours.cost.wall * 1000, 5, "ms"),
        *([at_most("  beside query-exporter", ours.cost.wall / theirs.cost.wall, 0.5, "x")] if theirs else []),
        at_most("  statements", ours.cost.statements, 8, "a scrape"),
        at_most("  resident memory", ours.resident / _MEGABYTE, 75, "MB"),
    ]


def verdict(found: Sequence[Target]) -> Table:
    """Return the table of the targets."""
    table = Table("target", "wanted", "measured", "", title="Targets", title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    for target in found:
        table.add_row(target.what, target.wanted, target.measured, "[green]met[/]" if target.met else "[red]not met[/]")
    return table
