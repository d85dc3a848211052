"""The frame that a job runs in: `run_job`, and the `Run` that the job's work is given.

    async def work(run: Run[CleanupSettings]) -> Outcome:
        async with run.connect() as connection:
            ...
        return Outcome(items=3, details={"tokens": 3})

    run_job("cleanup", work, settings=load(CleanupSettings), time_limit=1800)

Work that is told to end (a signal, the time limit) sees `asyncio.CancelledError`; its `finally` blocks have
`CLEANUP_SECONDS` to clean up. A thread can't be told: work that uses one must make it end itself.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import asyncpg

from exporter.dsn import Address
from scripts.job.console import Display, Meter
from scripts.job.database import SESSION_ERRORS, one_line, program_environment, session
from scripts.job.exits import Exit, JobError
from scripts.job.failures import explain
from scripts.job.locks import advisory_lock, file_lock
from scripts.job.reporting import Report, Reporter, Result
from scripts.job.settings import JobSettings

CLEANUP_SECONDS = 60.0
"""How long work that was told to end may take to clean up."""

S = TypeVar("S", bound=JobSettings)

_SIGNALS = {signal.SIGTERM: Exit.TERMINATED, signal.SIGINT: Exit.INTERRUPTED, signal.SIGHUP: Exit.HUNG_UP}


@dataclass(frozen=True)
class Outcome:
    """What a job has done.

    Attributes:
        items: How many things it dealt with: tables dumped, rows archived, tokens removed.
        details: Further facts for the JSON result and the log; JSON values, free of secrets.
    """

    items: int
    details: Mapping[str, object] = field(default_factory=dict)


class Run(Generic[S]):
    """What a job's work is given.

    Attributes:
        name: The job.
        settings: Its configuration.
        log: A structlog logger: `run.log.info("dumping", table="users")`.
        dry_run: True if nothing may be changed.
        started_at: When the run began, aware.
    """

    def __init__(
        self, name: str, settings: S, display: Display, *, dry_run: bool, lock: str | None, stack: AsyncExitStack
    ) -> None:
        self.name = name
        self.settings = settings
        self.log = display.log
        self.dry_run = dry_run
        self.started_at = datetime.now(UTC)
        self._display = display
        self._lock = lock
        self._holder: asyncpg.Connection | None = None
        self._stack = stack
        self._locking = asyncio.Lock()
        self._application = f"unioncore-ops/{name}"

    @property
    def address(self) -> Address:
        """Where UnionCore's database is."""
        return self.settings.address()

    def progress(self, description: str, total: int | None, unit: str) -> AbstractContextManager[Meter]:
        """Show how far something is, from entering to leaving: `meter.advance(amount)`.

        Args:
            description: What is under way (`dump`).
            total: How much there is to do, in the unit; None if that is not known.
            unit: What is counted, in the plural; `bytes` are shown as kB, MB, GB.
        """
        return self._display.progress(description, total, unit)

    @asynccontextmanager
    async def connect(self, address: Address | None = None, **settings: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, and close it: `async with run.connect() as connection`.

        The first one to UnionCore's database also takes the job's lock there, in a session of its own that lasts
        as long as the run.

        Args:
            address: Another database than UnionCore's: `dataclasses.replace(run.address, database="scratch")`.
            **settings: Server settings of the session, as text (`statement_timeout="30s"`). Without them: TimeZone
                UTC, lock_timeout 10 s, and no other limit than the job's own.

        Raises:
            JobError: The database can't be reached or refuses the login (UNREACHABLE), or another run of the job
                holds the lock (BUSY).
        """
        async with self._locking:
            if self._lock and not address:
                holder = await self._stack.enter_async_context(self._session(self.address, {}))
                await advisory_lock(holder, self._lock)
                self._holder, self._lock = holder, None
        async with self._session(address or self.address, settings) as connection:
            yield connection

    async def require_lock(self) -> None:
        """Make sure that no other run can have begun: before what two must not both do.

        Raises:
            JobError: The session with the job's lock has ended, or does not answer (UNREACHABLE).
        """
        if not self._holder:
            return
        try:
            await self._holder.execute("select 1", timeout=self.settings.connect_seconds)
        except SESSION_ERRORS as error:
            raise JobError(
                Exit.UNREACHABLE,
                f"the session with the job's lock has ended ({one_line(error)}), so that another run may be under way: "
                "run the job again",
            ) from error

    def pg_environment(self, address: Address | None = None) -> dict[str, str]:
        """Return the whole environment for pg_dump, pg_restore or psql, to be given as `env=`.

        Args:
            address: The database; UnionCore's if left out.
        """
        return program_environment(
            address or self.address, application=self._application, patience=self.settings.connect_seconds
        )

    def _session(
        self, address: Address, settings: Mapping[str, str]
    ) -> AbstractAsyncContextManager[asyncpg.Connection]:
        return session(
            address, application=self._application, patience=self.settings.connect_seconds, settings=settings
        )


def run_job(
    name: str,
    work: Callable[[Run[S]], Awaitable[Outcome]],
    *,
    settings: S,
    time_limit: float,
    locked: bool = True,
    lock: str | None = None,
    report: bool = True,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Run a job from its locks to its report.

    Args:
        name: The job, one of `exporter.jobs.KNOWN_JOBS` if it reports.
        work: What it does. Every exception of it becomes an exit code and one line.
        settings: Its configuration.
        time_limit: Seconds that the work may take.
        locked: False if it may run beside itself; a dry run takes no lock either.
        lock: The lock's name, where several jobs share one; the job's name if left out.
        report: False if the result is not pushed; that of a dry run never is.
        dry_run: True if nothing may be changed.
        as_json: True to print the result as JSON on a terminal too.

    Returns:
        The exit code (`scripts.job.exits.Exit`).
    """
    display = Display(name, settings)
    lock = (lock or name) if locked and not dry_run else None
    reporter = Reporter(settings, display.log) if report and not dry_run else None

    async def job() -> Outcome:
        async with AsyncExitStack() as stack:
            return await work(Run(name, settings, display, dry_run=dry_run, lock=lock, stack=stack))

    async def from_lock_to_report() -> tuple[Exit, threading.Timer]:
        stop = _listen()
        if reporter:
            await reporter.deliver_kept()
        began_at, began = datetime.now(UTC), time.monotonic()
        with ExitStack() as held:
            try:
                if lock:
                    held.enter_context(file_lock(settings.spool_directory, lock))
                ended: Outcome | JobError = await _attend(job(), stop, time_limit, display.log)
            except (Exception, asyncio.CancelledError) as error:
                # The boundary: whatever it is becomes an exit code and a line.
                ended = explain(error)
                display.log.debug("where it failed", exc_info=error)
            seconds = time.monotonic() - began
            _say(display.log, ended, seconds, dry_run=dry_run)
            items = ended.items if isinstance(ended, Outcome) else None
            code = Exit.OK if isinstance(ended, Outcome) else ended.exit
            fate: Report | None = None
            # A run that found another one at work has not run.
            if reporter and code is not Exit.BUSY:
                fate = await reporter.report(Result(name, time.time(), seconds, items))
        if as_json or not sys.stdout.isatty():
            result = {
                "job": name,
                "succeeded": code is Exit.OK,
                "exit": code,
                "error": str(ended) if isinstance(ended, JobError) else None,
                "started_at": began_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "seconds": round(seconds, 3),
                "items": items,
                "details": ended.details,
                "dry_run": dry_run,
                "report": fate,
            }
            try:
                print(json.dumps(result, default=str), flush=True)  # noqa: T201 - the result is what stdout is for
            except OSError as error:
                # Whoever read it has gone, which changes nothing of what was done.
                display.log.warning("nobody reads the result", error=str(error))
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A thread that work left behind must not keep the process, and with it the locks, for ever.
        watchdog = threading.Timer(CLEANUP_SECONDS, os._exit, [code])
        watchdog.daemon = True
        watchdog.start()
        return code, watchdog

    code, watchdog = asyncio.run(from_lock_to_report())
    watchdog.cancel()
    return code


def _listen() -> asyncio.Future[Exit]:
    """Return what is told the exit code of the first signal; the second one ends the process."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[Exit] = loop.create_future()
    # One that is ignored stays so: nohup, or a shell's background job.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def told(code: Exit) -> None:
        stop.set_result(code)
        for number in heard:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in heard:
        loop.add_signal_handler(number, told, _SIGNALS[number])
    return stop


async def _attend(
    work: Coroutine[Any, Any, Outcome], stop: asyncio.Future[Exit], time_limit: float, log: Any
) -> Outcome:
    """Wait for the work, until its time is over or the process is told to end.

    Raises:
        JobError: It was ended.
        Exception: Whatever the work raises.
    """
    task = asyncio.create_task(work)
    either: tuple[asyncio.Future[Any], ...] = (task, stop)
    await asyncio.wait(either, timeout=time_limit, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    ending = (
        JobError(stop.result(), f"ended by {signal.Signals(stop.result() - 128).name}")
        if stop.done()
        else JobError(Exit.TIMEOUT, f"the time limit of {time_limit:g} s has passed")
    )
    log.warning("ending", why=str(ending))
    task.cancel()
    await asyncio.wait({task}, timeout=CLEANUP_SECONDS)
    if not task.done():
        log.error("cleaning up takes too long: it is left as it is", limit=CLEANUP_SECONDS)
        raise ending
    if task.cancelled():
        raise ending
    if error := task.exception():
        log.warning("while it was ended", error=str(explain(error)))
        raise ending from error
    # The work was done before it noticed.
    return task.result()


def _say(log: Any, ended: Outcome | JobError, seconds: float, *, dry_run: bool) -> None:
    log = log.bind(**ended.details, seconds=round(seconds, 3))
    if isinstance(ended, JobError):
        log.error(str(ended), exit=int(ended.exit), meaning=ended.exit.name)
    else:
        log.info("a dry run: nothing was changed" if dry_run else "done", items=ended.items)
