"""Objects in an S3 bucket, of Amazon's or any other service that speaks its protocol.

What is needed of the key's policy: s3:ListBucket and s3:ListBucketMultipartUploads on the bucket; s3:GetObject,
s3:PutObject, s3:AbortMultipartUpload and, for retention, s3:DeleteObject in it; with Object Lock s3:PutObjectRetention
and s3:GetObjectRetention.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from io import SEEK_CUR, SEEK_END, SEEK_SET
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from exporter.s3 import s3_client, trouble
from scripts.job.exits import Exit
from scripts.objects import (
    BLOCK,
    ObjectDamagedError,
    ObjectError,
    ObjectMissingError,
    Objects,
    Readable,
    Stored,
)
from scripts.s3options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from scripts.job.settings import StoreSettings

_ATTEMPTS = 5
_MAX_PARTS = 10_000
_MISSING = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed"}


class S3Objects(Objects):
    """A bucket, or what lies under a prefix of it.

    Attributes:
        client: The S3 client.

    Args:
        client: The S3 client, as `exporter.s3.s3_client` makes it.
        bucket: The bucket's name.
        prefix: What every key in it begins with, without slashes around it; empty for none.
        options: How objects are kept.
    """

    def __init__(self, client: "S3Client", bucket: str, prefix: str = "", options: S3Options | None = None) -> None:
        super().__init__()
        self.client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._options = options or S3Options()
        self.location = f"s3://{bucket}/{self._prefix}".rstrip("/")

    def keeping(self, storage_class: str) -> "S3Objects":
        """Return the same place, where new objects get another storage class."""
        options = replace(self._options, storage_class=storage_class)
        return S3Objects(self.client, self._bucket, self._prefix, options)

    def _write(self, key: str, source: BinaryIO, size: int, sha256: str) -> bool:
        options = self._options
        # Where the store ignores the condition, this is all there is; and it saves the upload.
        if self.head(key) is not None:
            return False
        refuse: dict[str, Any] = {"IfNoneMatch": "*"} if options.conditional else {}
        try:
            with self._reporting(key):
                if size > options.multipart_above:
                    self._write_parts(key, source, size, refuse)
                else:
                    body: Any = _Slice(self, source, 0, size)
                    self.client.put_object(
                        **self._named(key),
                        Body=body,
                        ContentLength=size,
                        **self._checksum(body, sha256),
                        **options.creation(),
                        **refuse,
                    )
        except _TakenError:
            # By another, or by this very request, whose answer was lost and which was sent again.
            return False
        found = self.head(key)
        if found is None or found.size != size or found.sha256 not in {None, sha256}:
            self._reject(key, "what the store says it has is not what was sent")
        return True

    def _write_parts(self, key: str, source: BinaryIO, size: int, refuse: Mapping[str, Any]) -> None:
        step = max(self._options.part_size, -(-size // _MAX_PARTS))
        creation = self._options.creation()
        upload = {
            **self._named(key),
            "UploadId": self.client.create_multipart_upload(**self._named(key), **creation)["UploadId"],
        }
        try:
            parts: list[Any] = []
            for number, start in enumerate(range(0, size, step), 1):
                body: Any = _Slice(self, source, start, min(step, size - start))
                checksum = self._checksum(body)
                answer = self.client.upload_part(
                    **upload, PartNumber=number, Body=body, ContentLength=body.size, **checksum
                )
                checksum.pop("ContentMD5", None)
                parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksum})
            self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **refuse)
        except BaseException:
            # Parts of an unfinished upload are paid for, and listed nowhere. `clean` has another try.
            with suppress(ClientError, BotoCoreError):
                self.client.abort_multipart_upload(**upload)
            raise

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        """See `Objects.open`."""
        with self._reporting(key), self.client.get_object(**self._named(key))["Body"] as body:
            yield body

    def head(self, key: str) -> Stored | None:
        """See `Objects.head`."""
        try:
            with self._reporting(key):
                found = self.client.head_object(**self._named(key), ChecksumMode="ENABLED")
        except ObjectMissingError:
            return None
        # That of an upload in parts, as the tag tells, is no digest of the content.
        checksum = "" if "-" in found["ETag"] else found.get("ChecksumSHA256", "")
        locked = found.get("ObjectLockRetainUntilDate")
        return Stored(
            key=key,
            size=found["ContentLength"],
            modified=found["LastModified"],
            storage_class=found.get("StorageClass", "STANDARD"),
            sha256=base64.b64decode(checksum).hex() if checksum else None,
            locked_until=locked if found.get("ObjectLockMode") else None,
        )

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """See `Objects.list`."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
        with self._reporting(prefix):
            for page in pages:
                for item in page.get("Contents", ()):
                    yield Stored(
                        key=item["Key"].removeprefix(self._prefix),
                        size=item["Size"],
                        modified=item["LastModified"],
                        storage_class=item.get("StorageClass", "STANDARD"),
                    )

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        with self._reporting(key):
            self.client.delete_object(**self._named(key))

    def clean(self, before: datetime, prefix: str = "") -> int:
        """See `Objects.clean`."""
        cleaned = 0
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._reporting(""):
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        self.client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        cleaned += 1
        return cleaned

    def transition(self, key: str, storage_class: str) -> None:
        """Move an object of at most 5 GiB to another storage class, by a copy onto itself.

        Args:
            key: Its key.
            storage_class: As `DEEP_ARCHIVE`.

        Raises:
            ObjectMissingError: It is not there.
            ObjectDamagedError: What the store has afterwards is not what it had before.
            ObjectError: It can't be moved.
        """
        before = self.head(key)
        with self._reporting(key):
            self.client.copy_object(
                **self._named(key),
                CopySource={"Bucket": self._bucket, "Key": self._prefix + key},
                **self._options.creation(storage_class),
            )
        after = self.head(key)
        if before is None or after is None or after.size != before.size or after.storage_class != storage_class:
            raise ObjectDamagedError(f"{self.location}/{key}: it did not become {storage_class}")
        if None not in {before.sha256, after.sha256} and before.sha256 != after.sha256:
            raise ObjectDamagedError(f"{self.location}/{key}: it is not what it was, now that it is {storage_class}")

    def _checksum(self, body: "_Slice", sha256: str = "") -> dict[str, Any]:
        """Return the checksum that a request sends: none only where the store refuses it, and nothing is locked.

        S3 locks only what comes with a checksum or its MD5 (Amazon's user guide, "Considerations for Object Lock").
        """
        if self._options.checksums:
            return {"ChecksumSHA256": _base64(sha256 or body.digest("sha256"))}
        return {"ContentMD5": _base64(body.digest("md5"))} if self._options.lock_mode else {}

    def _named(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    @contextmanager
    def _reporting(self, key: str) -> Iterator[None]:
        # `from None`: as `exporter.s3.trouble` says of their messages.
        where = f"{self.location}/{key}"
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _TAKEN:
                raise _TakenError(f"{where}: it is there already") from None
            if code in _MISSING:
                raise ObjectMissingError(f"{where}: there is no such object") from None
            raise ObjectError(f"{where}: {trouble(error)}") from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise ObjectError(f"{where}: {trouble(error)}") from None


def open_bucket(
    settings: "StoreSettings",
    folder: str = "",
    *,
    storage_class: str = "",
    lock_days: int = 0,
    client: "S3Client | None" = None,
) -> S3Objects:
    """Return a place in the bucket that is configured.

    Args:
        settings: Names the bucket, its prefix, and how it takes objects.
        folder: What the place's keys begin with, after the prefix.
        storage_class: That of new objects; empty for the bucket's default.
        lock_days: For how many days from now new objects are locked, if Object Lock is configured.
        client: That of another place in the bucket; a new one if left out, which takes some tenths of a second.

    Raises:
        ObjectError: No client can be made of boto3's own configuration.
    """
    try:
        client = client or s3_client(
            timeout=settings.s3_wait_seconds, path_style=settings.s3_path_style, attempts=_ATTEMPTS
        )
    except (BotoCoreError, ValueError) as error:
        raise ObjectError(f"S3 bucket {settings.s3_bucket}: {trouble(error)}", Exit.CONFIGURATION) from None
    options = S3Options.configured(settings, storage_class=storage_class, lock_days=lock_days)
    return S3Objects(
        client, settings.s3_bucket, "/".join(filter(None, (settings.s3_prefix.strip("/"), folder))), options
    )


class _TakenError(ObjectError):
    """The store refused to overwrite."""


class _Slice:
    """A part of a file as the body of a request, which stops when its store is told to."""

    def __init__(self, store: Objects, source: BinaryIO, start: int, size: int) -> None:
        self.size = size
        self._store = store
        self._source = source
        self._start = start
        self._at = 0

    def read(self, size: int | None = -1) -> bytes:
        self._store.check()
        left = self.size - self._at
        self._source.seek(self._start + self._at)
        block = self._source.read(left if size is None or size < 0 else min(size, left))
        self._at += len(block)
        return block

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._at = offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def digest(self, algorithm: str) -> str:
        """Return the digest of all of it, in lower-case hexadecimal, and stand at its beginning."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        while block := self.read(BLOCK):
            digest.update(block)
        self.seek(0)
        return digest.hexdigest()


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
