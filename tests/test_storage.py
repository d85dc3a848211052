"""What counts as a backup, in a directory and in a bucket of a real S3 server."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from mypy_boto3_s3 import S3Client

from exporter.clock import CLOCK_SKEW
from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Proof
from exporter.s3 import S3Store
from exporter.storage import BackupStore, Listing, LocalStore, StoreError
from scripts.dev.servers import Server
from tests.storing import DUMP, HOUR, NOW, SHA256, backup, fill, moto, path_style, upload, use_s3

PREFIX = "nightly/db/"
_numbers = count(1)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_server: Server) -> Iterator[S3Client]:
    use_s3(monkeypatch, s3_server.url)
    client = path_style()
    yield client
    client.close()


@pytest.fixture
def bucket(s3: S3Client) -> str:
    name = f"backups-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


class Place(NamedTuple):
    """A store, and how files come into it and out of it."""

    store: BackupStore
    put: Callable[[Mapping[str, bytes]], None]
    remove: Callable[[str], object]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(LocalStore(tmp_path), partial(fill, tmp_path), lambda name: (tmp_path / name).unlink())
    s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return Place(
        S3Store(bucket, PREFIX, client=lambda: s3),
        lambda files: upload(s3, bucket, files, prefix=PREFIX),
        lambda name: s3.delete_object(Bucket=bucket, Key=PREFIX + name),
    )


def names(listing: Listing) -> list[str]:
    return [found.manifest.name for found in listing.backups]


def count_reads(store: BackupStore, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0.0) -> list[str]:
    reads: list[str] = []
    read = store._read

    def counted(name: str) -> bytes:
        time.sleep(seconds)
        reads.append(name)
        return read(name)

    monkeypatch.setattr(store, "_read", counted)
    return reads


def test_an_empty_store_holds_nothing(place: Place) -> None:
    assert place.store.list_backups(NOW) == ((), ())


def test_a_complete_backup_is_listed_with_what_its_manifest_says(place: Place) -> None:
    place.put(backup("a.dump", age=HOUR))
    (found,) = place.store.list_backups(NOW).backups
    assert (found.manifest.name, found.manifest.size, found.manifest.sha256) == ("a.dump", len(DUMP), SHA256)
    assert found.manifest.finished_at == datetime.fromtimestamp(NOW - HOUR, UTC)
    assert found.manifest.extra == {}
    assert found.verified_at is None


def test_the_newest_backup_comes_last_whatever_its_name(place: Place) -> None:
    place.put(backup("a.dump", age=2 * HOUR) | backup("b.dump", age=3 * HOUR) | backup("c.sql.gz", age=HOUR))
    assert names(place.store.list_backups(NOW)) == ["b.dump", "a.dump", "c.sql.gz"]


BAD = backup("bad.dump")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({**BAD, "bad.dump": b""}, "0 bytes, not 6"),
        ({**BAD, "bad.dump": DUMP[:-1]}, "5 bytes, not 6"),
        ({**BAD, "bad.dump": DUMP + b"x"}, "7 bytes, not 6"),
        ({**BAD, "bad.dump.json": b""}, "not JSON"),
        ({**BAD, "bad.dump.json": BAD["bad.dump.json"][:-9]}, "not JSON"),
        ({**BAD, "bad.dump.json": b" " * 1024 * 1024 + BAD["bad.dump.json"]}, "larger"),
        ({**BAD, "bad.dump.json": backup("good.dump")["good.dump.json"]}, "of 'good.dump'"),
        (backup("bad.dump", age=-CLOCK_SKEW - 1), "finished_at lies in the future"),
        ({"bad.dump.json": BAD["bad.dump.json"]}, "no dump"),
        ({"bad.dump.json": BAD["bad.dump.json"], "bad.dump.partial": DUMP}, "no dump"),
        ({"bad.dump.json": BAD["bad.dump.json"], ".bad.dump": DUMP}, "no dump"),
    ],
)
def test_a_manifest_that_does_not_fit_its_dump_is_rejected_and_hides_no_other_backup(
    place: Place, files: Mapping[str, bytes], reason: str
) -> None:
    place.put({**files, **backup("good.dump")})
    for _ in range(2):  # the second listing knows the manifest already
        listing = place.store.list_backups(NOW)
        assert names(listing) == ["good.dump"]
        assert [rejected.file for rejected in listing.rejected] == ["bad.dump.json"]
        assert reason in listing.rejected[0].reason


def test_what_is_being_written_and_what_is_no_backup_is_passed_over(place: Place) -> None:
    files = backup("a.dump")
    place.put(
        {
            "a.dump": DUMP,
            "a.dump.json.partial": files["a.dump.json"],
            ".a.dump.json": files["a.dump.json"],
            "b.dump.partial": DUMP,
            "b.dump.verified.json": b"{}",
            "old.sql.gz": DUMP,
            "README": b"",
        }
    )
    assert place.store.list_backups(NOW) == ((), ())


def test_a_backup_finished_within_the_clock_skew_counts(place: Place) -> None:
    place.put(backup("a.dump", age=-CLOCK_SKEW + 1))
    assert names(place.store.list_backups(NOW)) == ["a.dump"]


def test_a_proof_of_the_same_content_makes_a_backup_verified(place: Place) -> None:
    place.put(backup("a.dump", age=2 * HOUR, verified=True) | backup("b.dump"))
    assert [found.verified_at for found in place.store.list_backups(NOW).backups] == [
        datetime.fromtimestamp(NOW, UTC),
        None,
    ]


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (b"{", "not JSON"),
        (Proof("f" * 64, datetime.fromtimestamp(NOW, UTC)).render(), "another sha256"),
        (Proof(SHA256, datetime.fromtimestamp(NOW + HOUR, UTC)).render(), "verified_at lies in the future"),
    ],
)
def test_a_wrong_proof_proves_nothing_and_is_rejected_but_the_backup_counts(
    place: Place, proof: bytes, reason: str
) -> None:
    place.put(backup("a.dump") | {"a.dump" + PROOF_SUFFIX: proof})
    listing = place.store.list_backups(NOW)
    assert [found.verified_at for found in listing.backups] == [None]
    assert [rejected.file for rejected in listing.rejected] == ["a.dump" + PROOF_SUFFIX]
    assert reason in listing.rejected[0].reason


def test_a_manifest_is_read_once_again_when_it_changes_and_forgotten_when_it_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(place.store, monkeypatch)
    place.put(backup("a.dump", verified=True) | backup("b.dump") | {"c.dump": DUMP, "c.dump.json": b"{"})
    for _ in range(3):
        place.store.list_backups(NOW)
    assert sorted(reads) == ["a.dump.json", "a.dump.verified.json", "b.dump.json", "c.dump.json"]
    reads.clear()
    place.put(backup("b.dump", age=3 * HOUR) | backup("c.dump", age=2 * HOUR))
    assert names(place.store.list_backups(NOW)) == ["b.dump", "c.dump", "a.dump"]
    assert sorted(reads) == ["b.dump.json", "c.dump.json"]
    for name in backup("b.dump"):
        place.remove(name)
    assert names(place.store.list_backups(NOW)) == ["c.dump", "a.dump"]
    assert len(place.store._documents) == 3


def test_a_manifest_that_is_removed_while_the_store_is_listed_is_no_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put(backup("a.dump") | backup("b.dump"))
    read = place.store._read

    def remove_first(name: str) -> bytes:
        if name == "a.dump" + MANIFEST_SUFFIX:
            place.remove(name)
        return read(name)

    monkeypatch.setattr(place.store, "_read", remove_first)
    listing = place.store.list_backups(NOW)
    assert names(listing) == ["b.dump"]
    assert [rejected.reason for rejected in listing.rejected] == ["it was removed while it was looked at"]


def test_a_listing_that_runs_out_of_patience_fails_and_the_next_goes_on_from_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        place.put(backup(f"{number}.dump"))
    reads = count_reads(place.store, monkeypatch, seconds=0.1)
    with pytest.raises(StoreError, match="too long"):
        place.store.list_backups(NOW, patience=0.25)
    assert 0 < len(reads) < 8
    assert len(place.store.list_backups(NOW, patience=5).backups) == 8
    assert len(reads) == 8


def test_a_directory_that_is_missing_or_no_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path}/none does not exist: create it, or set BACKUP_DIR"):
        LocalStore(tmp_path / "none").list_backups(NOW)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=rf"{tmp_path}/file cannot be read \(Not a directory\).*set BACKUP_DIR"):
        LocalStore(tmp_path / "file").list_backups(NOW)


def test_manifests_none_of_which_may_be_read_fail_the_listing_rather_than_to_be_no_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, backup("a.dump"))

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(
        StoreError, match=r"a\.dump\.json cannot be read \(Permission denied\): let the exporter's user"
    ):
        LocalStore(tmp_path).list_backups(NOW)


def test_directories_and_broken_links_are_passed_over_and_links_to_files_followed(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    fill(directory, backup("a.dump"))
    (directory / "a.dump").rename(tmp_path / "elsewhere")
    (directory / "a.dump").symlink_to(tmp_path / "elsewhere")
    (directory / "b.dump.json").mkdir()
    (directory / "c.dump.json").symlink_to(tmp_path / "none")
    listing = LocalStore(directory).list_backups(NOW)
    assert names(listing) == ["a.dump"]
    assert not listing.rejected


@pytest.mark.parametrize("prefix", ["", "nightly", "/nightly/"])
def test_only_what_lies_directly_under_the_prefix_is_in_the_store(prefix: str, s3: S3Client, bucket: str) -> None:
    for place in ("", "nightly/", "nightly/db/", "nightly2/", "audit-archive/2026/03/"):
        upload(s3, bucket, backup(f"in-{place.replace('/', '-')}"), prefix=place)
    s3.put_object(Bucket=bucket, Key="nightly/", Body=b"")
    expected = "in-nightly-" if prefix else "in-"
    assert names(S3Store(bucket, prefix, client=path_style).list_backups(NOW)) == [expected]


@pytest.mark.parametrize("page_size", [1, 2, 7])
def test_a_bucket_of_many_pages_is_listed_to_its_end(page_size: int, s3: S3Client, bucket: str) -> None:
    upload(s3, bucket, backup("a.dump", age=2 * HOUR) | {f"file{n}": b"x" for n in range(9)} | backup("z.dump"))
    store = S3Store(bucket, client=path_style, page_size=page_size)
    assert names(store.list_backups(NOW)) == ["a.dump", "z.dump"]


def test_a_missing_bucket_is_named_with_what_to_do(s3: S3Client) -> None:
    with pytest.raises(StoreError, match="S3 bucket no-such-bucket: the bucket does not exist: set S3_BUCKET"):
        S3Store("no-such-bucket", client=lambda: s3).list_backups(NOW)
