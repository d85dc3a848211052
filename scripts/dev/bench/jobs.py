"""The command of `make bench-jobs`: backup and archive beside the pipelines that they replace.

Run `python -m scripts.dev.bench.jobs --help` for its options.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from scripts.dev.bench import report
from scripts.dev.bench.databases import FULL, TENTH, fill, proportional
from scripts.dev.progress import progress
from scripts.dev.servers import Exporter, ServerError
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scripts.dev.progress import Track

MAJOR = 17
"""Its pg_dump can compress with zstd, which that of 18's wheel can't."""
_SETTINGS = {"shared_buffers": "128MB"}
"""What a server comes with that nobody has configured."""
_SMALL = {"UNIONCORE_BACKUP_ZSTD_LEVEL": "6"}
"""The first level at which a backup is smaller than gzip's."""
_KEPT_DAYS = 30
"""What is younger is not archived."""
_SHELL = ("/bin/bash", "-o", "pipefail", "-c")
_NAIVE_BACKUP = 'pg_dump "$SOURCE" | gzip > "$TARGET/naive.sql.gz"'
_NAIVE_ARCHIVE = (
    'psql -X -q "$SOURCE" -c "copy (select * from audit_logs where changed_at < (now() at time zone \'UTC\')'
    f' - interval \'{_KEPT_DAYS} days\') to stdout with (format csv, header)" | gzip > "$TARGET/naive.csv.gz"'
)
_BACKUP = (sys.executable, "-m", "scripts.ops", "backup")
_UNDIGESTED = (sys.executable, "-m", "scripts.dev.bench.undigested")
_ARCHIVE = (sys.executable, "-m", "scripts.ops", "archive")
_MEGABYTE = 1e6


class JobFailedError(RuntimeError):
    """What is measured failed; the message is what it said."""


class Way(NamedTuple):
    """A way to do a job, as it was measured.

    Attributes:
        seconds: From its start to its end, the median.
        size: Bytes that it made.
        resident: The most memory that its process, not its children, ever had, in bytes; the largest of all runs.
    """

    seconds: float
    size: int
    resident: int


class Found(NamedTuple):
    """All that was measured.

    Attributes:
        naive_backup: pg_dump to gzip.
        backup: The job.
        undigested: The job without digests.
        small: The job, with a higher level of compression.
        naive_archive: COPY to gzip.
        archive: The job.
        tenth: The job, on a tenth of the rows.
    """

    naive_backup: Way
    backup: Way
    undigested: Way
    small: Way
    naive_archive: Way
    archive: Way
    tenth: Way


