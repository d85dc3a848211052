"""An archive in a bucket that misbehaves: nothing counts as archived that is not there, and the next run finishes."""

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from mypy_boto3_s3 import S3Client

from exporter.s3 import s3_client
from scripts import s3objects
from scripts.archive.restore import Wanted
from scripts.dev.servers import Server
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog, archived, expand
from tests.scripts.faulty_s3 import Fault, FaultyS3
from tests.storing import moto, use_s3

PREFIX = "union/audit-archive/"


class Clients(NamedTuple):
    """A client of the bucket that misbehaves, which the jobs get, and one of what is behind it."""

    jobs: S3Client
    own: S3Client


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[FaultyS3]:
    with FaultyS3(server.url).serving() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def clients(server: Server, proxy: FaultyS3) -> Clients:
    made = []
    for url in (proxy.url, server.url):
        with pytest.MonkeyPatch.context() as patch:
            use_s3(patch, url)
            made.append(s3_client(timeout=0.7, path_style=True, attempts=2))
    return Clients(*made)


class Bucket:
    """A bucket, and what is in it."""

    def __init__(self, client: S3Client, s3: FaultyS3) -> None:
        self.name = f"b{os.urandom(4).hex()}"
        self.s3 = s3
        self._client = client
        client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)

    def classes(self) -> dict[str, str]:
        """The storage class of each object under the prefix, by its key without that."""
        found = self._client.list_objects_v2(Bucket=self.name, Prefix=PREFIX).get("Contents", [])
        return {item["Key"].removeprefix(PREFIX): item["StorageClass"] for item in found}

    def files(self) -> dict[str, bytes]:
        """The content of each object."""
        return {key: self.content(key) for key in self.classes()}

    def content(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self.name, Key=PREFIX + key)["Body"].read()

    def locked(self, key: str) -> bool:
        """Whether an object can't be deleted for seven years."""
        head = self._client.head_object(Bucket=self.name, Key=PREFIX + key)
        return head["ObjectLockMode"] == "COMPLIANCE" and "ObjectLockRetainUntilDate" in head


