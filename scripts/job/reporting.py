"""Telling the exporter how a job ended, whatever state the exporter is in.

A result goes to disk first, and is deleted when the exporter has taken it. So a result that can't be delivered now is
delivered by the next run of any job, in order; not even a crash loses one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tenacity.stop import stop_base

from exporter.clock import in_future
from exporter.collectors import jobs as families
from exporter.files import write_durably
from exporter.metrics import render
from scripts.job.exits import Exit, JobError
from scripts.job.locks import file_lock
from scripts.job.settings import JobSettings

PATIENCE = 8.0
"""Seconds that reporting may take in all."""

Report = Literal["delivered", "kept", "refused", "lost"]
"""What became of a result: the exporter has it; it waits on disk; the exporter will never take it; it is gone, for
the exporter could not be reached nor the result be kept."""

_OTHERWISE = {"kept": "the result is kept, and delivered by the next run", "lost": "the result is lost"}
_REQUEST = httpx.Timeout(3.0, connect=2.0)
# Wrong for ever: a timestamp older than what is held, or a body that is not understood. One in the future is answered
# with 503, for it may be true later.
_NEVER = {400, 413, 415}


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        job: The job's name.
        finished_at: When it ended, as a Unix timestamp in seconds.
        seconds: How long it took.
        items: How many things it dealt with; None if it failed.
    """

    job: str
    finished_at: float
    seconds: float
    items: int | None

    def body(self) -> bytes:
        """Return the push. A failure leaves out the last success and the items: the exporter keeps those it has."""
        values = {
            families.LAST_RUN: self.finished_at,
            families.LAST_RUN_SUCCEEDED: float(self.items is not None),
            families.LAST_RUN_DURATION: self.seconds,
        }
        if self.items is not None:
            values |= {families.LAST_SUCCESS: self.finished_at, families.LAST_RUN_ITEMS: float(self.items)}
        # The path of the push gives the job's name.
        return render(replace(family, labels=())(value) for family, value in values.items())[0]


_RESULT = TypeAdapter(Result)


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


class _LaterError(Exception):
    """The exporter can't take a result at the moment; the message says why."""


class _DeniedError(Exception):
    """The exporter takes no result from us as things are set; the message says what to set."""


class _NeverError(Exception):
    """The exporter will never take a result; the message says why."""


