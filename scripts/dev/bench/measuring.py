"""The measurements: what runs beside what, how often, and in which state of the database."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scripts.dev.bench import naive
from scripts.dev.bench.databases import DEMO, FULL, TENTH, Life, Meter, Role, Session, processor_seconds
from scripts.dev.bench.rival import QueryExporter
from scripts.dev.bench.scraping import Client, ScrapeError, check_complete, differences, named, series_of
from scripts.dev.servers import Exporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.dev.progress import Track
    from scripts.dev.servers import Server
    from scripts.embedded.postgres import EmbeddedPostgres

# UTC, as the old page had it.
_ENVIRONMENT = {"UNIONCORE_TIMEZONE": "UTC"}
_WARM_UP = 5


class Cost:
    """What doing a thing once costs: medians of all the times it was done."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._database: list[float] = []
        self._processor: list[float] = []
        self._statements: list[int] = []

    def measure(self, meter: Meter, role: Role, act: Callable[[], float]) -> None:
        """Do it once.

        Args:
            meter: Reads what it costs the server.
            role: As whom it is done.
            act: Does it, and returns the seconds it took.
        """
        before = meter.spent(role)
        began = meter.processor()
        self._wall.append(act())
        self._processor.append(meter.processor() - began)
        after = meter.spent(role)
        self._database.append(after.seconds - before.seconds)
        self._statements.append(after.statements - before.statements)

    @property
    def wall(self) -> float:
        """Seconds, as the client sees it."""
        return median(self._wall)

    @property
    def database(self) -> float:
        """Seconds that the server took for its statements."""
        return median(self._database)

    @property
    def processor(self) -> float:
        """Seconds of processor time that they cost the server, all its processes together."""
        return median(self._processor)

    @property
    def statements(self) -> float:
        """How many statements those were."""
        return median(self._statements)


@dataclass
class AtScale:
    """What was measured on the large database.

    Attributes:
        page: A view of the old page: its eight queries, without its HTTP.
        cold: The first complete scrape, from the start of the process on.
        steady: A scrape after a few new audit events.
        changed: A scrape after a row of every table changed, beside a few new audit events.
        idle: A scrape after nothing.
        beside: As `steady`, in turns with `tenth`.
        tenth: As `steady`, with a tenth of the audit events and else the same.
    """

    page: Cost = field(default_factory=Cost)
    cold: Cost = field(default_factory=Cost)
    steady: Cost = field(default_factory=Cost)
    changed: Cost = field(default_factory=Cost)
    idle: Cost = field(default_factory=Cost)
    beside: Cost = field(default_factory=Cost)
    tenth: Cost = field(default_factory=Cost)


@dataclass
class Side:
    """One exporter on the demo's database.

    Attributes:
        cost: What a scrape after a few new audit events costs.
        still: What a scrape costs after nothing happened.
        cpu: Seconds of processor time that its process spends on one.
        resident: Bytes of memory that its process holds after them all.
        series: How many series one has.
    """

    cost: Cost = field(default_factory=Cost)
    still: Cost = field(default_factory=Cost)
    cpu: float = 0.0
    resident: int = 0
    series: int = 0


@dataclass
class OnDemo:
    """What was measured on the demo's database, the two in turns."""

    ours: Side = field(default_factory=Side)
    theirs: Side | None = None


