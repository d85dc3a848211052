"""How the exporter starts, and what is in its log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.dev.servers import Exporter
from tests.storing import KEY, moto, path_style, use_s3


def test_every_line_of_the_log_is_one_json_object(tmp_path: Path) -> None:
    environment = {"UNIONCORE_LOG_FORMAT": "json", "BACKUP_DIR": str(tmp_path / "missing")}
    with Exporter("postgresql://nobody@127.0.0.1:1/nothing", env=environment) as server:
        for _ in range(3):
            server.get("/metrics")
        server.stop()
        lines = [json.loads(line) for line in server.log.splitlines()]
    begins = [line["what"] for line in lines if line["event"] == "failure begins"]
    assert sorted(begins) == ["collector backups_local", "database"]
    assert all({"timestamp", "level", "event"} <= set(line) for line in lines)


def test_at_level_debug_no_secret_of_the_bucket_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto() as bucket:
        use_s3(monkeypatch, bucket.url)
        path_style().create_bucket(Bucket="bucket")
        environment = {"UNIONCORE_LOG_LEVEL": "debug", "S3_BUCKET": "bucket", "S3_PATH_STYLE": "1"}
        environment |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
        environment["AWS_SESSION_TOKEN"] = "sesame-session"
        with Exporter("postgresql://nobody:hush-hush@127.0.0.1:1/nothing", env=environment) as server:
            assert 'unioncore_backups{location="s3"} 0.0' in server.get("/metrics").text
            assert server.stop() == 0
            assert "failure begins" in server.log
            assert not [secret for secret in ("sesame", KEY, "hush-hush") if secret in server.log]


def test_every_error_of_the_configuration_is_told_at_once() -> None:
    environment = {"PATH": os.environ["PATH"], "UNIONCORE_TIMEZONE": "Mars", "UNIONCORE_LISTEN": "here"}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "serve"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    for variable in ("DATABASE_URL", "UNIONCORE_TIMEZONE", "UNIONCORE_LISTEN"):
        assert f"\n{variable}: " in done.stderr


@pytest.mark.parametrize("command", ["serve", "check"])
def test_certificates_that_are_missing_or_none_are_told_by_variable_and_path(command: str, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("none")
    url = "postgresql://reader:hush-hush@127.0.0.1:1/nothing?sslmode=verify-full&sslrootcert="
    for root, certificate, why in (
        ("/nowhere/ca.pem", "/nowhere/chain.pem", "can't be read: No such file or directory"),
        (str(tmp_path / "none.pem"), str(tmp_path / "none.pem"), "is no certificate (PEM)"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "exporter", command],
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": url + root,
                "UNIONCORE_TLS_CERT": certificate,
                "UNIONCORE_TLS_KEY": str(tmp_path / "none.pem"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 2
        assert f"\nDATABASE_URL: its sslrootcert {root} {why}" in done.stderr
        assert f"\nUNIONCORE_TLS_CERT: {certificate} {why}" in done.stderr
        assert "hush-hush" not in done.stderr
        assert "Traceback" not in done.stderr