class Bench:
    """Runs jobs and pipelines on a server's databases.

    Args:
        postgres: The server, with databases of both sizes.
        exporter: Is told how the jobs end.
        directory: An empty directory for what they make.
    """

    def __init__(self, postgres: EmbeddedPostgres, exporter: Exporter, directory: Path) -> None:
        self._postgres = postgres
        self._exporter = exporter
        self._directory = directory

    def measure(self, track: Track, runs: int) -> Found:
        """Measure everything, so many times in turns."""
        ways: dict[str, Callable[[], Way]] = {
            "naive_backup": lambda: self._run((*_SHELL, _NAIVE_BACKUP), FULL),
            "backup": lambda: self._run(_BACKUP, FULL),
            "undigested": lambda: self._run(_UNDIGESTED, FULL),
            "small": lambda: self._run(_BACKUP, FULL, **_SMALL),
            "naive_archive": lambda: self._run((*_SHELL, _NAIVE_ARCHIVE), FULL),
            "archive": lambda: self._run(_ARCHIVE, FULL),
            "tenth": lambda: self._run(_ARCHIVE, TENTH),
        }
        found: dict[str, list[Way]] = {name: [] for name in ways}
        for _ in track("Measuring", runs):
            for name, way in ways.items():
                found[name].append(way())
        return Found(
            **{
                name: Way(median(way.seconds for way in some), some[0].size, max(way.resident for way in some))
                for name, some in found.items()
            }
        )

    def _run(self, argv: tuple[str, ...], database: str, **variables: str) -> Way:
        target = self._directory / "target"
        target.mkdir()
        try:
            began = time.monotonic()
            with (self._directory / "log").open("wb") as log:
                env = {**self._environment(target, database), **variables}
                process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
                resident = _watch(process)
            seconds = time.monotonic() - began
            if process.returncode:
                raise JobFailedError((self._directory / "log").read_text(errors="replace")[-2000:])
            size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        finally:
            shutil.rmtree(target)
        return Way(seconds, size, resident)

    def _environment(self, target: Path, database: str) -> Mapping[str, str]:
        programs = str(self._postgres.bin("pg_dump").parent)
        return {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "SOURCE": f"host={self._postgres.host} port={self._postgres.port} user=postgres dbname={database}",
            "TARGET": str(target),
            "PGPASSWORD": self._postgres.password,
            "DATABASE_URL": self._postgres.url(database),
            "BACKUP_DIR": str(target),
            "ARCHIVE_THRESHOLD_DAYS": str(_KEPT_DAYS),
            "UNIONCORE_PG_BIN": programs,
            "UNIONCORE_SPOOL_DIR": str(self._directory / "spool"),
            "UNIONCORE_EXPORTER_URL": self._exporter.url,
        }


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the most memory that it ever had, in bytes."""
    peak = 0
    while process.poll() is None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        time.sleep(0.01)
    return peak


def table(found: Found, title: str) -> Table:
    """Return the table of what was measured; a ratio is the pipeline's number to the job's."""
    shown = Table("", "seconds", "ratio", "MB made", "ratio", "peak memory MB", title=title, title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"

    def add(name: str, way: Way, beside: Way | None = None) -> None:
        shown.add_row(
            name,
            f"{way.seconds:.2f}",
            report.times(beside.seconds / way.seconds) if beside else "",
            f"{way.size / _MEGABYTE:.1f}",
            report.times(beside.size / way.size) if beside else "",
            f"{way.resident / _MEGABYTE:.1f}" if beside else "",
        )

    add("pg_dump | gzip", found.naive_backup)
    add("backup", found.backup, found.naive_backup)
    add("  without the manifest's digests", found.undigested, found.naive_backup)
    add("  compressed harder (zstd level 6)", found.small, found.naive_backup)
    shown.add_section()
    add("COPY | gzip", found.naive_archive)
    add("archive", found.archive, found.naive_archive)
    shown.add_section()
    shown.add_row(
        "archive of a tenth of the events",
        f"{found.tenth.seconds:.2f}",
        "",
        f"{found.tenth.size / _MEGABYTE:.1f}",
        "",
        f"{found.tenth.resident / _MEGABYTE:.1f}",
    )
    return shown


def targets(found: Found) -> list[report.Target]:
    """Compare with the project's targets."""
    faster = found.naive_backup.seconds / found.backup.seconds
    smaller = found.naive_backup.size / found.backup.size
    archive = found.naive_archive.seconds / found.archive.seconds
    memory = found.archive.resident / _MEGABYTE
    growth = found.archive.resident / found.tenth.resident
    cost = found.backup.seconds / found.undigested.seconds - 1
    return [
        report.Target("backup: faster than pg_dump | gzip", "at least 2 x", report.times(faster), faster >= 2),
        report.Target("  and not larger", "at least 1 x", report.times(smaller), smaller >= 1),
        report.Target("archive: faster than COPY | gzip", "at least 1.8 x", report.times(archive), archive >= 1.8),
        report.Target("  peak memory of the process", "under 100 MB", f"{memory:.1f} MB", memory < 100),
        report.Target("  for ten times the events", "at most 1.1 x", report.times(growth), growth <= 1.1),
        report.Target("cost of the manifest's digests", "(told)", f"{cost:+.0%} time", met=True),
    ]


@click.command(
    epilog="""\b
Examples:
  make bench-jobs
  make bench-jobs ARGS="--audit-rows 200000 --runs 1"
  make bench-jobs ARGS="--cache .cache/bench\""""
)
@click.option("--audit-rows", type=click.IntRange(min=100), default=2_000_000, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Of each, in turns.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the generated databases in this directory, for later runs of the same day.",
)
def main(*, audit_rows: int, runs: int, cache: Path | None) -> None:
    """Measure backup and archive beside the shell pipelines that they replace, in turns; medians.

    The jobs do all that they do: the backup digests every table, reads its own dump back and pushes its result; the
    archive reads every file back before it counts. The exit code says only whether it could be measured.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    full = proportional(audit_rows)
    scales = {FULL: full, TENTH: proportional(audit_rows // 10)}
    try:
        with progress(console) as track, ExitStack() as life:
            postgres = EmbeddedPostgres(MAJOR, settings=_SETTINGS)
            for _ in track(f"Making {audit_rows:,} audit events and {full.payments:,} payments", 1):
                life.enter_context(postgres)
                fill(postgres, scales, cache)
            exporter = life.enter_context(Exporter(postgres.url(TENTH)))
            directory = make_directory("unioncore-bench-")
            life.callback(remove_directory, directory)
            found = Bench(postgres, exporter, directory).measure(track, runs)
            version = postgres.psql("show server_version")
    except (PostgresError, ServerError, JobFailedError) as error:
        raise click.ClickException(str(error)) from None
    console.print(f"\nPostgreSQL {version}, {os.cpu_count()} processor cores; medians of {runs}.\n")
    size = f"{full.audit_events:,} audit events, {full.payments:,} payments, {full.members:,} members"
    console.print(table(found, size))
    console.print(report.verdict(targets(found)))


if __name__ == "__main__":
    main()
