"""The jobs' configuration, over what they share with the exporter (`exporter.settings.CommonSettings`).

A job's own variables are in a class of its own, so that a wrong value stops the jobs that read it, and no other. The
first line of a class's docstring becomes a title in docs/configuration.md.
"""

from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, Field

from exporter.settings import CommonSettings, Seconds

Duration = Annotated[float, Field(gt=0, le=7 * 86400)]
"""A time limit in seconds."""


def http_url(text: str) -> str:
    """Check that a text is an HTTP URL that a path can be appended to, without a password, and return it so.

    Raises:
        ValueError: It is not.
    """
    text = text.strip()
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError("is not a URL (for example http://127.0.0.1:9741)") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise ValueError("must not hold a password")
    if url.query or url.fragment:
        raise ValueError("must end with the host, the port or a path: no ? and no #")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("must have a port from 1 to 65535")
    return text.rstrip("/")


class JobSettings(CommonSettings):
    """What can be configured of every job."""

    exporter_url: Annotated[str, AfterValidator(http_url)] = Field(
        "http://127.0.0.1:9741",
        validation_alias="UNIONCORE_EXPORTER_URL",
        description="Where the jobs push their results: the exporter, or a Pushgateway.",
    )
    own_spool_directory: Path | None = Field(
        None,
        validation_alias="UNIONCORE_SPOOL_DIR",
        description="Where the jobs keep their locks, and results that could not be pushed yet; `.spool` in "
        "BACKUP_DIR if it is not set.",
    )

    @property
    def spool_directory(self) -> Path:
        """Where locks and undelivered results are kept."""
        return self.own_spool_directory or self.backup_directory / ".spool"


class StoreSettings(JobSettings):
    """What can be configured of the jobs that write to a bucket."""

    s3_encryption: Literal["", "AES256", "aws:kms"] = Field(
        "",
        validation_alias="S3_SSE",
        description="Server-side encryption: `AES256` or `aws:kms`; the bucket's own default if it is not set.",
    )
    s3_kms_key: str = Field(
        "",
        validation_alias="S3_KMS_KEY_ID",
        description="The KMS key with `aws:kms`; the account's default if not set.",
    )
    s3_lock_mode: Literal["", "GOVERNANCE", "COMPLIANCE"] = Field(
        "", validation_alias="S3_OBJECT_LOCK", description="Object Lock's mode, in a bucket that has it switched on."
    )
    s3_checksums: bool = Field(
        True,
        validation_alias="S3_CHECKSUMS",
        description="Send SHA-256 checksums for the store to check; off for one that refuses them.",
    )
    s3_conditional: bool = Field(
        True,
        validation_alias="S3_CONDITIONAL_WRITES",
        description="Have the store itself refuse to overwrite; off for one that does not know `If-None-Match`.",
    )
    s3_wait_seconds: Seconds = Field(
        60.0,
        validation_alias="UNIONCORE_S3_WAIT",
        description="How long a job waits for an answer of the bucket, in seconds; each request is tried 5 times.",
    )


class CleanupSettings(JobSettings):
    """What can be configured of the cleanup."""

    token_keep_days: Annotated[float, Field(ge=0, le=3650)] = Field(
        30.0,
        validation_alias="UNIONCORE_TOKEN_KEEP_DAYS",
        description="How long tokens are kept after they were used, revoked or have expired, in days.",
    )
    cleanup_seconds: Duration = Field(
        1800.0, validation_alias="UNIONCORE_CLEANUP_TIMEOUT", description="For a whole cleanup, in seconds."
    )
