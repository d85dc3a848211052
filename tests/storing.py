"""Backups as the backup job leaves them, in a directory or a bucket."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from mypy_boto3_s3 import S3Client

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest, Proof
from exporter.s3 import s3_client
from scripts.dev.bucket import S3Server
from scripts.dev.servers import Server

path_style = partial(s3_client, path_style=True)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
KEY = "AKIAOPENSESAME"
SECRET = "sesame-secret"
DUMP = b"a dump"
SHA256 = "0123456789abcdef" * 4


def backup(name: str, *, age: float = HOUR, verified: bool = False, database: str | None = None) -> dict[str, bytes]:
    """The files of a backup that was finished `age` seconds before NOW, of the database that its manifest names."""
    finished = datetime.fromtimestamp(NOW - age, UTC)
    extra: dict[str, object] = {"tables": {}} | ({"contents": {"database": database}} if database else {})
    files = {
        name: DUMP,
        name + MANIFEST_SUFFIX: Manifest(name, SHA256, len(DUMP), finished, finished, extra).render(),
    }
    if verified:
        files[name + PROOF_SUFFIX] = Proof(SHA256, datetime.fromtimestamp(NOW, UTC)).render()
    return files


def fill(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory."""
    for name, content in files.items():
        (directory / name).write_bytes(content)


def upload(client: S3Client, bucket: str, files: Mapping[str, bytes], *, prefix: str = "") -> None:
    """Write files into a bucket."""
    for name, content in files.items():
        client.put_object(Bucket=bucket, Key=prefix + name, Body=content)


def moto(**env: str) -> Server:
    """A real S3 server, to be entered."""
    return S3Server(env=env)


def use_s3(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set boto3's own variables, and nothing else of its configuration."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def hung_server() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
