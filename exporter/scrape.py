"""Scrapes: one look at the world, shared by all who ask at the same time, over before the deadline."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from exporter.board import Board, Outcome, Snapshot
from exporter.collectors.source import Source
from exporter.logs import Incidents, get_logger
from exporter.metrics import CollectError
from exporter.reading import Reader

# How long a scrape waits for the database's first answer. With the socket's refusal it is at once; a server
# that hangs is down for this scrape after so many seconds, and the attempt to reach it goes on.
ANSWER_SECONDS = 0.8


class _Flight:
    """A look that is under way. It belongs to those who wait for it: the last to leave cancels it.

    Attributes:
        seconds: How long it may take.
        deadline: When it ends, by `time.monotonic()`, whatever it has not reached by then. The time limits of its
            statements come from it and are on the server already when another one joins, so nobody moves it.
        board: What it has found so far.
        waiters: How many wait for it.
        task: Its run.
    """

    def __init__(self, deadline: float, board: Board, run: Callable[["_Flight"], "asyncio.Task[Snapshot]"]) -> None:
        self.seconds = deadline - time.monotonic()
        self.deadline = deadline
        self.board = board
        self.waiters = 0
        self.task = run(self)


class Scraper:
    """Makes snapshots."""

    def __init__(self, reader: Reader, sources: Sequence[Source]) -> None:
        self._reader = reader
        self._database_names = reader.names
        self._sources = tuple(sources)
        self._flight: _Flight | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._last_success: dict[str, float] = {}
        self._incidents = Incidents()
        self._log = get_logger("exporter")
        self.latest: Snapshot | None = None

    async def scrape(self, seconds: float) -> Snapshot:
        """Return a snapshot that was begun no earlier than the flight it joins.

        A flight's time is that of who began it. Who can't wait for its end gets what it has found so far, alone: it is
        neither cut short, nor reported on. If something failed in it, perhaps for lack of time, who can still wait as
        long as it could begins the next one. With less time than that, a look would find no more, and might well lose
        what this one has.

        Args:
            seconds: How long the caller can wait; a collector that takes longer has failed.
        """
        # The loop's clock and time.monotonic() are the same clock (asyncio's documentation of loop.time).
        deadline = time.monotonic() + seconds
        while True:
            flight = self._join(deadline)
            try:
                async with asyncio.timeout_at(deadline if deadline < flight.deadline else None):
                    snapshot = await asyncio.shield(flight.task)
            except TimeoutError:
                return self._snapshot(flight.board)
            finally:
                flight.waiters -= 1
                if not flight.waiters and not flight.task.done():
                    self._flight = None
                    flight.task.cancel()
            failed = any(outcome.error for outcome in snapshot.outcomes.values())
            if not failed or deadline - time.monotonic() < flight.seconds:
                return snapshot

    def _join(self, deadline: float) -> _Flight:
        flight = self._flight
        if flight is None or flight.task.done():
            board = Board(self._database_names, [source.name for source in self._sources])
            flight = self._flight = _Flight(deadline, board, lambda it: asyncio.create_task(self._fly(it)))
        flight.waiters += 1
        return flight

    async def close(self) -> None:
        """End what is under way, and wait for it."""
        tasks = [self._flight.task] if self._flight else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._leaving, return_exceptions=True)

    async def _fly(self, flight: _Flight) -> Snapshot:
        board = flight.board
        tasks = [asyncio.create_task(self._look(source, board)) for source in self._sources]
        tasks.append(asyncio.create_task(self._read(board, flight.deadline)))
        try:
            async with asyncio.timeout_at(flight.deadline):
                await asyncio.wait(tasks)
        except TimeoutError:
            pass
        finally:
            self._leave(tasks)
        return self._land(board)

    def _leave(self, tasks: Collection[asyncio.Task[None]]) -> None:
        # Cancelling a statement, on the server too, takes a moment: no scrape waits for it.
        for task in tasks:
            if not task.done():
                task.cancel()
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _read(self, board: Board, deadline: float) -> None:
        reading = asyncio.create_task(self._read_through(board, deadline))
        answered = asyncio.create_task(board.wait_for_answer())
        try:
            await asyncio.wait((reading, answered), timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if board.database_error is None:
                await asyncio.wait((reading,))
        finally:
            self._leave((reading, answered))

    async def _read_through(self, board: Board, deadline: float) -> None:
        try:
            await self._reader.look(board, deadline)
        except Exception as error:  # noqa: BLE001 - the boundary: it costs only the database's families
            self._log.exception("the database collectors failed unexpectedly")
            for name in self._database_names:
                board.record(name, Outcome(error=f"unexpected {type(error).__name__}: see the log"))
            self._reader.forget()

    async def _look(self, source: Source, board: Board) -> None:
        began = time.monotonic()
        try:
            samples, error = await source.collect(time.time()), None
        except CollectError as failure:
            samples, error = (), str(failure)
        except Exception as failure:  # noqa: BLE001 - the boundary: it costs only this source's families
            self._log.exception("a collector failed unexpectedly", collector=source.name)
            samples, error = (), f"unexpected {type(failure).__name__}: see the log"
        board.record(source.name, Outcome(samples, time.monotonic() - began, error))

    def _land(self, board: Board) -> Snapshot:
        self.latest = self._snapshot(board)
        self._report(board, self.latest.outcomes)
        return self.latest

    def _snapshot(self, board: Board) -> Snapshot:
        outcomes, now = board.outcomes(), time.time()
        # Remembered though the flight may yet be cancelled: a last success that was told of is never taken back.
        self._last_success |= {name: now for name, outcome in outcomes.items() if outcome.error is None}
        return Snapshot(now, board.database_error, outcomes, dict(self._last_success))

    def _report(self, board: Board, outcomes: Mapping[str, Outcome]) -> None:
        self._incidents.report("database", board.database_error)
        for name, outcome in outcomes.items():
            # While the database is down, its own line says so; its collectors' state is as it was.
            if board.database_error is None or name not in self._database_names:
                self._incidents.report(f"collector {name}", outcome.error)
