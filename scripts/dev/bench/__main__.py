"""The command of `make bench`; run `python -m scripts.dev.bench --help`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from scripts.dev.bench import report
from scripts.dev.bench.databases import DEMO, FULL, TENTH, fill, proportional, server
from scripts.dev.bench.measuring import Bench
from scripts.dev.bench.rival import InstallError, install
from scripts.dev.bench.scraping import ScrapeError
from scripts.dev.generate import SCALES
from scripts.dev.progress import progress
from scripts.dev.servers import ServerError
from scripts.embedded.postgres import PostgresError

if TYPE_CHECKING:
    from scripts.dev.progress import Track


@click.command(
    epilog="""\b
Examples:
  make bench
  make bench ARGS="--audit-rows 10000000"
  make bench ARGS="--audit-rows 100000 --cache .cache/bench\""""
)
@click.option(
    "--audit-rows",
    type=click.IntRange(min=10),
    default=1_000_000,
    show_default=True,
    help="Rows of the audit log. The other tables are in the proportion of 10,000,000 audit rows to 2,000,000 payments"
    " and 120,000 members.",
)
@click.option("--payments", type=click.IntRange(min=0), help="Dues payments, if not in proportion.")
@click.option("--members", type=click.IntRange(min=1), help="Members, if not in proportion.")
@click.option("--runs", type=click.IntRange(min=30), default=30, show_default=True, help="Of what takes long.")
@click.option(
    "--scrapes", type=click.IntRange(min=30), default=200, show_default=True, help="Of what takes milliseconds."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the generated databases in this directory, for later runs of the same day.",
)
def main(
    *, audit_rows: int, payments: int | None, members: int | None, runs: int, scrapes: int, cache: Path | None
) -> None:
    """Measure what a scrape costs the database, the client and the machine.

    Beside it, in the same run: the eight queries of the old metrics page on a large database without further indexes,
    and query-exporter publishing the same numbers on the demo's. Medians; database time is planning and execution as
    pg_stat_statements has it. The exit code says only whether it could be measured.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    full = proportional(audit_rows, payments=payments, members=members)
    # All else is the same: the audit log's size is what is asked about.
    tenth = replace(full, audit_events=audit_rows // 10)
    scales = {FULL: full, TENTH: tenth, DEMO: SCALES["demo"]}
    try:
        with progress(console) as track, ExitStack() as life:
            rival = _install(console, track)
            postgres = server(scales)
            for _ in track(
                f"Making {audit_rows:,} audit events, {full.payments:,} payments, {full.members:,} members", 1
            ):
                life.enter_context(postgres)
                fill(postgres, scales, cache)
            bench = Bench(postgres, life, track, runs=runs, scrapes=scrapes)
            version = postgres.psql("show server_version")
            bench.warm()
            demo = bench.on_demo(rival=rival is not None)
            scale = bench.at_scale()
    except (PostgresError, ServerError, ScrapeError) as error:
        raise click.ClickException(str(error)) from None
    console.print(f"\nPostgreSQL {version}, {os.cpu_count()} processor cores; medians of {runs} and of {scrapes}.\n")
    size = f"{full.audit_events:,} audit events, {full.payments:,} payments, {full.members:,} members"
    console.print(report.at_scale(scale, size))
    size = "The demo's database: {0.audit_events:,} audit events, {0.payments:,} payments, {0.members:,} members"
    console.print(report.on_demo(demo, size.format(SCALES["demo"]), f"query-exporter {rival}"))
    console.print(report.verdict(report.targets(scale, demo)))
    console.print("The first four targets are meant for 10,000,000 audit events.", style="dim")


def _install(console: Console, track: Track) -> str | None:
    version = None
    for _ in track("Installing query-exporter, once", 1):
        try:
            version = install()
        except InstallError as error:
            console.print(f"query-exporter is left out, it can't be installed: {error}", style="yellow", markup=False)
    return version


if __name__ == "__main__":
    main()
