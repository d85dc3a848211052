"""What can be configured of the audit archive."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scripts.job.settings import Duration, StoreSettings

LEGAL_DAYS = 7 * 366
"""For how many days an audit event must be kept (NLRA: seven years)."""


class ArchiveSettings(StoreSettings):
    """What can be configured of the jobs that write and read the audit archive."""

    own_archive_directory: Path | None = Field(
        None,
        validation_alias="ARCHIVE_DIR",
        description="Where the audit archive is kept if S3_BUCKET is not set; `audit-archive` in BACKUP_DIR if this is "
        "not set either.",
    )
    archive_threshold_days: int = Field(
        365,
        validation_alias="ARCHIVE_THRESHOLD_DAYS",
        ge=1,
        description="Audit events that are older than this many days are archived.",
    )
    archive_chunk_rows: int = Field(
        50_000,
        validation_alias="UNIONCORE_ARCHIVE_CHUNK_ROWS",
        ge=1,
        le=1_000_000,
        description="How many audit events a file of the archive holds at most.",
    )
    archive_storage_class: Literal[
        "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"
    ] = Field(
        "GLACIER_IR",
        validation_alias="UNIONCORE_ARCHIVE_STORAGE_CLASS",
        description="The storage class of the archive's files in S3. GLACIER and DEEP_ARCHIVE can't be read back, so "
        "files become it once they are verified.",
    )
    archive_lock_days: int = Field(
        LEGAL_DAYS,
        validation_alias="UNIONCORE_ARCHIVE_LOCK_DAYS",
        ge=1,
        description="For how many days the archive's files are locked, if S3_OBJECT_LOCK is set.",
    )
    archive_seconds: Duration = Field(
        6 * 3600.0,
        validation_alias="UNIONCORE_ARCHIVE_TIMEOUT",
        description="For a whole run of `archive` or `restore-archive`, in seconds.",
    )

    @property
    def archive_directory(self) -> Path:
        """Where the archive is kept if there is no bucket."""
        return self.own_archive_directory or self.backup_directory / "audit-archive"


class ListSettings(ArchiveSettings):
    """What can be configured of `archive list` and `archive verify`."""

    needs_database: ClassVar[bool] = False


class DeleteSettings(ArchiveSettings):
    """What can be configured of `archive --delete` and of the guard in the database."""

    audit_retention_days: int | None = Field(
        None,
        validation_alias="UNIONCORE_AUDIT_RETENTION_DAYS",
        ge=30,
        description="`archive --delete` deletes archived audit events that are older than this many days; it refuses "
        "to run if this is not set.",
    )
    archive_grace_days: Annotated[float, Field(ge=0, le=3650)] = Field(
        30.0,
        validation_alias="UNIONCORE_ARCHIVE_GRACE_DAYS",
        description="How long audit events stay in the database after they were archived, in days.",
    )
