"""A server that has crashed may have forgotten what it had committed, and what was counted."""

import asyncio
import os
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from exporter.holding import CountPolicy
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from tests.looking import exporting
from tests.rows import Writer


@pytest.fixture
def careless() -> Iterator[EmbeddedPostgres]:
    """A server that tells of a commit before it is on disk, as `synchronous_commit = off` does anywhere."""
    with EmbeddedPostgres(
        settings={"wal_writer_delay": "10s", "autovacuum": "off", "synchronous_commit": "off"}
    ) as server:
        server.create_database("unioncore")
        create(server.url("unioncore"), "live", SCALES["small"], seed=1)
        yield server


async def recovered(url: str) -> asyncpg.Connection:
    """Connect as soon as the server has recovered."""
    for _ in range(400):
        try:
            return await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.sleep(0.05)
    raise TimeoutError


async def test_rows_that_a_crash_has_lost_are_not_counted_although_their_transactions_numbers_come_again(
    careless: EmbeddedPostgres,
) -> None:
    url = careless.url("unioncore")
    async with exporting(url, policy=CountPolicy(small_rows=10**9)) as exporter:
        for _ in range(5):
            victim, connection = await recovered(url), await recovered(url)
            writer = Writer(connection, live=True)
            await exporter.look()
            await connection.execute("checkpoint")
            # What is on disk ends here; what follows waits for whoever writes the log, who has just done so.
            lost = await writer.insert("members")
            await exporter.look()
            counted_in = await connection.fetchval("select pg_current_snapshot()::text")
            os.kill(victim.get_server_pid(), signal.SIGKILL)
            await asyncio.sleep(0.1)
            victim.terminate()
            connection.terminate()
            connection = await recovered(url)
            if await connection.fetchval("select count(*) from members where id = $1", lost) == 0:
                break
            await connection.close()
        else:
            pytest.skip("the server lost nothing")
        while await connection.fetchval("select pg_current_snapshot()::text") != counted_in:
            await connection.execute("comment on table grants is 'a transaction'")
        members = await connection.fetchval(
            "select count(*) from members where status = 'ACTIVE' and classification = 'FOREMAN' and not is_deleted"
        )
        published = await exporter.look()
        await connection.close()
    assert published["unioncore_members", ("active", "foreman")] == members
