"""Configuration: environment variables, each also as `NAME_FILE`, a file that holds the value.

All errors are reported at once, each with its variable's name; no message holds a value. What the exporter and the
operations jobs share is in `CommonSettings`; `scripts.job.settings` has the jobs' own.
"""

import os
import re
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, overload
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from exporter.dsn import Address, parse

Seconds = Annotated[float, Field(gt=0, le=3600)]
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[\w.:/-]+")
"""A bucket's name, as widely as any store takes it, or an access point's."""
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class ConfigurationError(Exception):
    """The configuration can't be used; the message has one line for each error."""


def zone_name(name: str) -> str:
    """Check that a text names a time zone.

    Raises:
        ValueError: It does not.
    """
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError("is not the name of a time zone (for example America/Los_Angeles)") from error
    return name


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT (for example 127.0.0.1:9741, or [::]:9741)")
    return text


def _bucket(text: str) -> str:
    if text and not _BUCKET.fullmatch(text):
        raise ValueError("must be a bucket's name alone: no s3://, no host, and what keys begin with is S3_PREFIX")
    return text


def variable_of(field: FieldInfo) -> str:
    """Return the environment variable of a setting."""
    return str(field.validation_alias)


class CommonSettings(BaseSettings):
    """What the exporter and the jobs have in common: the database, the backup stores, pushes, logs.

    Attributes:
        needs_database: False for a job that can do without the database's address.
    """

    needs_database: ClassVar[bool] = True

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True, hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="UnionCore's database, as the platform gives it: `postgres://` or `postgresql://`, "
        "a driver suffix, `?sslmode=…`, `?options=-csearch_path%3D…` and a raw password are all understood.",
        examples=["postgresql://unioncore_exporter:PASSWORD@db.example.org/unioncore?sslmode=require"],
    )
    db_host: str = Field("", validation_alias="DB_HOST", description="The server, where DATABASE_URL is not set.")
    db_port: int = Field(5432, validation_alias="DB_PORT", ge=1, le=65535, description="Its port.")
    db_name: str = Field("unioncore", validation_alias="DB_NAME", description="The database.")
    db_user: str = Field("unioncore", validation_alias="DB_USER", description="The role.")
    db_password: SecretStr | None = Field(None, validation_alias="DB_PASSWORD", description="Its password.")
    connect_seconds: Seconds = Field(
        5.0, validation_alias="UNIONCORE_CONNECT_TIMEOUT", description="For an attempt to connect, in seconds."
    )
    backup_directory: Path = Field(
        Path("/var/backups/unioncore"), validation_alias="BACKUP_DIR", description="The local backups."
    )
    s3_bucket: Annotated[str, AfterValidator(_bucket)] = Field(
        "",
        validation_alias="S3_BUCKET",
        description="The bucket of the off-site backups; boto3's own `AWS_*` variables say how to reach it "
        "(`AWS_ENDPOINT_URL` for a store that is not Amazon's).",
    )
    s3_prefix: str = Field("", validation_alias="S3_PREFIX", description="What the backups' keys begin with.")
    s3_path_style: bool = Field(
        False, validation_alias="S3_PATH_STYLE", description="Put the bucket into the path, not the host name."
    )
    push_token: SecretStr | None = Field(
        None,
        validation_alias="UNIONCORE_PUSH_TOKEN",
        description="The bearer token of the jobs' pushes. Without it, pushes are taken on loopback only.",
    )
    log_format: Literal["logfmt", "json"] = Field(
        "logfmt", validation_alias="UNIONCORE_LOG_FORMAT", description="How log lines are written: logfmt or json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        validation_alias="UNIONCORE_LOG_LEVEL",
        description="The least that is logged; of libraries, nothing below info.",
    )

    @field_validator("database_url")
    @classmethod
    def _readable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse(value.get_secret_value())
        return value

    def address(self) -> Address:
        """Return where the database is."""
        if self.database_url is not None:
            return parse(self.database_url.get_secret_value())
        password = self.db_password.get_secret_value() if self.db_password else None
        return Address(self.db_host, self.db_port, self.db_name, self.db_user, password)


