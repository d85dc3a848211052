"""A job that does as it is told: `python -m tests.scripts.odd_job WHAT [ARGUMENT]`."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import click

from exporter.settings import load
from scripts.job import frame
from scripts.job.commands import JobCommand
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run, run_job
from scripts.job.settings import CleanupSettings

MARK = "ODD_JOB_MARK"
LIMIT = "ODD_JOB_LIMIT"
NAME = "ODD_JOB_NAME"
GRACE = "ODD_JOB_GRACE"
FULL = "ODD_JOB_FULL"
"""If set, no file can be written, as on a full disk."""


def mark(what: str) -> None:
    """Tell the test how far the job is."""
    with Path(os.environ[MARK]).open("a") as file:
        file.write(f"{what}\n")


async def wait(_: Run[CleanupSettings]) -> Outcome:
    child = await asyncio.create_subprocess_exec("sleep", "60")
    mark(f"child {child.pid}")
    try:
        mark("begun")
        await child.wait()
    finally:
        child.kill()
        await child.wait()
        await asyncio.sleep(0.3)
        mark("cleaned")
    return Outcome(0)


async def count(_: Run[CleanupSettings]) -> Outcome:
    return Outcome(
        7, {"tables": 46, "policy": os.sched_getscheduler(0), "event": "what is called like a log line's own key"}
    )


async def ask(run: Run[CleanupSettings]) -> Outcome:
    async with run.connect() as connection, run.connect(lock_timeout="3s") as other:
        facts = {name: await connection.fetchval(f"show {name}") for name in ("application_name", "timezone")}
        facts["lock_timeout"] = await other.fetchval("show lock_timeout")
        facts["locks"] = await other.fetchval(
            "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
            " where l.locktype = 'advisory' and d.datname = current_database()"
        )
        return Outcome(1, facts)


async def query(run: Run[CleanupSettings]) -> Outcome:
    async with run.connect() as connection:
        mark("begun")
        await connection.execute("select pg_sleep(60)")
    return Outcome(0)


async def write(run: Run[CleanupSettings]) -> Outcome:
    async with run.connect() as connection:
        await connection.execute("select 1 / 0")
    return Outcome(0)


async def dump(run: Run[CleanupSettings]) -> Outcome:
    program = await asyncio.create_subprocess_exec(
        sys.argv[2], "--schema-only", env=run.pg_environment(), stdout=subprocess.PIPE
    )
    mark(f"child {program.pid}")
    output, _ = await program.communicate()
    return Outcome(output.count(b"CREATE TABLE"), {"status": program.returncode})


async def thread(_: Run[CleanupSettings]) -> Outcome:
    mark("begun")
    await asyncio.to_thread(time.sleep, 3600)
    return Outcome(0)


async def stubborn(_: Run[CleanupSettings]) -> Outcome:
    mark("begun")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        mark("finishing")
    return Outcome(5)


async def deaf(_: Run[CleanupSettings]) -> Outcome:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def progress(run: Run[CleanupSettings]) -> Outcome:
    with run.progress("counting", 4, "rows") as rows, run.progress("reading", None, "bytes") as size:
        for _ in range(4):
            rows.advance(1)
            size.advance(5_000_000)
            await asyncio.sleep(0.05)
    return Outcome(rows.done)


async def fail(_: Run[CleanupSettings]) -> Outcome:
    raise JobError(Exit[sys.argv[2]], "the thing is broken: mend it", {"before": 3})


async def fault(_: Run[CleanupSettings]) -> Outcome:
    raise KeyError("x")


WORK: dict[str, Callable[[Run[CleanupSettings]], Awaitable[Outcome]]] = {
    work.__name__: work
    for work in (wait, count, ask, query, write, dump, thread, stubborn, deaf, progress, fail, fault)
}


@click.command("odd", cls=JobCommand)
@click.argument("what")
@click.argument("argument", default="")
@click.option("--dry-run", is_flag=True)
def command(*, what: str, argument: str, dry_run: bool) -> None:  # noqa: ARG001 - the work reads it from sys.argv
    settings = load(CleanupSettings)
    if FULL in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    frame.CLEANUP_SECONDS = float(os.environ.get(GRACE, frame.CLEANUP_SECONDS))
    name = os.environ.get(NAME, "cleanup")
    limit = float(os.environ.get(LIMIT, "60"))
    sys.exit(run_job(name, WORK[what], settings=settings, time_limit=limit, dry_run=dry_run))


if __name__ == "__main__":
    command()
