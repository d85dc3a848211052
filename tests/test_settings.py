"""Configuration: all errors at once, files for secrets, and secrets nowhere else."""

import os
import subprocess
import sys
import traceback
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from exporter.settings import ConfigurationError, Settings, load, variable_of

URL = "postgresql://reader:secret@db.example.org/unioncore"
SECRETS = ("DATABASE_URL", "DB_PASSWORD", "UNIONCORE_METRICS_TOKEN", "UNIONCORE_PUSH_TOKEN")
# One value that each setting takes, other than its default.
VALUES = {
    "DATABASE_URL": URL,
    "DB_HOST": "db.example.org",
    "DB_PORT": "6432",
    "DB_NAME": "other",
    "DB_USER": "reader",
    "DB_PASSWORD": "secret",
    "UNIONCORE_TIMEZONE": "America/Los_Angeles",
    "UNIONCORE_LISTEN": "[::1]:1234",
    "UNIONCORE_METRICS_TOKEN": "secret",
    "UNIONCORE_PUSH_TOKEN": "secret",
    "UNIONCORE_TLS_CERT": "/tls/chain.pem",
    "UNIONCORE_TLS_KEY": "/tls/key.pem",
    "UNIONCORE_SCRAPE_TIMEOUT": "3.5",
    "UNIONCORE_SCRAPE_TIMEOUT_OFFSET": "0",
    "UNIONCORE_CONNECT_TIMEOUT": "3.5",
    "UNIONCORE_STATEMENT_TIMEOUT": "3.5",
    "UNIONCORE_LOCK_TIMEOUT": "3.5",
    "UNIONCORE_RECOUNT_SECONDS": "60",
    "UNIONCORE_STATE_DIR": "/state",
    "BACKUP_DIR": "/backups",
    "S3_BUCKET": "bucket",
    "S3_PREFIX": "daily",
    "S3_PATH_STYLE": "true",
    "UNIONCORE_S3_TIMEOUT": "3.5",
    "UNIONCORE_S3_REFRESH": "0",
    "UNIONCORE_LOG_FORMAT": "json",
    "UNIONCORE_LOG_LEVEL": "debug",
}
# What goes with a setting that can't stand alone.
COMPANIONS = {"UNIONCORE_TLS_CERT": {"UNIONCORE_TLS_KEY": "k"}, "UNIONCORE_TLS_KEY": {"UNIONCORE_TLS_CERT": "c"}}


def loaded(**environment: str) -> Settings:
    with patch.dict(os.environ, environment, clear=True):
        return load()