class Settings(CommonSettings):
    """What can be configured of the exporter."""

    timezone: Annotated[str, AfterValidator(zone_name)] = Field(
        "UTC",
        validation_alias="UNIONCORE_TIMEZONE",
        description='The zone whose calendar day is "today".',
        examples=["America/Los_Angeles"],
    )
    listen: Annotated[str, AfterValidator(_listen)] = Field(
        "127.0.0.1:9741", validation_alias="UNIONCORE_LISTEN", description="Where the exporter listens."
    )
    metrics_token: SecretStr | None = Field(
        None,
        validation_alias="UNIONCORE_METRICS_TOKEN",
        description="If set, `/metrics` and `/` ask for it as a bearer token, or as the password of basic auth "
        "(any user name), and `/health/ready` says only with it why something fails.",
    )
    tls_certificate: Path | None = Field(
        None, validation_alias="UNIONCORE_TLS_CERT", description="Certificate chain (PEM): serve HTTPS."
    )
    tls_key: Path | None = Field(None, validation_alias="UNIONCORE_TLS_KEY", description="Its private key (PEM).")
    scrape_seconds: Seconds = Field(
        9.0,
        validation_alias="UNIONCORE_SCRAPE_TIMEOUT",
        description="The longest a scrape may take, in seconds; Prometheus' own limit counts if it is shorter.",
    )
    scrape_offset_seconds: Annotated[float, Field(ge=0, le=60)] = Field(
        0.5,
        validation_alias="UNIONCORE_SCRAPE_TIMEOUT_OFFSET",
        description="How long before Prometheus' limit the answer is sent, in seconds.",
    )
    statement_seconds: Seconds = Field(
        8.0, validation_alias="UNIONCORE_STATEMENT_TIMEOUT", description="For any one statement, in seconds."
    )
    lock_seconds: Seconds = Field(
        1.0, validation_alias="UNIONCORE_LOCK_TIMEOUT", description="How long to wait for a locked table, in seconds."
    )
    recount_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        300.0,
        validation_alias="UNIONCORE_RECOUNT_SECONDS",
        description="The longest that a count is kept where the database's statistics show no change, in seconds.",
    )
    state_directory: Path = Field(
        Path("/var/lib/unioncore-exporter"),
        validation_alias="UNIONCORE_STATE_DIR",
        description="Where the job results that were pushed are kept.",
    )
    s3_seconds: Seconds = Field(
        5.0, validation_alias="UNIONCORE_S3_TIMEOUT", description="For a look at the bucket, in seconds."
    )
    s3_refresh_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0,
        validation_alias="UNIONCORE_S3_REFRESH",
        description="The bucket is listed no oftener than this, in seconds.",
    )

    def listen_address(self) -> tuple[str, int]:
        """Return the host and the port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def check_certificates(self) -> None:
        """Look whether the files of certificates are there, and are some.

        Raises:
            ConfigurationError: One is not; it is named, with its variable.
        """
        problems, address = [], self.address()
        try:
            address.connect_arguments()
        except OSError as error:
            problems.append(f"DATABASE_URL: its sslrootcert {_unfit(address.sslrootcert, error)}")
        certificate, key = self.tls_certificate, self.tls_key
        if certificate and key:
            name, path = "UNIONCORE_TLS_KEY", key
            try:
                key.read_bytes()
                name, path = "UNIONCORE_TLS_CERT", certificate
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
            except OSError as error:
                problems.append(f"{name}: {_unfit(path, error)}")
        if problems:
            raise ConfigurationError("\n".join(problems))

    def is_loopback(self) -> bool:
        """Say whether only this machine can reach the exporter."""
        return self.listen_address()[0] in _LOOPBACK


AnySettings = TypeVar("AnySettings", bound=CommonSettings)


@overload
def load() -> Settings: ...
@overload
def load(kind: type[AnySettings]) -> AnySettings: ...
def load(kind: type[CommonSettings] = Settings) -> CommonSettings:
    """Read the configuration from the environment.

    Args:
        kind: Whose: the exporter's, or a job's.

    Raises:
        ConfigurationError: It can't be used.
    """
    variables = [variable_of(field) for field in kind.model_fields.values()]
    values, problems = _from_files(variables)
    present = {name for name in variables if os.environ.get(name) or os.environ.get(f"{name}_FILE")}
    problems += _missing(present, database=kind.needs_database)
    try:
        settings = kind(**values)
    except ValidationError as error:
        problems += [_sentence(problem) for problem in error.errors(include_input=False, include_url=False)]
    else:
        if not problems:
            return settings
    raise ConfigurationError("\n".join(problems))


def _from_files(variables: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Read each `NAME_FILE`; return the values, and what was wrong."""
    values: dict[str, Any] = {}
    problems = []
    for name in variables:
        path = os.environ.get(f"{name}_FILE")
        if not path:
            continue
        if os.environ.get(name):
            problems.append(f"{name}_FILE: {name} is set too; set one of them")
            continue
        try:
            values[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            if not values[name]:
                # Taken as "not set", an empty secret would leave a door open that someone meant to close.
                problems.append(f"{name}_FILE: {path} is empty")
        except UnicodeDecodeError:
            problems.append(f"{name}_FILE: {path} is not text")
        except OSError as error:
            problems.append(f"{name}_FILE: {path} can't be read: {error.strerror}")
    return values, problems


def _missing(present: Collection[str], *, database: bool) -> list[str]:
    """Return what is wrong with the set of variables that are there."""
    problems = []
    if database and not {"DATABASE_URL", "DB_HOST"} & set(present):
        problems.append("DATABASE_URL: set it, or DB_HOST (with DB_PORT, DB_NAME, DB_USER, DB_PASSWORD)")
    for one, other in (("UNIONCORE_TLS_CERT", "UNIONCORE_TLS_KEY"), ("UNIONCORE_TLS_KEY", "UNIONCORE_TLS_CERT")):
        if one in present and other not in present:
            problems.append(f"{other}: set it too, or unset {one}")
    return problems


def _unfit(path: Path | str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{path} is no certificate (PEM), or not that of the key: {error.reason}"
    return f"{path} can't be read: {error.strerror}"


def _sentence(problem: Mapping[str, Any]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(map(str, problem['loc']))}: {message[0].lower()}{message[1:]}"
