"""A backup store in an S3 bucket, of Amazon's or any other service that speaks its protocol."""

import errno
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from exporter.storage import BackupStore, Entry, Listing, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) to valid ones"
_TROUBLE = {
    "NoSuchBucket": "the bucket does not exist: set S3_BUCKET to one that does",
    "AccessDenied": "access is denied: the key needs s3:ListBucket on the bucket and s3:GetObject in it",
    "InvalidAccessKeyId": f"the access key is not known: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is wrong: {_CREDENTIALS}",
    "ExpiredToken": f"the session token has expired: {_CREDENTIALS}",
    "NoCredentialsError": f"there are no credentials: {_CREDENTIALS}",
    "PartialCredentialsError": f"the credentials are incomplete: {_CREDENTIALS}",
    "PermanentRedirect": "the bucket lies in another region: set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region: set AWS_DEFAULT_REGION",
    "InvalidObjectState": "it lies in cold storage: have a copy brought back first (aws s3api restore-object)",
    "EndpointConnectionError": "the endpoint cannot be reached: look at the network and AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "the endpoint cannot be reached in time: look at the network and AWS_ENDPOINT_URL",
    "ReadTimeoutError": "the endpoint does not answer in time",
    "ValueError": "the endpoint is not a URL: set AWS_ENDPOINT_URL",
}
"""What an operator can do about an S3 error code or a botocore exception, by its name."""
_REFUSED = {"AccessDenied", "InvalidObjectState"}
"""The codes that may be one object's own."""


def trouble(error: Exception) -> str:
    """Return what went wrong with S3 and what an operator can do about it.

    botocore's own messages may hold the endpoint with a password in it: none of their text is kept.

    Args:
        error: A ClientError, a BotoCoreError, or the ValueError of `s3_client`.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415 -- as in s3_client

    if not isinstance(error, ClientError):
        return _TROUBLE.get(type(error).__name__, type(error).__name__)
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return _TROUBLE.get(code, f"it answered with status {status} {re.sub(r'[^A-Za-z0-9]', '', code)}")


def s3_client(*, timeout: float = 5.0, path_style: bool = False, attempts: int = 2) -> "S3Client":
    """Make an S3 client from boto3's own environment (`AWS_*`, `AWS_ENDPOINT_URL`) and files.

    Args:
        timeout: Seconds for connecting, and for each wait for an answer.
        path_style: True to name the bucket in the path, not in the host name, as some stores need it.
        attempts: How often a request is tried in all.

    Raises:
        botocore.exceptions.BotoCoreError: The configuration is incomplete or contradictory.
        ValueError: The endpoint is not a URL.
    """
    # Imported here: they take 30 MB, which an exporter without a bucket need not spend.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.session.Session().client(
        "s3",
        config=Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path" if path_style else "auto"},
            # Stores that are not Amazon's may not know these checksums; whoever writes gives one explicitly.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3Store(BackupStore):
    """A bucket, or what lies directly under a prefix of it.

    Args:
        bucket: Its name (`S3_BUCKET`).
        prefix: The path of the backups in it; empty for its top.
        client: Makes the S3 client, in the thread that lists.
        page_size: How many keys to ask for at a time.
    """

    location = "s3"

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        client: "Callable[[], S3Client]" = s3_client,
        page_size: int = 1000,
    ) -> None:
        super().__init__()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._make_client = client
        self._client: S3Client | None = None
        self._page_size = page_size

    def list_backups(self, now: float, *, patience: float = math.inf) -> Listing:
        """See `BackupStore.list_backups`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 -- as in s3_client

        # `from None`: as `trouble` says of their messages.
        try:
            return super().list_backups(now, patience=patience)
        except PermissionError as error:
            words = f"{error.filename}: {error.strerror}"
        except (ClientError, BotoCoreError, ValueError) as error:
            words = trouble(error)
        raise StoreError(f"S3 bucket {self._bucket}: {words}")

    def _s3(self) -> "S3Client":
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _files(self) -> Iterator[Entry]:
        pages = (
            self._s3()
            .get_paginator("list_objects_v2")
            .paginate(
                Bucket=self._bucket,
                Prefix=self._prefix,
                Delimiter="/",
                PaginationConfig={"PageSize": self._page_size},
            )
        )
        for page in pages:
            for item in page.get("Contents", ()):
                yield Entry(item["Key"].removeprefix(self._prefix), item["Size"], item["ETag"])

    def _read(self, name: str) -> bytes:
        client = self._s3()
        try:
            with client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"] as body:
                return body.read()
        except client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(name) from error
        except client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _REFUSED:
                raise
            words = trouble(error)
        raise PermissionError(errno.EACCES, words, name)