class Reporter:
    """Delivers results.

    Args:
        settings: Where to, with which token, and where results are kept.
        log: A structlog logger.
    """

    def __init__(self, settings: JobSettings, log: Any) -> None:
        self._url = settings.exporter_url
        token = settings.push_token.get_secret_value() if settings.push_token else None
        # Bytes: a str would have to be ASCII.
        self._headers = {b"Authorization": b"Bearer " + token.encode()} if token else {}
        self._spool = settings.spool_directory
        self._log = log

    async def deliver_kept(self) -> None:
        """Deliver what earlier runs could not; never raises, and tries but once, for the job at hand waits."""
        if self._kept():
            await self._deliver((), stop_after_attempt(1), otherwise="results of earlier runs still wait")

    async def report(self, result: Result) -> Report:
        """Deliver a result, after those that are still kept; never raises, and takes `PATIENCE` at most.

        Args:
            result: How the run ended.
        """
        undelivered: Report = "kept"
        try:
            self._keep(result)
        except OSError as error:
            self._log.warning("the result can't be kept on disk", error=str(error))
            undelivered = "lost"
        fates = await self._deliver(
            () if undelivered == "kept" else (result,),
            stop_after_attempt(4),
            otherwise=_OTHERWISE[undelivered],
        )
        return fates.get(result, undelivered)

    def _keep(self, result: Result) -> None:
        superseded = [
            path
            for path, older in self._kept()
            # What stays is enough for the exporter to end up with the last run and the last success. A run that ended
            # before this one, by a clock that was ahead, never ended when it says: then this one is all that is known.
            if older.job == result.job
            and (
                in_future(older.finished_at, result.finished_at)
                or (older.finished_at <= result.finished_at and (older.items is None or result.items is not None))
            )
        ]
        write_durably(self._spool / f"{result.finished_at:.6f}-{result.job}.json", _RESULT.dump_json(result))
        for path in superseded:
            self._delete(path)

    def _kept(self) -> list[tuple[Path, Result]]:
        """Return what is kept, the oldest first."""
        kept: list[tuple[Path, Result]] = []
        try:
            paths = sorted(self._spool.glob("*.json"))
        except OSError as error:
            self._log.warning("results of earlier runs can't be looked for", error=str(error))
            return kept
        for path in paths:
            try:
                kept.append((path, _RESULT.validate_json(path.read_bytes())))
            except FileNotFoundError:
                continue  # Another run has just delivered it.
            except (OSError, ValueError) as error:
                self._log.error("a kept result can't be read: delete it", path=str(path), error=type(error).__name__)
        return kept

    async def _deliver(self, unkept: Collection[Result], stop: stop_base, *, otherwise: str) -> dict[Result, Report]:
        """Deliver what is kept, in order, and then what is not, even if what is kept can't be delivered.

        Args:
            unkept: What is not.
            stop: How often to try.
            otherwise: What to log if not all can be delivered.

        Returns:
            What became of those that are no longer waiting.
        """
        fates: dict[Result, Report] = {}
        try:
            # A transport of our own: no proxy from the environment gets to see the token.
            async with (
                asyncio.timeout(PATIENCE),
                self._alone(),
                # Reading all certificates takes as long as everything else here.
                httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(verify=self._url.startswith("https:")),
                    headers=self._headers,
                    timeout=_REQUEST,
                ) as client,
            ):
                # What is not kept is lost if its turn does not come.
                end = asyncio.get_running_loop().time() + PATIENCE / 2 if unkept else None
                held_up = False
                for path, result in self._due(unkept):
                    if path is None:
                        fates[result] = await self._send(client, result, stop)
                    elif not held_up:
                        try:
                            async with asyncio.timeout_at(end):
                                fates[result] = await self._send(client, result, stop)
                            self._delete(path)
                        except Exception as error:
                            if not unkept:
                                raise
                            held_up = True
                            self._complain(error, "results of earlier runs still wait")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to end a job, or not to begin it
            self._complain(error, otherwise)
        return fates

    def _due(self, unkept: Collection[Result]) -> Iterator[tuple[Path | None, Result]]:
        """Yield what is kept and what is not in the order of time, but none whose time has not come."""
        waiting = [*self._kept(), *((None, result) for result in unkept)]
        for path, result in sorted(waiting, key=lambda one: one[1].finished_at):
            if in_future(result.finished_at, time.time()):
                # It holds up none that does not lie ahead.
                self._log.warning(
                    "a result waits until its time has come: the clock was ahead",
                    of=result.job,
                    finished_at=_written(result.finished_at),
                )
            else:
                yield path, result

    def _complain(self, error: Exception, consequence: str) -> None:
        match error:
            case TimeoutError():
                why = f"{self._url} takes longer than {PATIENCE:g} s"
            case _DeniedError() | _LaterError() | OSError():
                why = str(error)
            case _:
                # Its words may hold the token.
                why = type(error).__name__
        log = self._log.error if isinstance(error, _DeniedError) else self._log.warning
        log(consequence, why=why)

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # It is delivered again, which changes nothing, and those after it are not held up.
            self._log.error("a kept result can't be deleted: delete it", path=str(path), error=error.strerror)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Wait until no other job delivers: two at once would be out of order."""
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(file_lock(self._spool, "deliver"))
                except JobError as error:
                    if error.exit is Exit.BUSY:
                        await asyncio.sleep(0.1)
                        continue
                break
            yield

    async def _send(self, client: httpx.AsyncClient, result: Result, stop: stop_base) -> Report:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_LaterError), stop=stop, wait=wait_exponential(0.25, max=2), reraise=True
        )
        finished_at = _written(result.finished_at)
        try:
            await attempts(self._attempt, client, result)
        except _NeverError as error:
            self._log.error(
                "the exporter refuses a result, which is dropped",
                of=result.job,
                finished_at=finished_at,
                why=str(error),
            )
            return "refused"
        self._log.debug("delivered", of=result.job, finished_at=finished_at)
        return "delivered"

    async def _attempt(self, client: httpx.AsyncClient, result: Result) -> None:
        try:
            answer = await client.post(f"{self._url}/metrics/job/{result.job}", content=result.body())
        except httpx.HTTPError as error:
            # A protocol error's words may hold the header with the token.
            words = str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__
            raise _LaterError(f"{self._url} can't be reached: {words}") from error
        said = f"{self._url} answers {answer.status_code}: {answer.text.strip()[:200]}"
        if answer.is_success:
            return
        if answer.status_code in _NEVER:
            raise _NeverError(said)
        if answer.is_server_error:
            raise _LaterError(said)
        raise _DeniedError(f"{said} (look at UNIONCORE_EXPORTER_URL and UNIONCORE_PUSH_TOKEN)")
