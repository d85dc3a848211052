"""A restore that is told no name takes the newest backup that there is, and one place's trouble does not hide it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs
from tests.storing import moto, path_style, upload, use_s3

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with moto() as server:
        yield server.url


@pytest.fixture
def bucket(jobs: Jobs, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty bucket that is configured."""
    use_s3(monkeypatch, store)
    name = f"b-{abs(hash(tmp_path))}"
    path_style().create_bucket(Bucket=name)
    jobs.use(S3_BUCKET=name, S3_PATH_STYLE="true", UNIONCORE_S3_WAIT="0.7")
    return name


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.create_database("newest")
    yield postgres.url("newest")
    postgres.drop_database("newest")


@pytest.mark.usefixtures("backup")
def test_the_backup_here_is_restored_while_the_bucket_is_down(jobs: Jobs, bucket: str, target: str) -> None:
    ended = jobs.restore(url=target, AWS_ENDPOINT_URL=NOWHERE)
    assert (ended.code, ended.details.get("from")) == (Exit.OK, str(jobs.backups)), ended.error
    assert f"s3://{bucket}" in jobs.log
    assert "a newer backup may lie there" in jobs.log


@pytest.mark.usefixtures("backup", "bucket")
def test_the_backup_here_is_restored_while_the_bucket_is_empty(jobs: Jobs, target: str) -> None:
    ended = jobs.restore(url=target)
    assert (ended.code, ended.details.get("from")) == (Exit.OK, str(jobs.backups)), ended.error


def test_a_backup_that_is_damaged_in_the_bucket_is_taken_from_here(
    jobs: Jobs, bucket: str, backup: Path, target: str
) -> None:
    files = {file.name: file.read_bytes() for file in jobs.backups.glob(f"{backup.name}*")}
    upload(path_style(), bucket, {**files, backup.name: b"cut off"})
    ended = jobs.restore(url=target)
    assert (ended.code, ended.details.get("from")) == (Exit.OK, str(jobs.backups)), ended.error
    # A newer one that is none hides behind nothing.
    upload(path_style(), bucket, {"unioncore-99990101T000000000Z.dump.json": b"{}"})
    ended = jobs.restore(url=target)
    assert (ended.code, "99990101T000000000Z.dump.json is no backup" in ended.error) == (Exit.NOT_VERIFIED, True)


def test_without_any_backup_the_trouble_is_told(jobs: Jobs, bucket: str, target: str) -> None:
    ended = jobs.restore(url=target)
    assert ended.code == Exit.NOT_VERIFIED
    assert f"there is no complete backup in s3://{bucket} or {jobs.backups}" in ended.error
    assert jobs.restore(url=target, AWS_ENDPOINT_URL=NOWHERE).code == Exit.UNREACHABLE
