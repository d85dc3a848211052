"""Objects are written once, whole, and never over another, whatever the store does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from mypy_boto3_s3 import S3Client

from exporter.s3 import s3_client
from scripts.job.exits import Exit
from scripts.localobjects import LocalObjects
from scripts.objects import (
    ObjectDamagedError,
    ObjectError,
    ObjectExistsError,
    ObjectMissingError,
    Objects,
)
from scripts.s3objects import S3Objects
from scripts.s3options import S3Options
from tests.scripts.faulty_s3 import Fault, FaultyS3
from tests.scripts.putting import CONTENT, SHA256, SOON, put
from tests.storing import KEY, SECRET, moto, use_s3


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyS3]:
    with moto() as server, FaultyS3(server.url).serving() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def shared_client(proxy: FaultyS3) -> S3Client:
    with pytest.MonkeyPatch.context() as patch:
        use_s3(patch, proxy.url)
        return s3_client(timeout=0.5, path_style=True, attempts=2)


@pytest.fixture
def s3(proxy: FaultyS3) -> FaultyS3:
    proxy.faults = []
    proxy.log.clear()
    return proxy


@pytest.fixture
def client(s3: FaultyS3, shared_client: S3Client) -> S3Client:
    """A client, and a fresh bucket of which `bucket` knows the name."""
    del s3
    shared_client.create_bucket(Bucket=(name := f"b{os.urandom(4).hex()}"))
    shared_client.bucket = name  # type: ignore[attr-defined]
    return shared_client


def bucket(client: S3Client, **options: object) -> S3Objects:
    return S3Objects(client, client.bucket, "some/place", S3Options(**options))  # type: ignore[attr-defined, arg-type]


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return LocalObjects(tmp_path / "of" / "objects")
    return bucket(request.getfixturevalue("client"))


def content_of(store: Objects, key: str) -> bytes:
    with store.open(key) as body:
        return b"".join(iter(lambda: body.read(1000), b""))


def test_what_is_put_is_there_and_listed(store: Objects, tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(CONTENT)
    assert store.put("2024/01/one", file, SHA256)
    assert put(store, "2024/02/two", b"2")
    assert content_of(store, "2024/01/one") == CONTENT
    assert store.measure("2024/01/one") == (SHA256, len(CONTENT))
    head = store.head("2024/01/one")
    assert head
    assert (head.size, head.sha256) in {(len(CONTENT), SHA256), (len(CONTENT), None)}
    assert abs(head.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert [(found.key, found.size) for found in store.list()] == [("2024/01/one", 300_000), ("2024/02/two", 1)]
    assert [found.key for found in store.list("2024/02")] == ["2024/02/two"]


def test_nothing_is_overwritten_and_the_same_is_no_error(store: Objects) -> None:
    assert put(store, "a/b", b"first")
    assert not put(store, "a/b", b"first")
    with pytest.raises(ObjectExistsError, match="a/b: something else is there"):
        put(store, "a/b", b"other")
    assert content_of(store, "a/b") == b"first"


def test_what_is_not_there(store: Objects) -> None:
    assert store.head("a/b") is None
    assert list(store.list()) == []
    store.delete("a/b")
    assert put(store, "a/b", b"")
    store.delete("a/b")
    with pytest.raises(ObjectMissingError, match="a/b"):
        content_of(store, "a/b")
    assert store.clean(SOON) == 0


def test_a_store_that_was_told_to_stop_writes_and_reads_nothing_more(store: Objects) -> None:
    put(store, "a", b"1")
    store.stop()
    for deed in (lambda: put(store, "b"), lambda: store.measure("a")):
        with pytest.raises(ObjectError, match="interrupted"):
            deed()
    assert [found.key for found in store.list()] == ["a"]
    assert store.clean(SOON) == 0


def writers_race(store: Objects) -> list[object]:
    results: list[object] = []

    def write(content: bytes) -> None:
        try:
            results.append(put(store, "k", content))
        except ObjectExistsError:
            results.append("refused")

    threads = [Thread(target=write, args=(b"%d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results, key=str)


def test_of_writers_at_the_same_moment_one_wins(store: Objects) -> None:
    assert writers_race(store) == [True, *["refused"] * 7]


@contextmanager
def damaged() -> Iterator[None]:
    with pytest.raises(ObjectDamagedError):
        yield


def test_an_answer_that_is_lost_after_success_is_no_failure(client: S3Client, s3: FaultyS3) -> None:
    s3.faults = [Fault("PUT", "/k", "lost reply", 1)]
    assert not put(bucket(client), "k")
    assert content_of(bucket(client), "k") == CONTENT
    s3.faults = [Fault("PUT", "/k", "lost reply", 1)]
    s3.log.clear()
    with pytest.raises(ObjectExistsError):
        put(bucket(client), "k", b"other")


@pytest.mark.parametrize(("kind", "tries"), [("500", 2), ("lost reply", 2), ("slow", 2)])
def test_a_store_that_fails_is_tried_again_and_then_told(client: S3Client, s3: FaultyS3, kind: str, tries: int) -> None:
    s3.faults = [Fault("HEAD", "/k", kind)]  # type: ignore[arg-type]
    with pytest.raises(ObjectError) as caught:
        put(bucket(client), "k")
    assert caught.value.exit is Exit.UNREACHABLE
    assert [method for method, path, _ in s3.log if path.endswith("/k")] == ["HEAD"] * tries
    assert not any(secret in str(caught.value) for secret in (KEY, SECRET))
    s3.faults = []
    assert put(bucket(client), "k")


@pytest.mark.parametrize("kind", ["swallowed", "half kept", "wrong checksum"])
def test_a_store_that_keeps_something_else_is_found_out(client: S3Client, s3: FaultyS3, kind: str) -> None:
    method = "HEAD" if kind == "wrong checksum" else "PUT"
    s3.faults = [Fault(method, "/k", kind)]  # type: ignore[arg-type]
    with damaged():
        put(bucket(client), "k")
    s3.faults = []
    assert list(bucket(client).list()) == []


def test_a_store_without_checksums_is_read_back(client: S3Client, s3: FaultyS3) -> None:
    s3.faults = [Fault("GET", "/k", "flipped answer")]
    with damaged():
        put(bucket(client, checksums=False, conditional=False), "k")
    s3.faults = []
    assert put(bucket(client, checksums=False, conditional=False), "k")
    head = bucket(client).head("k")
    assert head
    assert head.sha256 is None


def test_another_that_was_quicker_is_not_overwritten(client: S3Client, s3: FaultyS3) -> None:
    s3.faults = [Fault("PUT", "/k", "412", 1)]
    with pytest.raises(ObjectMissingError):
        put(bucket(client), "k")
    assert bucket(client).head("k") is None


MIB = 1 << 20
LARGE = os.urandom(12 * MIB + 1)


def large(client: S3Client) -> S3Objects:
    return bucket(client, multipart_above=6 * MIB, part_size=5 * MIB)


def test_what_is_large_goes_up_in_parts(client: S3Client, s3: FaultyS3) -> None:
    assert put(large(client), "k", LARGE)
    assert content_of(large(client), "k") == LARGE
    assert len([path for method, path, _ in s3.log if method == "PUT" and "partNumber" in path]) == 3
    assert not put(large(client), "k", LARGE)
    with pytest.raises(ObjectExistsError):
        put(large(client), "k", LARGE + b"x")


def test_parts_of_an_upload_that_failed_are_not_left_behind(client: S3Client, s3: FaultyS3) -> None:
    s3.faults = [Fault("PUT", "partNumber=2", "500")]
    with pytest.raises(ObjectError):
        put(large(client), "k", LARGE)
    s3.faults = []
    assert large(client).clean(SOON) == 0
    assert large(client).head("k") is None


def test_parts_that_a_killed_writer_left_are_aborted_once_they_are_old(client: S3Client) -> None:
    name = {"Bucket": client.bucket, "Key": "some/place/k"}  # type: ignore[attr-defined]
    client.create_multipart_upload(**name)
    # moto says that of every upload.
    begun = datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC)
    assert large(client).clean(begun) == 0
    assert large(client).clean(SOON) == 1
    assert large(client).clean(SOON) == 0


def test_what_is_configured_is_sent(client: S3Client) -> None:
    name = "locked" + os.urandom(4).hex()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    options = S3Options(
        storage_class="GLACIER_IR",
        encryption="aws:kms",
        kms_key="alias/union",
        lock_mode="COMPLIANCE",
        lock_days=30,
    )
    store = S3Objects(client, name, "", options)
    assert put(store, "k", b"1")
    found = client.head_object(Bucket=name, Key="k")
    assert found["StorageClass"] == "GLACIER_IR"
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/union")
    assert found["ObjectLockMode"] == "COMPLIANCE"
    head = store.head("k")
    assert head
    assert head.locked_until
    assert timedelta(days=29) < head.locked_until - datetime.now(UTC) < timedelta(days=31)


def test_a_transition_keeps_the_content(client: S3Client, s3: FaultyS3) -> None:
    store = bucket(client, storage_class="STANDARD")
    put(store, "k")
    store.transition("k", "DEEP_ARCHIVE")
    (found,) = store.list()
    assert (found.size, found.storage_class) == (len(CONTENT), "DEEP_ARCHIVE")
    put(store, "j")
    s3.faults = [Fault("PUT", "/j", "swallowed")]
    with damaged():
        store.transition("j", "DEEP_ARCHIVE")


def test_a_bucket_that_is_missing_is_told_to_the_operator(client: S3Client) -> None:
    store = S3Objects(client, "no-such-bucket")
    deeds: list[Callable[[], object]] = [lambda: list(store.list()), lambda: store.clean(SOON)]
    for deed in deeds:
        with pytest.raises(ObjectError, match="the bucket does not exist: set S3_BUCKET to one that does"):
            deed()
