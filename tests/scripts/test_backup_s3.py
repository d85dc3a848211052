"""A backup off site is whole or none, whatever the store does, and is what `verify` fetches."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from mypy_boto3_s3 import S3Client

from exporter.manifests import MANIFEST_SUFFIX, name_at
from exporter.s3 import S3Store, s3_client
from exporter.storage import Backup
from scripts import s3objects
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from scripts.s3options import S3Options
from tests.scripts.backing import OLD, Ended, Jobs
from tests.scripts.faulty_s3 import Fault, FaultyS3
from tests.storing import KEY, SECRET, moto, upload, use_s3

PREFIX = "daily"


@pytest.fixture(scope="module")
def shared_proxy() -> Iterator[FaultyS3]:
    with moto(S3_UPLOAD_PART_MIN_SIZE="1000") as server, FaultyS3(server.url).serving() as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> FaultyS3:
    """The store, with a bucket of its own for the test."""
    del jobs  # it clears the environment
    shared_proxy.faults = []
    shared_proxy.log.clear()
    use_s3(monkeypatch, shared_proxy.url)
    return shared_proxy


@pytest.fixture(scope="module")
def shared_client(shared_proxy: FaultyS3) -> S3Client:
    with pytest.MonkeyPatch.context() as patch:
        use_s3(patch, shared_proxy.url)
        return s3_client(path_style=True)


@pytest.fixture
def client(proxy: FaultyS3, shared_client: S3Client) -> S3Client:
    del proxy
    return shared_client


@pytest.fixture
def bucket(client: S3Client, jobs: Jobs, tmp_path: Path) -> str:
    """A bucket that is configured, with one good backup that is long past its retention."""
    name = f"b-{abs(hash(tmp_path))}"
    client.create_bucket(Bucket=name)
    jobs.use(
        S3_BUCKET=name, S3_PREFIX=PREFIX, S3_PATH_STYLE="true", UNIONCORE_S3_WAIT="0.7",
        UNIONCORE_MIN_KEEP="1", RETENTION_DAYS="1",
    )  # fmt: skip
    jobs.add(OLD, days=40)
    upload(client, name, {path.name: path.read_bytes() for path in jobs.backups.iterdir()}, prefix=f"{PREFIX}/")
    return name


def stored(client: S3Client, bucket: str) -> list[str]:
    """The complete backups in the bucket, as the exporter sees them."""
    return [backup.manifest.name for backup in listing(client, bucket)]


def listing(client: S3Client, bucket: str) -> tuple[Backup, ...]:
    return S3Store(bucket, PREFIX, client=lambda: client).list_backups(datetime.now(UTC).timestamp()).backups


def content(client: S3Client, bucket: str, name: str) -> bytes:
    return client.get_object(Bucket=bucket, Key=f"{PREFIX}/{name}")["Body"].read()


def test_a_backup_goes_off_site_and_the_old_one_goes_there_too(
    jobs: Jobs, live_url: str, client: S3Client, bucket: str
) -> None:
    ended = jobs.backup(live_url)
    assert ended.code == Exit.OK
    name = ended.details["name"]
    assert ended.details["locations"] == ["local", "s3"]
    assert ended.details["deleted"] == {"local": [OLD], "s3": [OLD]}
    assert stored(client, bucket) == jobs.names() == [name]
    for file in (name, name + MANIFEST_SUFFIX):
        assert content(client, bucket, file) == (jobs.backups / file).read_bytes()
    head = client.head_object(Bucket=bucket, Key=f"{PREFIX}/{name}", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"]


@pytest.fixture
def uploaded(client: S3Client, bucket: str, backup: Path) -> str:
    """A good backup that is here and off site; its name."""
    files = {path.name: path.read_bytes() for path in backup.parent.glob(f"{backup.name}*")}
    upload(client, bucket, files, prefix=f"{PREFIX}/")
    return backup.name


@pytest.fixture
def off_site(jobs: Jobs, proxy: FaultyS3, client: S3Client, bucket: str) -> "OffSite":
    return OffSite(jobs, proxy, client, bucket)


class OffSite(NamedTuple):
    """All that a test of faults needs."""

    jobs: Jobs
    proxy: FaultyS3
    client: S3Client
    bucket: str


def fail(off_site: OffSite, live_url: str, *faults: Fault) -> Ended:
    """A backup that fails off site, is complete here, and costs nothing."""
    jobs, proxy, client, bucket = off_site
    proxy.faults = list(faults)
    ended = jobs.backup(live_url)
    proxy.faults = []
    assert ended.code not in {Exit.OK, Exit.FAILED}
    assert ended.error.startswith(f"the backup is complete in {jobs.backups}, but not off site: ")
    assert stored(client, bucket) == [OLD]
    assert len(jobs.names()) == 2
    assert OLD in jobs.names()
    assert SECRET not in ended.error + jobs.log
    assert KEY not in ended.error + jobs.log
    return ended


DUMP, MANIFEST = ".dump", ".dump.json"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("PUT", DUMP, "500"), Exit.UNREACHABLE),
        (Fault("PUT", DUMP, "slow"), Exit.UNREACHABLE),
        (Fault("PUT", DUMP, "412"), Exit.NOT_VERIFIED),
        (Fault("PUT", DUMP, "swallowed"), Exit.NOT_VERIFIED),
        (Fault("PUT", DUMP, "half kept"), Exit.NOT_VERIFIED),
        (Fault("HEAD", DUMP, "wrong checksum"), Exit.NOT_VERIFIED),
        (Fault("HEAD", DUMP, "500"), Exit.UNREACHABLE),
        (Fault("PUT", MANIFEST, "500"), Exit.UNREACHABLE),
        (Fault("PUT", MANIFEST, "swallowed"), Exit.NOT_VERIFIED),
        (Fault("PUT", MANIFEST, "half kept"), Exit.NOT_VERIFIED),
    ],
    ids=lambda value: f"{value.method} {value.path} {value.kind}" if isinstance(value, Fault) else "",
)
def test_a_store_that_fails_is_not_believed(off_site: OffSite, live_url: str, fault: Fault, code: Exit) -> None:
    assert fail(off_site, live_url, fault).code == code


def test_the_next_run_makes_up_for_one_that_failed(off_site: OffSite, live_url: str) -> None:
    jobs, _, client, bucket = off_site
    fail(off_site, live_url, Fault("PUT", MANIFEST, "500"))
    ended = jobs.backup(live_url)
    assert ended.code == Exit.OK
    assert stored(client, bucket) == [ended.details["name"]]


@pytest.mark.parametrize("path", [DUMP, MANIFEST])
def test_a_reply_that_is_lost_after_success_is_no_failure(off_site: OffSite, live_url: str, path: str) -> None:
    jobs, proxy, client, bucket = off_site
    proxy.faults = [Fault("PUT", path, "lost reply", times=1)]
    assert jobs.backup(live_url).code == Exit.OK
    assert stored(client, bucket) == jobs.names()
    assert ("PUT", "lost reply") in {(method, kind) for method, _, kind in proxy.log}


def test_a_bucket_that_is_not_there_or_refuses_is_told(off_site: OffSite, live_url: str) -> None:
    jobs, bucket = off_site.jobs, off_site.bucket
    jobs.use(S3_BUCKET="none")
    assert "the bucket does not exist: set S3_BUCKET" in fail(off_site, live_url).error
    jobs.use(S3_BUCKET=bucket, AWS_ENDPOINT_URL="http://127.0.0.1:1")
    ended = jobs.backup(live_url)
    assert ended.code == Exit.UNREACHABLE
    assert "the endpoint cannot be reached" in ended.error
    assert OLD in jobs.names()


def test_a_bucket_that_is_configured_wrongly_costs_no_backup_here(off_site: OffSite, live_url: str) -> None:
    off_site.jobs.use(AWS_ENDPOINT_URL="no url")
    assert "the endpoint is not a URL" in fail(off_site, live_url).error


def test_verify_fetches_from_off_site_and_proves_both(jobs: Jobs, live_url: str, client: S3Client, bucket: str) -> None:
    name = jobs.backup(live_url).details["name"]
    ended = jobs.verify()
    assert (ended.code, ended.details["location"]) == (Exit.OK, f"s3://{bucket}/{PREFIX}")
    assert ended.details["proven"] == [f"s3://{bucket}/{PREFIX}", str(jobs.backups)]
    assert listing(client, bucket)[-1].verified_at is not None
    # By its address alone, too.
    jobs.use(S3_BUCKET="", S3_PREFIX="")
    assert jobs.verify(f"s3://{bucket}/{PREFIX}/{name}").code == Exit.OK
    assert jobs.verify(f"s3://{bucket}/{PREFIX}/no{name}").code == Exit.NOT_VERIFIED
    assert jobs.verify(f"s3://{bucket}").code == Exit.CONFIGURATION


def test_a_damaged_copy_of_a_backup_that_was_proven_elsewhere_is_told_and_not_proven(
    jobs: Jobs, client: S3Client, bucket: str, uploaded: str
) -> None:
    assert jobs.verify().code == Exit.OK
    assert jobs.listing().backups[-1].verified_at is not None
    body = bytearray((jobs.backups / uploaded).read_bytes())
    body[len(body) // 2] ^= 16
    (jobs.backups / uploaded).write_bytes(body)
    ended = jobs.verify()
    assert ended.code == Exit.NOT_VERIFIED
    assert ended.error.startswith(f"the backup is proven in s3://{bucket}/{PREFIX}, but there is a damaged copy of it")
    assert ended.details["proven"] == [f"s3://{bucket}/{PREFIX}"]
    assert listing(client, bucket)[-1].verified_at is not None
    assert jobs.listing().backups[-1].verified_at is None


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault("GET", ".dump", "flipped answer"), Exit.NOT_VERIFIED, "seal is broken"),
        (Fault("GET", "Z.dump", "500"), Exit.UNREACHABLE, "status 500"),
        (Fault("HEAD", ".dump", "500"), Exit.UNREACHABLE, "status 500"),
        (Fault("PUT", ".verified.json", "500"), Exit.UNREACHABLE, "status 500"),
        (Fault("PUT", ".verified.json", "swallowed"), Exit.NOT_VERIFIED, "is not what was sent"),
    ],
    ids=lambda value: f"{value.method} {value.path} {value.kind}" if isinstance(value, Fault) else "",
)
def test_verify_proves_nothing_that_a_faulty_store_gives(
    off_site: OffSite, uploaded: str, fault: Fault, code: Exit, words: str
) -> None:
    jobs, proxy, client, bucket = off_site
    proxy.faults = [fault]
    ended = jobs.verify(uploaded)
    proxy.faults = []
    assert (ended.code, words in ended.error) == (code, True), ended
    assert listing(client, bucket)[-1].verified_at is None


def test_a_dump_that_has_changed_in_the_store_is_not_verified(
    jobs: Jobs, client: S3Client, bucket: str, uploaded: str
) -> None:
    body = bytearray(content(client, bucket, uploaded))
    body[len(body) // 2] ^= 16
    upload(client, bucket, {uploaded: bytes(body)}, prefix=f"{PREFIX}/")
    ended = jobs.verify()
    assert (ended.code, "is not what was written there: its SHA-256" in ended.error) == (Exit.NOT_VERIFIED, True)


@dataclass(frozen=True, slots=True)
class SmallParts(S3Options):
    """Even a small dump goes up in parts."""

    multipart_above: int = 50_000
    part_size: int = 50_000


def test_a_large_dump_goes_up_in_parts_and_what_killed_uploads_have_left_is_removed(
    jobs: Jobs, live_url: str, client: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3objects, "S3Options", SmallParts)
    leftovers = [f"{PREFIX}/{name_at(datetime.now(UTC) - timedelta(days=1), encrypted=False)}", "other/unioncore-x"]
    for key in leftovers:
        client.create_multipart_upload(Bucket=bucket, Key=key)
    ended = jobs.backup(live_url)
    assert ended.code == Exit.OK
    assert content(client, bucket, ended.details["name"]) == (jobs.backups / ended.details["name"]).read_bytes()
    assert client.head_object(Bucket=bucket, Key=f"{PREFIX}/{ended.details['name']}")["ETag"].endswith('-3"')
    left = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [upload["Key"] for upload in left] == leftovers[1:]


def test_a_dump_is_locked_and_classed_as_is_configured(
    jobs: Jobs, live_url: str, client: S3Client, bucket: str
) -> None:
    locked = f"{bucket}-l"
    client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    ended = jobs.backup(
        live_url, S3_BUCKET=locked, S3_OBJECT_LOCK="GOVERNANCE", RETENTION_DAYS="9", S3_SSE="AES256",
        UNIONCORE_BACKUP_STORAGE_CLASS="STANDARD_IA",
    )  # fmt: skip
    assert ended.code == Exit.OK
    name = f"{PREFIX}/{ended.details['name']}"
    dump, manifest = (client.head_object(Bucket=locked, Key=key) for key in (name, name + MANIFEST_SUFFIX))
    assert (dump["StorageClass"], manifest.get("StorageClass", "STANDARD")) == ("STANDARD_IA", "STANDARD")
    for head in (dump, manifest):
        assert head["ServerSideEncryption"] == "AES256"
        assert head["ObjectLockRetainUntilDate"] - datetime.now(UTC) > timedelta(days=8)


def test_a_restore_takes_the_newest_though_it_is_only_here_and_verify_what_is_off_site(
    jobs: Jobs, bucket: str, uploaded: str, live_url: str, postgres: EmbeddedPostgres
) -> None:
    newest = jobs.backup(live_url, S3_BUCKET="").details["name"]
    jobs.use(S3_BUCKET=bucket)
    assert jobs.verify().details["name"] == uploaded
    postgres.create_database("newest")
    try:
        ended = jobs.restore(url=postgres.url("newest"))
        assert (ended.code, ended.details["name"], ended.details["from"]) == (Exit.OK, newest, str(jobs.backups))
    finally:
        postgres.drop_database("newest")


@pytest.mark.usefixtures("uploaded")
def test_a_restore_takes_what_is_off_site(jobs: Jobs, bucket: str, postgres: EmbeddedPostgres) -> None:
    for path in jobs.backups.glob("unioncore-*"):
        path.unlink()
    postgres.create_database("from_s3")
    try:
        ended = jobs.restore(url=postgres.url("from_s3"))
        assert (ended.code, ended.details["from"]) == (Exit.OK, f"s3://{bucket}/{PREFIX}")
    finally:
        postgres.drop_database("from_s3")
