"""How objects are kept in an S3 bucket."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from scripts.job.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class S3Options:
    """How objects are kept.

    Attributes:
        storage_class: As `GLACIER_IR`; empty for the bucket's default.
        encryption: `AES256` or `aws:kms`; empty for the bucket's default.
        kms_key: The KMS key's id, with `aws:kms`; empty for the account's default.
        lock_mode: Object Lock: empty for none.
        lock_days: For how many days from now an object is locked.
        checksums: Send each SHA-256 for the store to check. Only for a store that refuses it, False: what is read
            back is compared all the same.
        conditional: Have the store refuse to overwrite (`If-None-Match: *`). Only for a store that doesn't know it,
            False: it is looked at first all the same.
        multipart_above: From how many bytes on an object goes up in parts; S3 takes no more than 5 GiB in one.
        part_size: Bytes of a part, at least 5 MiB; more where there would be over 10,000.
    """

    storage_class: str = ""
    encryption: Literal["", "AES256", "aws:kms"] = ""
    kms_key: str = ""
    lock_mode: Literal["", "GOVERNANCE", "COMPLIANCE"] = ""
    lock_days: int = 0
    checksums: bool = True
    conditional: bool = True
    multipart_above: int = 5 << 30
    part_size: int = 64 << 20

    def creation(self, storage_class: str = "") -> dict[str, Any]:
        """Return the arguments of a request that makes an object.

        Args:
            storage_class: Its storage class, instead of the options' own.
        """
        arguments: dict[str, Any] = {
            "StorageClass": storage_class or self.storage_class,
            "ServerSideEncryption": self.encryption,
            "SSEKMSKeyId": self.kms_key,
            "ObjectLockMode": self.lock_mode,
            "ObjectLockRetainUntilDate": self.lock_mode and datetime.now(UTC) + timedelta(days=self.lock_days),
            "ChecksumAlgorithm": self.checksums and "SHA256",
        }
        return {name: value for name, value in arguments.items() if value}

    @classmethod
    def configured(cls, settings: "StoreSettings", *, storage_class: str = "", lock_days: int = 0) -> Self:
        """Return what is configured.

        Args:
            settings: The configuration.
            storage_class: As above.
            lock_days: As above, where Object Lock is configured.
        """
        return cls(
            storage_class=storage_class,
            encryption=settings.s3_encryption,
            kms_key=settings.s3_kms_key,
            lock_mode=settings.s3_lock_mode,
            lock_days=lock_days,
            checksums=settings.s3_checksums,
            conditional=settings.s3_conditional,
        )
