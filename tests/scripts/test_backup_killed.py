"""A backup that is killed at any moment leaves no half backup, and the next run finishes the work."""

import asyncio
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGKILL

import asyncpg
import pytest

from exporter.manifests import MANIFEST_SUFFIX
from exporter.s3 import S3Store, s3_client
from exporter.storage import BackupStore, LocalStore
from scripts.backup.sealing import unseal
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs
from tests.scripts.forking import Forked
from tests.scripts.running import Found, environment, run
from tests.storing import moto, upload, use_s3

BACKUP = ("scripts.ops", "backup")
BUCKET = "backups"


@contextmanager
def inserting(url: str) -> Iterator[None]:
    """Audit events keep coming."""
    stop = threading.Event()

    async def write() -> None:
        connection = await asyncpg.connect(url)
        while not stop.is_set():
            await connection.execute("insert into audit_logs (table_name, record_id, action) values ('t', '1', 'READ')")
            await asyncio.sleep(0.002)
        await connection.close()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def kill_again_and_again(
    jobs: Jobs, url: str, monkeypatch: pytest.MonkeyPatch, exporter: str, *, rng: random.Random, times: int
) -> str:
    """Kill backups, look at what is left after each, let the last one finish; return what was seen, as a sentence."""
    seen = Counter[str]()
    for days in (60, 50, 40):
        jobs.add(f"unioncore-20200101T0000000{days}Z.dump", days=days, proven=days == 50)
    with moto() as server:
        use_s3(monkeypatch, server.url)
        client = s3_client(path_style=True)
        client.create_bucket(Bucket=BUCKET)
        upload(client, BUCKET, {path.name: path.read_bytes() for path in jobs.backups.iterdir()})
        scratch = jobs.backups.with_name("scratch")
        scratch.mkdir()
        env = environment(
            jobs.backups, url, exporter=exporter, TMPDIR=str(scratch),
            UNIONCORE_PG_BIN=str(jobs.server.bin("pg_dump").parent),
            S3_BUCKET=BUCKET, S3_PATH_STYLE="true", RETENTION_DAYS="1", UNIONCORE_MIN_KEEP="2",
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        )  # fmt: skip
        stores: tuple[BackupStore, ...] = (LocalStore(jobs.backups), S3Store(BUCKET, client=lambda: client))

        def content(store: BackupStore, name: str) -> bytes:
            if store.location == "local":
                return (jobs.backups / name).read_bytes()
            return client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

        began = time.monotonic()
        assert run(BACKUP, env).code == Exit.OK
        whole = time.monotonic() - began
        with inserting(url):
            while seen["killed"] < times:
                process = Forked(BACKUP, env)
                process.wait(rng.uniform(0, whole))
                # Only itself: pg_dump must find out that nobody reads any more.
                process.signal(SIGKILL)
                seen["killed"] += process.finish(60) == -SIGKILL
                seen["runs"] += 1
                here, off_site = (check(store, content) for store in stores)
                assert list(scratch.iterdir()) == []
                seen["left a partial file"] += any(jobs.backups.glob(".unioncore-*"))
                seen["left a dump without a manifest"] += len(list(jobs.backups.glob("*.dump"))) > len(here)
                seen["left a backup that is not off site"] += here[-1] != off_site[-1]
        ended = run(BACKUP, env)
        assert ended.code == Exit.OK, ended
        for store in stores:
            assert check(store, content)[-1] == ended.result["details"]["name"]
            assert "unioncore-20200101T000000050Z.dump" in check(store, content)
        assert list(jobs.backups.glob(".unioncore-*")) == []
        jobs.use(S3_BUCKET=BUCKET, S3_PATH_STYLE="true", DATABASE_URL=url)
        assert jobs.verify().code == Exit.OK
        counted = f"{len(check(stores[0], content))} backups here and {len(check(stores[1], content))} off site count"
        told = ", ".join(f"{number:,} {what}" for what, number in seen.items())
        return f"{told}; after the last run {counted}, all of them whole"


def check(store: BackupStore, content: Callable[[BackupStore, str], bytes]) -> list[str]:
    """Every backup that counts is whole; at least two count, and the proven one is among them. Their names."""
    names = [backup.manifest.name for backup in store.list_backups(time.time()).backups]
    assert len(names) >= 2
    assert "unioncore-20200101T000000050Z.dump" in names
    for name in names:
        if not name.startswith("unioncore-2020"):
            manifest, _ = unseal(content(store, name + MANIFEST_SUFFIX), name)
            assert hashlib.sha256(content(store, name)).hexdigest() == manifest.sha256
    return names


def test_a_killed_backup_leaves_nothing_half(
    jobs: Jobs, live_url: str, monkeypatch: pytest.MonkeyPatch, exporter_url: str
) -> None:
    assert "3 killed" in kill_again_and_again(jobs, live_url, monkeypatch, exporter_url, rng=random.Random(3), times=3)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_hundred_killed_backups_leave_nothing_half(
    jobs: Jobs, live_url: str, monkeypatch: pytest.MonkeyPatch, exporter_url: str, found: Found
) -> None:
    found(kill_again_and_again(jobs, live_url, monkeypatch, exporter_url, rng=random.Random(), times=100))
