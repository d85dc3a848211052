"""A migration that runs while the backup begins takes no row out of it."""

import asyncio
import threading
from collections.abc import Iterator

import asyncpg
import pytest

from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import Ended, Jobs, opened

MIGRATIONS = {
    "a rewrite": "alter table audit_logs add column request_id uuid not null default gen_random_uuid()",
    "a type": "alter table audit_logs alter id type numeric",
    "a refill": "create temp table kept as table audit_logs; truncate audit_logs; insert into audit_logs table kept",
    "a new table": "create table audit_more as table audit_logs; alter table audit_logs add late integer",
    "a copy in its place": "create table copy (like audit_logs including all); insert into copy table audit_logs;"
    " drop table audit_logs cascade; alter table copy rename to audit_logs",
    "a table dropped": "lock table audit_logs; drop table refresh_tokens cascade",
    "a schema moved": "create schema old; alter table refresh_tokens set schema old",
    "a cluster": "cluster audit_logs using audit_logs_pkey",
}


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.create_database("migrating")
    create(postgres.url("migrating"), "live", SCALES["small"], seed=1)
    yield postgres.url("migrating")
    postgres.drop_database("migrating")


def during(jobs: Jobs, url: str, migration: str) -> Ended:
    """Back up while a migration is under way; it ends once the backup waits for its lock."""
    holding, waited = threading.Event(), False

    async def migrate() -> None:
        connection = await asyncpg.connect(url)
        try:
            await upgrade(connection)
        finally:
            await connection.close()

    async def upgrade(connection: asyncpg.Connection) -> None:
        nonlocal waited
        async with connection.transaction():
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(migration)
            holding.set()
            for _ in range(1000):
                waited = await connection.fetchval(
                    "select exists (select from pg_locks where not granted and mode = 'AccessShareLock')"
                )
                if waited:
                    break
                await asyncio.sleep(0.01)

    migrating = threading.Thread(target=lambda: asyncio.run(migrate()))
    migrating.start()
    try:
        assert holding.wait(10)
        ended = jobs.backup(url)
    finally:
        migrating.join()
    assert waited
    return ended


@pytest.mark.parametrize("migration", MIGRATIONS.values(), ids=MIGRATIONS)
def test_a_backup_that_waits_for_a_migration_has_what_the_migration_left(jobs: Jobs, url: str, migration: str) -> None:
    ended = during(jobs, url, migration)
    assert ended.code == Exit.OK, ended.error
    assert jobs.verify().code == Exit.OK
    assert jobs.backup(url).code == Exit.OK
    then, later = (opened(jobs.backups / name)[1].contents for name in jobs.names())
    assert then.tables["public.audit_logs"].rows == 2000
    assert (then.tables, then.objects) == (later.tables, later.objects)
