"""The run that lists what is in the archive."""

import sys

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from scripts.archive.place import open_archive
from scripts.archive.settings import ListSettings
from scripts.job.exits import JobError
from scripts.job.frame import Outcome, Run


async def show(run: Run[ListSettings]) -> Outcome:
    """Show every chunk.

    Raises:
        JobError: Some are damaged (NOT_VERIFIED); all others are shown.
    """
    place = open_archive(run.settings)
    holdings = await place.holdings()
    table = Table("file", "rows", "oldest (UTC)", "newest (UTC)", "size", "class", box=None, header_style="bold")
    found: list[dict[str, object]] = []
    chunks, damaged = await place.load_whole(holdings.chunks)
    for chunk in chunks:
        facts, storage_class = chunk.facts, holdings.chunks[chunk.name].storage_class
        table.add_row(
            chunk.name.key,
            f"{facts.rows:,}",
            f"{facts.oldest:%Y-%m-%d %H:%M}",
            f"{facts.newest:%Y-%m-%d %H:%M}",
            decimal(chunk.manifest.size),
            storage_class or "-",
        )
        found.append(
            {
                "key": chunk.name.key,
                "rows": facts.rows,
                "oldest": facts.oldest.isoformat(),
                "newest": facts.newest.isoformat(),
                "size": chunk.manifest.size,
                "storage_class": storage_class,
            }
        )
    for key in sorted(holdings.orphans):
        run.log.warning("this file has no manifest: the next run of `archive` completes or removes it", file=key)
    if sys.stdout.isatty():
        Console().print(table)
    details: dict[str, object] = {"location": place.location, "chunks": found}
    for error in damaged:
        raise JobError(error.exit, f"{error} ({len(damaged)} such files)", details)
    return Outcome(len(found), details)
