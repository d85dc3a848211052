"""What the backups collectors publish, and what they leave out."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.collectors.backups import LAST_VERIFIED, BackupsSource
from exporter.manifests import MANIFEST_SUFFIX, name_at
from exporter.metrics import CollectError, Sample
from exporter.s3 import S3Store
from exporter.storage import BackupStore, Entry, LocalStore, StoreError
from tests.storing import DUMP, HOUR, NOW, backup, fill, hung_server, moto, path_style, upload, use_s3

source_of = partial(BackupsSource, database="unioncore")


class MemoryStore(BackupStore):
    """A store that can be slow or fail."""

    def __init__(self, location: str = "s3") -> None:
        super().__init__()
        self.location = location
        self.files: dict[str, bytes] = {}
        self.unreadable: set[str] = set()
        self.error: Exception | None = None
        self.listings = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def _files(self) -> Iterator[Entry]:
        self.listings += 1
        self.go_on.wait(10)
        if self.error:
            raise self.error
        return (Entry(name, len(content), str(hash(content))) for name, content in self.files.items())

    def _read(self, name: str) -> bytes:
        if name in self.unreadable:
            raise PermissionError(13, "it lies in cold storage", name)
        return self.files[name]


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.go_on.set()


def values(samples: Sequence[Sample]) -> dict[str, float]:
    """Families without their prefix, with the location."""
    return {
        " ".join([sample.family.name.removeprefix("unioncore_"), *sample.labels]): sample.value for sample in samples
    }


async def test_the_newest_backup_of_a_directory_is_published(tmp_path: Path) -> None:
    fill(tmp_path, backup("a.dump", age=2 * HOUR, verified=True) | backup("b.dump", age=HOUR) | {"c.partial": DUMP})
    source = source_of(LocalStore(tmp_path))
    assert source.name == "backups_local"
    samples = await source.collect(NOW)
    assert values(samples) == {
        "backups local": 2,
        "backup_last_success_timestamp_seconds local": NOW - HOUR,
        "backup_age_seconds local": HOUR,
        "backup_size_bytes local": len(DUMP),
        "backup_last_verified_timestamp_seconds": NOW - 2 * HOUR,
    }
    assert {sample.family for sample in samples} == set(source.families)


async def test_an_empty_store_has_0_backups_and_no_other_series(tmp_path: Path) -> None:
    assert values(await source_of(LocalStore(tmp_path)).collect(NOW)) == {"backups local": 0}


async def test_a_new_backup_is_seen_by_the_next_scrape_of_a_directory(tmp_path: Path) -> None:
    source = source_of(LocalStore(tmp_path))
    for count in range(3):
        assert values(await source.collect(NOW))["backups local"] == count
        fill(tmp_path, backup(f"{count}.dump"))


async def test_a_missing_directory_fails_the_collector_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match=rf"{tmp_path}/none does not exist: create it, or set BACKUP_DIR"):
        await source_of(LocalStore(tmp_path / "none")).collect(NOW)


async def test_a_backup_that_was_finished_a_moment_ahead_has_age_0(store: MemoryStore) -> None:
    store.files = backup("a.dump", age=-30)
    assert values(await source_of(store).collect(NOW))["backup_age_seconds s3"] == 0


async def test_what_looks_like_a_backup_and_is_none_is_logged_once(store: MemoryStore) -> None:
    store.files = backup("a.dump") | {"b.dump.json": b"{"}
    source = source_of(store)
    with capture_logs() as logs:
        for _ in range(2):
            await source.collect(NOW)
    assert logs == [
        {
            "event": "this is no backup", "log_level": "warning", "location": "s3",
            "file": "b.dump.json", "reason": "there is no dump beside it",
        }
    ]  # fmt: skip


async def test_backups_of_another_database_do_not_count_and_are_logged_once(store: MemoryStore) -> None:
    store.files = (
        backup("a.dump", age=300 * HOUR, database="unioncore")
        | backup("b.dump", age=200 * HOUR, verified=True)  # of a database that is not known
        | backup("c.dump", age=HOUR, verified=True, database="staging")
    )
    source = source_of(store)
    with capture_logs() as logs:
        for _ in range(2):
            assert values(await source.collect(NOW)) == {
                "backups s3": 2,
                "backup_last_success_timestamp_seconds s3": NOW - 200 * HOUR,
                "backup_age_seconds s3": 200 * HOUR,
                "backup_size_bytes s3": len(DUMP),
                "backup_last_verified_timestamp_seconds": NOW - 200 * HOUR,
            }
    assert [(line["event"], line["others"]) for line in logs] == [
        ("backups of other databases are not counted", ["staging"])
    ]


async def test_where_only_another_database_has_backups_there_are_0(store: MemoryStore) -> None:
    store.files = backup("a.dump", verified=True, database="staging")
    assert values(await source_of(store).collect(NOW)) == {"backups s3": 0}


def named(age: float, *, verified: bool = False) -> dict[str, bytes]:
    """A backup with the name that the backup job gives it."""
    return backup(dump(age), age=age, verified=verified)


def dump(age: float) -> str:
    return name_at(datetime.fromtimestamp(NOW - age, UTC), encrypted=False)


@pytest.mark.parametrize(("proven", "known"), [(HOUR, True), (50 * HOUR, False)])
async def test_an_old_manifest_that_cannot_be_read_costs_only_what_depends_on_it(
    proven: float, known: bool, store: MemoryStore
) -> None:
    ages = (50 * HOUR, 25 * HOUR, HOUR)
    for age in ages:
        store.files |= named(age, verified=age == proven)
    store.unreadable = {dump(25 * HOUR) + MANIFEST_SUFFIX}
    source = source_of(store)
    with capture_logs() as logs:
        samples = [values(await source.collect(NOW)) for _ in range(2)]
    # The unreadable one may be the newest that is proven, and whether it is a backup is not known.
    verified = {"backup_last_verified_timestamp_seconds": NOW - proven} if known else {}
    assert samples == 2 * [
        {
            "backup_last_success_timestamp_seconds s3": NOW - HOUR,
            "backup_age_seconds s3": HOUR,
            "backup_size_bytes s3": len(DUMP),
        }
        | verified
    ]
    assert [(line["event"], line["file"]) for line in logs] == [
        ("the backups are not counted", dump(25 * HOUR) + MANIFEST_SUFFIX)
    ]


@pytest.mark.parametrize("name", [dump(HOUR), "b.dump"])
async def test_nothing_is_published_if_what_cannot_be_read_may_be_the_newest_backup(
    name: str, store: MemoryStore
) -> None:
    store.files = named(25 * HOUR) | backup(name, age=50 * HOUR)
    store.unreadable = {name + MANIFEST_SUFFIX}
    with pytest.raises(CollectError, match=rf"newest .* not known: {name}\.json: it cannot be read .*cold storage"):
        await source_of(store).collect(NOW)


async def test_a_bucket_is_published_like_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto() as server:
        use_s3(monkeypatch, server.url)
        client = path_style()
        client.create_bucket(Bucket="backups")
        upload(client, "backups", backup("a.dump", verified=True), prefix="db/")
        source = source_of(S3Store("backups", "db", client=lambda: client))
        assert source.name == "backups_s3"
        assert values(await source.collect(NOW)) == {
            "backups s3": 1,
            "backup_last_success_timestamp_seconds s3": NOW - HOUR,
            "backup_age_seconds s3": HOUR,
            "backup_size_bytes s3": len(DUMP),
            "backup_last_verified_timestamp_seconds": NOW - HOUR,
        }
        client.close()


async def test_a_listing_serves_until_it_is_to_be_refreshed_and_the_age_grows_meanwhile(store: MemoryStore) -> None:
    store.files = backup("a.dump")
    source = source_of(store, refresh=60)
    for later in (0, 30, 59):
        samples = values(await source.collect(NOW + later))
        assert samples["backup_age_seconds s3"] == HOUR + later
    assert store.listings == 1
    await source.collect(NOW + 60)
    await source.collect(NOW)  # the clock was set back
    assert store.listings == 3


async def test_a_store_that_fails_publishes_nothing_until_it_is_listed_again(store: MemoryStore) -> None:
    store.files = backup("a.dump")
    source = source_of(store, refresh=60)
    await source.collect(NOW)
    store.error = StoreError("broken")
    for _ in range(2):
        with pytest.raises(CollectError, match="broken"):
            await source.collect(NOW + 60)
    store.error = None
    assert values(await source.collect(NOW + 61))["backups s3"] == 1


async def test_an_s3_that_hangs_costs_a_scrape_its_time_limit_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with hung_server() as url:
        use_s3(monkeypatch, url)
        source = source_of(S3Store("b", client=partial(path_style, timeout=0.5)), time_limit=0.2)
        before = threading.active_count()
        for _ in range(3):
            scrapes = await asyncio.gather(*(source.collect(NOW) for _ in range(4)), return_exceptions=True)
            # Had they waited for the client to give up, its words would be others.
            assert {str(error) for error in scrapes} == {"the s3 backups could not be listed within 0.2 s"}
            assert threading.active_count() <= before + 1


async def test_the_event_loop_goes_on_while_a_store_is_listed(store: MemoryStore) -> None:
    store.go_on.clear()
    scrape = asyncio.create_task(source_of(store).collect(NOW))
    await asyncio.sleep(0.05)
    assert not scrape.done()
    store.go_on.set()
    assert values(await scrape) == {"backups s3": 0}


async def test_a_listing_that_was_too_slow_for_one_scrape_serves_the_next(store: MemoryStore) -> None:
    store.files = backup("a.dump")
    source = source_of(store, time_limit=0.05, refresh=60)
    store.go_on.clear()
    for _ in range(3):
        with pytest.raises(CollectError, match=r"not be listed within 0\.05 s"):
            await source.collect(NOW)
    store.go_on.set()
    await asyncio.sleep(0.1)
    assert values(await source.collect(NOW + 15))["backup_age_seconds s3"] == HOUR + 15
    assert store.listings == 1


async def test_a_scrape_that_leaves_early_does_not_end_the_listing_for_the_others(store: MemoryStore) -> None:
    store.go_on.clear()
    source = source_of(store)
    leaving, staying = (asyncio.create_task(source.collect(NOW)) for _ in range(2))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.sleep(0.05)
    store.go_on.set()
    assert values(await staying) == {"backups s3": 0}
    assert store.listings == 1


class Pair:
    """Both sources, as they are when a bucket is configured."""

    def __init__(self) -> None:
        self.stores = MemoryStore("local"), MemoryStore("s3")
        local = source_of(self.stores[0], beside=None)
        self.sources = local, source_of(self.stores[1], beside=(local,))

    async def verified(self) -> list[float]:
        """Every sample of the family that has no location, of one scrape."""
        scrape = await asyncio.gather(*(source.collect(NOW) for source in self.sources), return_exceptions=True)
        samples = [sample for outcome in scrape if not isinstance(outcome, BaseException) for sample in outcome]
        return [sample.value for sample in samples if sample.family is LAST_VERIFIED]


@pytest.mark.parametrize("newest", [0, 1])
async def test_the_newest_proven_backup_of_both_stores_is_published_once(newest: int) -> None:
    pair = Pair()
    pair.stores[newest].files = backup("a.dump", age=HOUR, verified=True) | backup("b.dump", age=1)
    pair.stores[1 - newest].files = backup("c.dump", age=2 * HOUR, verified=True)
    assert await pair.verified() == [NOW - HOUR]
    assert [LAST_VERIFIED in source.families for source in pair.sources] == [False, True]


@pytest.mark.parametrize("failing", [0, 1])
async def test_the_newest_proven_backup_is_not_known_while_one_store_fails(failing: int) -> None:
    pair = Pair()
    for store in pair.stores:
        store.files = backup("a.dump", verified=True)
    pair.stores[failing].error = StoreError("broken")
    assert await pair.verified() == []
    # The other store's own families are not touched by it.
    assert values(await pair.sources[1 - failing].collect(NOW))["backups " + pair.stores[1 - failing].location] == 1


async def test_without_a_proven_backup_nothing_is_said_of_one() -> None:
    pair = Pair()
    pair.stores[0].files = backup("a.dump")
    assert await pair.verified() == []
