"""What can be configured of the jobs that make and use backups."""

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr

from exporter.dsn import Address, parse
from scripts.backup.age import check_recipients
from scripts.job.settings import Duration, StoreSettings


def _database_url(url: SecretStr) -> SecretStr:
    parse(url.get_secret_value())
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
"""A setting that is a database's URL."""


class BackupsSettings(StoreSettings):
    """What can be configured of every job that deals with backups."""

    needs_database: ClassVar[bool] = False

    programs_directory: Path | None = Field(
        None,
        validation_alias="UNIONCORE_PG_BIN",
        description="The directory of pg_dump, pg_restore and psql (and of postgres and initdb, for `verify`). If it "
        "is not set, those of the server's version are looked for on PATH and in /usr/lib/postgresql.",
    )
    age_identity: SecretStr | None = Field(
        None,
        validation_alias="UNIONCORE_AGE_IDENTITY",
        description="The content of a file that age-keygen wrote, to decrypt backups; as a file, it is named by "
        "UNIONCORE_AGE_IDENTITY_FILE.",
    )
    restore_jobs: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1),
        validation_alias="UNIONCORE_RESTORE_JOBS",
        ge=1,
        le=64,
        description="How many processes restore at once; not more than 4, nor than there are processors, if not set.",
    )
    restore_seconds: Duration = Field(
        6 * 3600.0,
        validation_alias="UNIONCORE_RESTORE_TIMEOUT",
        description="For a whole restore or verify, in seconds.",
    )

    @property
    def source(self) -> Address | None:
        """Where the database is that is backed up, if that is configured."""
        return self.address() if self.database_url is not None or self.db_host else None


AnyBackups = TypeVar("AnyBackups", bound=BackupsSettings)
"""The settings of any job that deals with backups."""


class BackupSettings(BackupsSettings):
    """What can be configured of the backup."""

    needs_database: ClassVar[bool] = True

    retention_days: int = Field(
        30,
        validation_alias="RETENTION_DAYS",
        ge=1,
        description="Backups that are older than this many days are deleted, as far as UNIONCORE_MIN_KEEP lets them. "
        "With Object Lock, so long is a backup locked.",
    )
    min_keep: int = Field(
        7,
        validation_alias="UNIONCORE_MIN_KEEP",
        ge=1,
        description="A backup is deleted only if there are at least this many newer complete ones.",
    )
    storage_class: Literal["", "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"] = Field(
        "",
        validation_alias="UNIONCORE_BACKUP_STORAGE_CLASS",
        description="The dumps' storage class in the bucket: one that can be read at once, for `verify` does.",
    )
    zstd_level: int = Field(
        1,
        validation_alias="UNIONCORE_BACKUP_ZSTD_LEVEL",
        ge=1,
        le=19,
        description="How hard a dump is compressed, if pg_dump has zstd: 1 is the fastest. At 6 it is a tenth smaller, "
        "and the backup takes half as long again.",
    )
    age_recipients: Annotated[str, AfterValidator(check_recipients)] = Field(
        "",
        validation_alias="UNIONCORE_AGE_RECIPIENTS",
        description="Public keys of age (`age1…`), separated by spaces, to encrypt backups for before they are stored. "
        "Their manifests stay readable: names, counts, definitions but for those of functions.",
    )
    backup_seconds: Duration = Field(
        4 * 3600.0, validation_alias="UNIONCORE_BACKUP_TIMEOUT", description="For a whole backup, in seconds."
    )
    stall_seconds: Duration = Field(
        600.0,
        validation_alias="UNIONCORE_STALL_TIMEOUT",
        description="For how long pg_dump may write nothing before it is ended, in seconds.",
    )
    lock_seconds: Duration = Field(
        60.0,
        validation_alias="UNIONCORE_BACKUP_LOCK_TIMEOUT",
        description="How long to wait for a table that another session holds, a migration's for example, in seconds.",
    )


class VerifySettings(BackupsSettings):
    """What can be configured of the verification."""

    scratch_url: DatabaseUrl | None = Field(
        None,
        validation_alias="UNIONCORE_SCRATCH_URL",
        description="A server on which databases may be made and dropped, to restore into, by the URL of its database "
        "`postgres`. If it is not set, the run starts one of its own, of the programs that are installed.",
    )


class RestoreSettings(BackupsSettings):
    """What can be configured of the restore."""

    target_url: DatabaseUrl | None = Field(
        None,
        validation_alias="UNIONCORE_RESTORE_URL",
        description="Where to restore to, as `--to` says it, with the password.",
    )