def problems(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(**environment)
    return str(caught.value).splitlines()


def test_every_setting_has_a_value_to_be_tried_here() -> None:
    assert set(VALUES) == {variable_of(field) for field in Settings.model_fields.values()}


@pytest.mark.parametrize("variable", VALUES)
def test_a_setting_may_stand_in_the_environment_or_in_a_file(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text(f"{VALUES[variable]}\n")
    base = {"DATABASE_URL": URL, **COMPANIONS.get(variable, {})}
    base.pop(variable, None)
    from_environment = loaded(**base, **{variable: VALUES[variable]})
    from_file = loaded(**base, **{f"{variable}_FILE": str(file)})
    assert from_environment == from_file
    (name,) = (name for name, field in Settings.model_fields.items() if variable_of(field) == variable)
    value = getattr(from_file, name)
    shown = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    assert shown in (VALUES[variable], f"{VALUES[variable]}.0", VALUES[variable].capitalize())
    assert value != Settings.model_fields[name].default


def test_a_setting_that_is_both_in_the_environment_and_in_a_file_is_an_error(tmp_path: Path) -> None:
    told = problems(DATABASE_URL=URL, DB_PASSWORD="a", DB_PASSWORD_FILE=str(tmp_path))
    assert told == ["DB_PASSWORD_FILE: DB_PASSWORD is set too; set one of them"]


def test_a_file_that_can_not_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")
    assert problems(DATABASE_URL_FILE=str(tmp_path / "nowhere"), DB_PASSWORD_FILE=str(tmp_path / "binary")) == [
        f"DATABASE_URL_FILE: {tmp_path}/nowhere can't be read: No such file or directory",
        f"DB_PASSWORD_FILE: {tmp_path}/binary is not text",
    ]


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert loaded(DATABASE_URL=URL, UNIONCORE_TIMEZONE="", DB_PORT="", UNIONCORE_PUSH_TOKEN="", S3_BUCKET_FILE="") == (
        loaded(DATABASE_URL=URL)
    )
    assert problems(DATABASE_URL="") == [
        "DATABASE_URL: set it, or DB_HOST (with DB_PORT, DB_NAME, DB_USER, DB_PASSWORD)"
    ]


def test_every_error_is_told_at_once_in_a_line_that_begins_with_the_variable(tmp_path: Path) -> None:
    told = problems(
        DATABASE_URL="mysql://reader:secret@db/unioncore",
        DB_PORT="65536",
        UNIONCORE_TIMEZONE="Mars/Olympus",
        UNIONCORE_LISTEN="9741",
        UNIONCORE_TLS_CERT="/tls/chain.pem",
        UNIONCORE_SCRAPE_TIMEOUT="soon",
        UNIONCORE_LOCK_TIMEOUT="0",
        UNIONCORE_RECOUNT_SECONDS="nan",
        S3_PATH_STYLE="perhaps",
        UNIONCORE_LOG_FORMAT="xml",
        UNIONCORE_PUSH_TOKEN_FILE=str(tmp_path),
    )
    assert sorted(line.partition(":")[0] for line in told) == [
        "DATABASE_URL",
        "DB_PORT",
        "S3_PATH_STYLE",
        "UNIONCORE_LISTEN",
        "UNIONCORE_LOCK_TIMEOUT",
        "UNIONCORE_LOG_FORMAT",
        "UNIONCORE_PUSH_TOKEN_FILE",
        "UNIONCORE_RECOUNT_SECONDS",
        "UNIONCORE_SCRAPE_TIMEOUT",
        "UNIONCORE_TIMEZONE",
        "UNIONCORE_TLS_KEY",
    ]


@pytest.mark.parametrize(
    ("listen", "address", "loopback"),
    [
        ("127.0.0.1:9741", ("127.0.0.1", 9741), True),
        ("localhost:1", ("localhost", 1), True),
        ("[::1]:9741", ("::1", 9741), True),
        ("0.0.0.0:80", ("0.0.0.0", 80), False),
        ("[::]:9741", ("::", 9741), False),
        ("metrics.example.org:9741", ("metrics.example.org", 9741), False),
    ],
)
def test_only_a_loopback_address_counts_as_loopback(listen: str, address: tuple[str, int], loopback: bool) -> None:
    settings = loaded(DATABASE_URL=URL, UNIONCORE_LISTEN=listen)
    assert (settings.listen_address(), settings.is_loopback()) == (address, loopback)


@pytest.mark.parametrize("listen", ["9741", ":9741", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"])
def test_a_listening_address_needs_a_host_and_a_port(listen: str) -> None:
    assert problems(DATABASE_URL=URL, UNIONCORE_LISTEN=listen)[0].startswith("UNIONCORE_LISTEN: must be HOST:PORT")


@pytest.mark.parametrize("bucket", [" ", "s3://backups", "backups/union", "backups ", "https://s3.example.org/backups"])
def test_a_bucket_is_told_by_its_name_alone(bucket: str) -> None:
    (line,) = problems(DATABASE_URL=URL, S3_BUCKET=bucket)
    assert line.startswith("S3_BUCKET: must be a bucket's name alone")
    for name in ("unioncore-backups", "arn:aws:s3:us-west-2:123456789012:accesspoint/backups"):
        assert loaded(DATABASE_URL=URL, S3_BUCKET=name).s3_bucket == name


def test_the_database_may_be_told_in_parts() -> None:
    settings = loaded(DB_HOST="db", DB_PORT="6432", DB_NAME="n", DB_USER="u", DB_PASSWORD="a:/?#@%41 b")
    address = settings.address()
    assert (str(address), address.password) == ("u@db:6432/n", "a:/?#@%41 b")


def test_the_url_goes_before_the_parts() -> None:
    assert str(loaded(DATABASE_URL=URL, DB_HOST="other").address()) == "reader@db.example.org:5432/unioncore"


MARK = "s3kr1t"
# These take any text, and what they hold is no secret: they are shown.
ANY_TEXT = {"DB_HOST", "DB_NAME", "DB_USER", "S3_BUCKET", "S3_PREFIX", "BACKUP_DIR", "UNIONCORE_STATE_DIR"} | set(
    COMPANIONS
)
SECRET = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(
    lambda text: f"{MARK}{text}"
)


@given(
    secret=SECRET,
    form=st.sampled_from(
        [
            "postgresql://reader:{}@db.example.org:5432/unioncore?sslmode=require",
            "postgresql://reader:{}@[::1/unioncore",
            "postgresql://reader:{}@db:port/unioncore",
            "postgresql://:{}@db/unioncore",
            "postgresql://reader:{}",
            "postgresql://db/unioncore?user=reader&password={}",
            "postgresql://reader:x@db/unioncore?sslmode={}",
            "{}",
        ]
    ),
    wrong=st.sets(st.sampled_from(sorted(set(VALUES) - ANY_TEXT))),
)
def test_a_secret_is_in_no_message_and_no_representation_wherever_it_was_put(
    secret: str, form: str, wrong: set[str]
) -> None:
    environment = dict.fromkeys(wrong, secret) | dict.fromkeys(SECRETS, secret) | {"DATABASE_URL": form.format(secret)}
    try:
        settings = loaded(**environment)
    except ConfigurationError as error:
        shown = [str(error), repr(error), *traceback.format_exception(error)]
    else:
        shown = [str(settings), repr(settings), str(settings.address()), repr(settings.address())]
        shown += [repr(settings.model_dump()), settings.model_dump_json()]
    assert [text for text in shown if MARK in text] == []


@pytest.mark.parametrize("command", ["serve", "check", "indexes"])
def test_the_command_ends_with_2_and_tells_every_error_on_stderr(command: str) -> None:
    environment = {"DATABASE_URL": f"mysql://reader:{MARK}@db", "DB_PORT": MARK, "UNIONCORE_LISTEN": MARK}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    heading, *told = done.stderr.splitlines()
    assert heading == "unioncore-exporter: the configuration can't be used:"
    assert [line.partition(":")[0] for line in told] == list(environment)
    assert MARK not in done.stderr


def test_an_empty_secret_file_is_an_error_and_not_an_open_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@h/d")
    monkeypatch.setenv("UNIONCORE_METRICS_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match=r"UNIONCORE_METRICS_TOKEN_FILE: .*token is empty"):
        load()