class Bench:
    """Measures on a server that holds the databases `full`, `tenth` and `demo`."""

    def __init__(self, postgres: EmbeddedPostgres, life: ExitStack, track: Track, *, runs: int, scrapes: int) -> None:
        """Prepare.

        Args:
            postgres: The server, running.
            life: Closing it ends everything that was opened.
            track: Shows progress.
            runs: How often what takes long is done.
            scrapes: How often what takes milliseconds is done.
        """
        self._postgres = postgres
        self._life = life
        self._track = track
        self._runs = runs
        self._scrapes = scrapes
        self._meter = life.enter_context(closing(Meter(postgres)))
        self._page = self._meter.role("bench_page")
        self._exporter = self._meter.role("bench_exporter")
        self._rival = self._meter.role("bench_rival")

    def warm(self) -> None:
        """Bring every table and index into the server's cache."""
        for name in self._track("Reading everything into the cache", 3):
            database = (FULL, TENTH, DEMO)[name]
            self._postgres.psql(
                "create extension if not exists pg_prewarm;"
                "select count(pg_prewarm(oid)) from pg_class where relkind in ('r', 'i') and not relisshared",
                database,
            )

    def at_scale(self) -> AtScale:
        """Measure on the databases `full` and `tenth`.

        Raises:
            ScrapeError: The numbers compared are not the same, or a scrape was not complete.
        """
        found = AtScale()
        for _ in self._track("Cold starts", self._runs):
            self._measure_cold(found.cold)
        with ExitStack() as life:
            happen = life.enter_context(closing(Life(self._postgres.url(FULL))))
            page = life.enter_context(closing(Session(self._page.url(FULL))))
            exporter = self._start(life, FULL)
            client = self._client(life, exporter)
            self._agree(exporter, page)
            measure = self._meter, self._exporter, partial(_scrape_seconds, client)
            # In turns: whatever else the machine does meanwhile hits all alike.
            for _ in self._track("Page views and scrapes in every state", self._runs):
                found.page.measure(self._meter, self._page, lambda: _seconds(naive.page_view, page))
                happen.some_events()
                found.steady.measure(*measure)
                happen.everything()
                found.changed.measure(*measure)
                found.idle.measure(*measure)
            check_complete(client.scrape().text)
            self._beside(life, client, happen, found)
        return found

    def on_demo(self, *, rival: bool) -> OnDemo:
        """Measure on the database `demo`.

        Args:
            rival: Whether query-exporter is measured beside the exporter; it must be installed.

        Raises:
            ScrapeError: The numbers compared are not the same, or a scrape was not complete.
        """
        found = OnDemo(theirs=Side() if rival else None)
        with ExitStack() as life:
            happen = life.enter_context(closing(Life(self._postgres.url(DEMO))))
            exporter = self._start(life, DEMO)
            with closing(Session(self._page.url(DEMO))) as page:
                self._agree(exporter, page)
            sides: list[tuple[Side, Server, Role]] = [(found.ours, exporter, self._exporter)]
            if found.theirs is not None:
                query_exporter = life.enter_context(QueryExporter(self._rival, DEMO))
                _check_equal(lambda: (named(series_of(exporter)), named(series_of(query_exporter))))
                sides.append((found.theirs, query_exporter, self._rival))
            clients = [self._client(life, server) for _, server, _ in sides]
            began = [processor_seconds(server.pid) for _, server, _ in sides]
            for _ in self._track("Scrapes of the demo's database", self._scrapes):
                for (side, _, role), client in zip(sides, clients, strict=True):
                    scrape = partial(_scrape_seconds, client)
                    happen.some_events()
                    side.cost.measure(self._meter, role, scrape)
                    side.still.measure(self._meter, role, scrape)
            for (side, server, _), before in zip(sides, began, strict=True):
                side.cpu = (processor_seconds(server.pid) - before) / (2 * self._scrapes)
                side.resident = _resident_bytes(server.pid)
                side.series = len(series_of(server))
            check_complete(clients[0].scrape().text)
        return found

    def _measure_cold(self, cost: Cost) -> None:
        exporter = Exporter(self._exporter.url(FULL), env=_ENVIRONMENT)
        try:
            with closing(Client(exporter)) as client:

                def act() -> float:
                    began = time.perf_counter()
                    exporter.start()
                    text = client.scrape().text
                    seconds = time.perf_counter() - began
                    check_complete(text)
                    return seconds

                cost.measure(self._meter, self._exporter, act)
        finally:
            exporter.close()

    def _beside(self, life: ExitStack, client: Client, happen: Life, found: AtScale) -> None:
        elsewhere = life.enter_context(closing(Life(self._postgres.url(TENTH))))
        other = self._client(life, self._start(life, TENTH))
        for _ in self._track("Scrapes beside a tenth of the audit events", self._scrapes):
            happen.some_events()
            found.beside.measure(self._meter, self._exporter, partial(_scrape_seconds, client))
            elsewhere.some_events()
            found.tenth.measure(self._meter, self._exporter, partial(_scrape_seconds, other))

    def _start(self, life: ExitStack, database: str) -> Exporter:
        return life.enter_context(Exporter(self._exporter.url(database), env=_ENVIRONMENT))

    def _client(self, life: ExitStack, server: Server) -> Client:
        client = life.enter_context(closing(Client(server)))
        for _ in range(_WARM_UP):
            client.scrape()
        return client

    def _agree(self, exporter: Exporter, page: Session) -> None:
        def both() -> tuple[dict[str, float], dict[str, float]]:
            names = [query.name for query in naive.QUERIES]
            return (
                dict(zip(names, naive.page_view(page), strict=True)),
                dict(zip(names, naive.in_series(series_of(exporter)), strict=True)),
            )

        _check_equal(both)


def _check_equal(both: Callable[[], tuple[dict[str, float], dict[str, float]]]) -> None:
    # A session may expire between the two, or the day end.
    for _ in range(3):
        one, other = both()
        different = differences(one, other)
        if not different:
            return
    raise ScrapeError("what is compared is not the same:\n" + "\n".join(different))


def _seconds(act: Callable[[Session], object], session: Session) -> float:
    began = time.perf_counter()
    act(session)
    return time.perf_counter() - began


def _scrape_seconds(client: Client) -> float:
    return client.scrape().seconds


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
