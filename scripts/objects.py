"""Objects that are written once: in a directory (`scripts.localobjects`) or an S3 bucket (`scripts.s3objects`).

An object has a key (a relative path) and content, and neither ever changes: `put` overwrites nothing, and returns only
when the object is there with the content it was meant to have. Everything streams; nothing is held in memory.

All methods block; a coroutine calls them by `await objects.in_thread(objects.put, key, path, sha256)`.
"""

import asyncio
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import BinaryIO, NamedTuple, NoReturn, ParamSpec, Protocol, TypeVar

from scripts.job.exits import Exit, JobError

BLOCK = 1 << 20
"""How much is read at a time, in bytes."""
STOP_SECONDS = 10.0
"""How long to wait for a thread that was told to stop: one that waits for an answer hears it only then."""

P = ParamSpec("P")
T = TypeVar("T")


class ObjectError(JobError):
    """An object can't be written, read or removed.

    Args:
        message: One sentence for the operator, free of secrets.
        exit_code: How a job that can't go on without it ends.
    """

    def __init__(self, message: str, exit_code: Exit = Exit.UNREACHABLE) -> None:
        super().__init__(exit_code, message)


class ObjectExistsError(ObjectError):
    """The key is taken by an object with other content."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.REFUSED)


class ObjectMissingError(ObjectError):
    """There is no such object."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NOT_VERIFIED)


class ObjectDamagedError(ObjectError):
    """What is in the store is not what was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NOT_VERIFIED)


class Stored(NamedTuple):
    """What the store says of an object.

    Attributes:
        key: Its key.
        size: Its size in bytes.
        modified: When it was written, aware.
        storage_class: S3's storage class; empty in a directory.
        sha256: The SHA-256 of the whole object as the store itself keeps it, in lower-case hexadecimal; None where
            it keeps none, and in listings.
        locked_until: Until when the store refuses to delete it, aware; None if it does not refuse, and in listings.
    """

    key: str
    size: int
    modified: datetime
    storage_class: str = ""
    sha256: str | None = None
    locked_until: datetime | None = None


class Readable(Protocol):
    """What `Objects.open` lends."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes; none at the end."""


class Objects(ABC):
    """A place for objects.

    Attributes:
        location: What it is called in messages: the directory, or `s3://bucket/prefix`.
    """

    location: str

    def __init__(self) -> None:
        self._stopped = Event()

    def put(self, key: str, source: Path | BinaryIO, sha256: str, *, read_back: bool = True) -> bool:
        """Write an object that is not there yet.

        An object that is there already with the same content is as good as written: its writing was only not heard of.

        Args:
            key: Its key.
            source: Its content: a file, or an open one that can be sought, taken from its beginning.
            sha256: The content's SHA-256, in lower-case hexadecimal.
            read_back: Read the whole object from the store afterwards and compare. Leave it out only if
                the caller does that itself.

        Returns:
            Whether it was written; False: it was there.

        Raises:
            ObjectExistsError: Other content is there.
            ObjectDamagedError: It was written, and is not what it should be.
            ObjectError: It can't be written.
        """
        if isinstance(source, Path):
            with self._reporting(key), source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                written = self._write(key, file, size, sha256)
        else:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            written = self._write(key, source, size, sha256)
        if (not written or read_back) and self.measure(key) != (sha256, size):
            if not written:
                raise ObjectExistsError(f"{self.location}/{key}: something else is there")
            self._reject(key, "it is not what was written there")
        return written

    def _reject(self, key: str, why: str) -> NoReturn:
        """Remove what was just written, lest it be taken for the real thing."""
        with suppress(ObjectError):
            self.delete(key)
        raise ObjectDamagedError(f"{self.location}/{key}: {why}")

    def measure(self, key: str) -> tuple[str, int]:
        """Read an object whole; return its SHA-256 in lower-case hexadecimal and its size in bytes.

        Raises:
            ObjectMissingError: It is not there.
            ObjectError: It can't be read.
        """
        digest, size = hashlib.sha256(), 0
        with self.open(key) as body:
            while block := body.read(BLOCK):
                self.check()
                digest.update(block)
                size += len(block)
        return digest.hexdigest(), size

    async def in_thread(self, deed: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with this store in a thread; being cancelled ends it, and whatever else is under way here.

        Args:
            deed: What to do, as a method of this.
            *args: What it is called with.
            **kwargs: Likewise.
        """
        doing = asyncio.ensure_future(asyncio.to_thread(deed, *args, **kwargs))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            self.stop()
            with suppress(TimeoutError, ObjectError):
                await asyncio.wait_for(doing, STOP_SECONDS)
            raise

    def stop(self) -> None:
        """Make whatever is being read or written, now or later, end with an `ObjectError`; for another thread."""
        self._stopped.set()

    def check(self) -> None:
        """Raise ObjectError if this was told to stop."""
        if self._stopped.is_set():
            raise ObjectError(f"{self.location}: interrupted")

    @abstractmethod
    def _write(self, key: str, source: BinaryIO, size: int, sha256: str) -> bool:
        """Write an object, as `put` does; False if there is one."""

    @abstractmethod
    def _reporting(self, key: str) -> AbstractContextManager[None]:
        """Turn this kind of store's errors into ObjectError."""

    @abstractmethod
    def open(self, key: str) -> AbstractContextManager[Readable]:
        """Lend an object's content as a stream.

        Raises:
            ObjectMissingError: It is not there.
            ObjectError: It can't be read; from reading in the block, too.
        """

    @abstractmethod
    def head(self, key: str) -> Stored | None:
        """Look at an object without reading it; None if it is not there.

        Raises:
            ObjectError: The store can't be asked.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Go through the objects whose keys begin with a prefix, in the order of their keys.

        Raises:
            ObjectError: The store can't be listed.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            ObjectError: It can't be removed.
        """

    @abstractmethod
    def clean(self, before: datetime, prefix: str = "") -> int:
        """Remove what writers that died before a moment have left unfinished; return how much that was.

        Args:
            before: The moment.
            prefix: Only of objects whose keys would begin with it.

        Raises:
            ObjectError: It can't be found or removed.
        """
