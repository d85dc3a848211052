"""What a scrape does when the database is stopped, frozen, full, or not there yet."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest

from exporter.board import HEALTH
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from tests.exporting import END_EXPORTERS, connected, errors, exporter_sessions, families, scraping

HEALTH_NAMES = {family.name for family in HEALTH}


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped, frozen and filled up."""
    # What was committed must survive its crashes.
    settings = {"max_connections": "12", "superuser_reserved_connections": "2", "synchronous_commit": "on"}
    with EmbeddedPostgres(settings=settings) as server:
        server.create_database("unioncore")
        create(server.url("unioncore"), "live", SCALES["small"], seed=1)
        server.psql("create role reader login password 'reader'; grant pg_read_all_data to reader", "unioncore")
        yield server


@pytest.fixture
def own_url(own_server: EmbeddedPostgres) -> str:
    return own_server.url("unioncore", user="reader", password="reader")


async def test_a_stopped_database_is_down_within_a_second_and_whole_again_when_it_returns(
    own_server: EmbeddedPostgres, own_url: str
) -> None:
    async with scraping(own_url) as scraper:
        assert errors(await scraper.scrape(5)) == {}
        await asyncio.to_thread(own_server.stop, "immediate")
        for _ in range(2):
            began = time.monotonic()
            snapshot = await scraper.scrape(5)
            assert time.monotonic() - began < 1
            assert snapshot.database_error
            assert families(snapshot) <= HEALTH_NAMES
            assert snapshot.samples()[0].value == 0
        await asyncio.to_thread(own_server.start)
        snapshot = await scraper.scrape(5)
        assert snapshot.database_error is None
        assert errors(snapshot) == {}


async def test_a_restart_between_two_scrapes_is_not_noticed(own_server: EmbeddedPostgres, own_url: str) -> None:
    async with scraping(own_url) as scraper:
        await scraper.scrape(5)
        await asyncio.to_thread(own_server.restart)
        snapshot = await scraper.scrape(5)
        assert snapshot.database_error is None
        assert errors(snapshot) == {}


async def test_sessions_that_end_as_they_are_asked_are_not_noticed(own_url: str) -> None:
    async with scraping(own_url) as scraper, connected(own_url) as administrator:
        # The server's goodbye, the end of the connection and the question come in any order.
        for _ in range(20):
            snapshot = await scraper.scrape(5)
            assert (snapshot.database_error, errors(snapshot)) == (None, {})
            await administrator.execute(END_EXPORTERS)


async def test_a_frozen_database_is_down_within_a_second_and_whole_again_when_it_thaws(
    own_server: EmbeddedPostgres, own_url: str
) -> None:
    async with scraping(own_url) as scraper:
        assert errors(await scraper.scrape(5)) == {}
        own_server.freeze()
        try:
            for _ in range(5):
                began = time.monotonic()
                snapshot = await scraper.scrape(5)
                assert time.monotonic() - began < 1
                assert snapshot.database_error == "it did not answer in time"
                assert families(snapshot) <= HEALTH_NAMES
        finally:
            own_server.thaw()
        for _ in range(10):
            snapshot = await scraper.scrape(5)
            if snapshot.database_error is None:
                break
            await asyncio.sleep(0.3)
        assert snapshot.database_error is None
        assert errors(snapshot) == {}
        assert len(await exporter_sessions(own_url)) <= 2


async def test_an_exporter_that_starts_before_its_database_needs_no_restart(
    own_server: EmbeddedPostgres, own_url: str
) -> None:
    await asyncio.to_thread(own_server.stop)
    try:
        async with scraping(own_url) as scraper:
            assert (await scraper.scrape(5)).database_error
            await asyncio.to_thread(own_server.start)
            assert errors(await scraper.scrape(5)) == {}
    finally:
        await asyncio.to_thread(own_server.start)


async def test_a_wrong_password_is_named_and_the_right_one_never_shown(own_server: EmbeddedPostgres) -> None:
    async with scraping(own_server.url("unioncore", user="reader", password="wr0ng-s3cret")) as scraper:
        snapshot = await scraper.scrape(5)
    assert snapshot.database_error is not None
    assert "password authentication failed" in snapshot.database_error
    assert "wr0ng" not in repr(snapshot)


async def test_a_full_connection_table_is_down_until_there_is_room(own_url: str) -> None:
    crowd = [await asyncpg.connect(own_url) for _ in range(10)]
    try:
        async with scraping(own_url) as scraper:
            snapshot = await scraper.scrape(5)
            assert snapshot.database_error is not None
            assert "slots are reserved" in snapshot.database_error or "too many clients" in snapshot.database_error
            for connection in crowd:
                await connection.close()
            await asyncio.sleep(0.2)
            assert errors(await scraper.scrape(5)) == {}
    finally:
        for connection in crowd:
            await connection.close()


async def test_a_failure_is_logged_once_when_it_begins_and_once_when_it_ends(
    own_server: EmbeddedPostgres, own_url: str
) -> None:
    lines: list[tuple[str, str]] = []
    async with scraping(own_url) as scraper:
        scraper._incidents._log = _Recorder(lines)
        await scraper.scrape(5)
        await asyncio.to_thread(own_server.stop, "immediate")
        for _ in range(3):
            await scraper.scrape(5)
        await asyncio.to_thread(own_server.start)
        for _ in range(3):
            await scraper.scrape(5)
    assert lines == [("failure begins", "database"), ("failure ends", "database")]


class _Recorder:
    def __init__(self, lines: list[tuple[str, str]]) -> None:
        self._lines = lines

    def error(self, event: str, *, what: str, error: str) -> None:  # noqa: ARG002 - the log's own form
        self._lines.append((event, what))

    def info(self, event: str, *, what: str) -> None:
        self._lines.append((event, what))