@pytest.fixture
def bucket(
    clients: Clients, proxy: FaultyS3, archives: Archives, live_log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    """A bucket that the jobs are set to."""
    del live_log
    proxy.faults = []
    proxy.log.clear()
    bucket = Bucket(clients.own, proxy)
    # To make a client takes longer than a run.
    monkeypatch.setattr(s3objects, "s3_client", lambda **_: clients.jobs)
    archives.use(S3_BUCKET=bucket.name, S3_PREFIX="union", UNIONCORE_ARCHIVE_CHUNK_ROWS="1000")
    return bucket


def test_every_old_row_goes_into_the_bucket_once(
    bucket: Bucket, live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3objects, "s3_client", s3_client)
    use_s3(monkeypatch, bucket.s3.url)
    archives.use(S3_PATH_STYLE="true")
    for _ in range(2):
        ended = archives.archive()
        assert ended.code == 0, ended.error
        assert archived(bucket.files()) == live_log.rows(days=10)
    assert ended.rows == 0
    assert set(bucket.classes().items()) == {
        (key, "GLACIER_IR" if key.endswith(CHUNK) else "STANDARD") for key in bucket.classes()
    }
    assert ended.details["location"] == f"s3://{bucket.name}/union/audit-archive"


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_what_cannot_be_read_back_once_it_is_cold_is_verified_before(
    bucket: Bucket, live_log: AuditLog, archives: Archives, storage_class: str
) -> None:
    for days in ("30", "10"):
        ended = archives.archive(ARCHIVE_THRESHOLD_DAYS=days, UNIONCORE_ARCHIVE_STORAGE_CLASS=storage_class)
        assert ended.code == 0, ended.error
    requests = [(method, path) for method, path, _ in bucket.s3.log if CHUNK in path]
    first = next(path for method, path in requests if method == "PUT" and path.endswith(CHUNK))
    order = [method for method, path in requests if path.startswith(first)]
    assert order.index("GET") < len(order) - 1 - order[::-1].index("PUT")
    assert {value for key, value in bucket.classes().items() if key.endswith(CHUNK)} == {storage_class}
    assert {value for key, value in bucket.classes().items() if key.endswith(MANIFEST)} == {"STANDARD"}
    assert archives.show().details["chunks"][0]["storage_class"] == storage_class
    manifests = [json.loads(bucket.content(key)) for key in bucket.classes() if key.endswith(MANIFEST)]
    held = [number for manifest in manifests for number in expand(manifest["ids"])]
    assert sorted(held) == sorted(live_log.rows(days=10))
    ended = archives.restore(Wanted('"audit_logs_restored"'))
    assert ended.code == Exit.UNREACHABLE
    assert "it lies in cold storage: have a copy brought back first" in ended.error


def test_a_move_to_cold_storage_that_failed_is_made_up_for(bucket: Bucket, archives: Archives) -> None:
    archives.archive(UNIONCORE_ARCHIVE_STORAGE_CLASS="STANDARD")
    assert archives.archive(UNIONCORE_ARCHIVE_STORAGE_CLASS="DEEP_ARCHIVE").rows == 0
    assert {value for key, value in bucket.classes().items() if key.endswith(CHUNK)} == {"DEEP_ARCHIVE"}


def test_files_are_locked_if_that_is_configured(bucket: Bucket, archives: Archives) -> None:
    assert archives.archive(S3_OBJECT_LOCK="COMPLIANCE").code == 0
    assert all(bucket.locked(key) for key in bucket.classes())


# What goes wrong once with a request, and whether the run can nevertheless succeed.
FAULTS: dict[str, tuple[Fault, bool]] = {
    "a file is refused once": (Fault("PUT", CHUNK, "500", 1), True),
    "a file's answer is lost": (Fault("PUT", CHUNK, "lost reply", 1), True),
    "a file is slow once": (Fault("PUT", CHUNK, "slow", 1), True),
    "a manifest's answer is lost": (Fault("PUT", ".json", "lost reply", 1), True),
    "a file is refused": (Fault("PUT", CHUNK, "500"), False),
    "a file is swallowed": (Fault("PUT", CHUNK, "swallowed"), False),
    "half a file is kept": (Fault("PUT", CHUNK, "half kept", 1), False),
    "a file's checksum is another one": (Fault("HEAD", CHUNK, "wrong checksum"), False),
    "a file is read back wrong": (Fault("GET", CHUNK, "flipped answer"), False),
    "a file can't be read back": (Fault("GET", CHUNK, "500"), False),
    "a manifest is refused": (Fault("PUT", ".json", "500"), False),
    "a manifest is swallowed": (Fault("PUT", ".json", "swallowed"), False),
    "half a manifest is kept": (Fault("PUT", ".json", "half kept", 1), False),
    "a manifest is read back wrong": (Fault("GET", ".json", "flipped answer"), False),
    "the bucket can't be listed": (Fault("GET", "list-type=2", "500"), False),
    "the bucket does not answer": (Fault("GET", "list-type=2", "slow"), False),
}


@pytest.mark.parametrize("what", FAULTS)
def test_whatever_goes_wrong_no_row_is_called_archived_that_is_not(
    bucket: Bucket, live_log: AuditLog, archives: Archives, what: str
) -> None:
    archives.archive(ARCHIVE_THRESHOLD_DAYS="30")
    before = bucket.files()
    fault, survives = FAULTS[what]
    bucket.s3.faults = [Fault(fault.method, fault.path, fault.kind, fault.times)]
    ended = archives.archive(ARCHIVE_THRESHOLD_DAYS="10")
    assert any(kind == fault.kind for _, _, kind in bucket.s3.log)
    bucket.s3.faults = []
    files = bucket.files()
    held = archived(files)
    assert before.items() <= files.items()
    if survives:
        assert ended.code == 0, ended.error
    else:
        assert ended.code in {Exit.UNREACHABLE, Exit.NOT_VERIFIED}
        assert ended.rows is None
        assert ended.details.get("rows", 0) + len(archived(before)) <= len(held)
    assert held.items() <= live_log.rows(days=10).items()
    assert archives.archive().code == 0
    files = bucket.files()
    assert archived(files) == live_log.rows(days=10)
    assert len(files) == 2 * len([key for key in files if key.endswith(MANIFEST)])


def test_a_row_of_a_bucket_can_be_restored(bucket: Bucket, live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    assert archives.restore(Wanted('"audit_logs_restored"')).rows == len(archived(bucket.files()))
    assert live_log.value("select count(*) from audit_logs_restored") == len(live_log.rows(days=10))
    assert json.loads(next(text for key, text in bucket.files().items() if key.endswith(MANIFEST)))["format"] == 1


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket, archives: Archives) -> None:
    del bucket
    ended = archives.archive(S3_BUCKET="no-such-bucket")
    assert ended.code == Exit.UNREACHABLE
    assert "the bucket does not exist: set S3_BUCKET to one that does" in ended.error


@pytest.fixture
def cold(bucket: Bucket, live_log: AuditLog, archives: Archives) -> Bucket:
    """A bucket whose files are cold, and a database with the guard."""
    del live_log
    archives.use(UNIONCORE_ARCHIVE_STORAGE_CLASS="DEEP_ARCHIVE", UNIONCORE_ARCHIVE_CHUNK_ROWS="400")
    ended = archives.archive()
    assert ended.code == 0, ended.error
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    return bucket


def test_rows_of_cold_files_are_deleted_if_the_store_vouches_for_them(
    cold: Bucket, live_log: AuditLog, archives: Archives
) -> None:
    before = live_log.ids()
    ended = archives.delete()
    assert ended.code == 0, ended.error
    assert ended.rows == len(before - live_log.ids()) > 0
    assert not any(path.endswith(CHUNK) for method, path, _ in cold.s3.log[-4:] if method == "PUT")


def test_rows_of_cold_files_stay_if_the_store_says_something_else(
    cold: Bucket, live_log: AuditLog, archives: Archives
) -> None:
    before = live_log.ids()
    cold.s3.faults = [Fault("HEAD", CHUNK, "wrong checksum")]
    ended = archives.delete()
    assert ended.code == Exit.NOT_VERIFIED
    assert "is not what its manifest says: keep the rows" in ended.error
    assert live_log.ids() == before
    # Nor is the archive called whole then.
    ended = archives.verify()
    assert (ended.code, "is not what its manifest says" in ended.error) == (Exit.NOT_VERIFIED, True)
    cold.s3.faults = []
    assert archives.verify().code == 0


@pytest.mark.parametrize("locked", [False, True])
def test_rows_of_cold_files_without_a_checksum_are_deleted_only_if_those_are_locked(
    bucket: Bucket, live_log: AuditLog, archives: Archives, locked: bool
) -> None:
    archives.use(S3_CHECKSUMS="false", S3_OBJECT_LOCK="COMPLIANCE" if locked else "")
    archives.use(UNIONCORE_ARCHIVE_STORAGE_CLASS="DEEP_ARCHIVE", UNIONCORE_ARCHIVE_CHUNK_ROWS="400")
    ended = archives.archive()
    assert ended.code == 0, ended.error
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    before = live_log.ids()
    ended = archives.verify()
    assert (ended.code, "can't be compared: it can't be read at once" in ended.error) == (Exit.NOT_VERIFIED, True)
    bucket.s3.log.clear()
    ended = archives.delete()
    if locked:
        assert ended.code == 0, ended.error
        assert ended.rows == len(before - live_log.ids()) > 0
    else:
        assert ended.code == Exit.REFUSED
        assert "not locked for seven years" in ended.error
        assert live_log.ids() == before


@pytest.mark.parametrize("guarded", [True, False])
def test_a_cold_file_that_lost_its_manifest_is_named(
    cold: Bucket, clients: Clients, archives: Archives, guarded: bool
) -> None:
    assert archives.delete().rows
    if not guarded:
        archives.remove_guard()
    key = min(key for key in cold.classes() if key.endswith(CHUNK))
    clients.own.delete_object(Bucket=cold.name, Key=f"{PREFIX}{key}.json")
    ended = archives.archive()
    assert ended.code == Exit.NOT_VERIFIED
    assert f"{key} has no manifest, and " in ended.error
    assert key in cold.classes()


def test_files_that_are_cold_already_stay_in_their_class_when_another_one_is_set(
    bucket: Bucket, live_log: AuditLog, archives: Archives
) -> None:
    assert archives.archive(UNIONCORE_ARCHIVE_STORAGE_CLASS="GLACIER").code == 0
    before = {key for key in bucket.classes() if key.endswith(CHUNK)}
    live_log.add(5, days=20)
    for storage_class in ("DEEP_ARCHIVE", "GLACIER_IR"):
        ended = archives.archive(UNIONCORE_ARCHIVE_STORAGE_CLASS=storage_class)
        assert ended.code == 0, ended.error
    classes = {key: value for key, value in bucket.classes().items() if key.endswith(CHUNK)}
    assert {classes.pop(key) for key in before} == {"GLACIER"}
    assert list(classes.values()) == ["DEEP_ARCHIVE"]
