"""Objects in a directory."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from exporter.storage import PARTIAL_SUFFIX
from scripts.job.exits import Exit
from scripts.objects import (
    BLOCK,
    ObjectDamagedError,
    ObjectError,
    ObjectExistsError,
    ObjectMissingError,
    Objects,
    Readable,
    Stored,
)


class LocalObjects(Objects):
    """A directory; it and those in it are made when they are needed.

    Args:
        directory: Its path.
        mode: The permissions of the files.
    """

    def __init__(self, directory: Path, *, mode: int = 0o600) -> None:
        super().__init__()
        self.location = str(directory)
        self._directory = directory
        self._mode = mode

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Lend a file that becomes an object when the block ends without an exception, and else leaves nothing.

        Raises:
            ObjectExistsError: By then there is one.
            ObjectError: It can't be written; from writing in the block, too.
        """
        path = self._directory / key
        with self._reporting(key):
            _make_directory(path.parent)
            partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with os.fdopen(os.open(partial, flags, self._mode), "wb") as file:
                    # Whatever the umask: the exporter reads manifests, too.
                    os.fchmod(file.fileno(), self._mode)
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                # A link, unlike a rename, never replaces what is there.
                os.link(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            _sync_directory(path.parent)

    def _write(self, key: str, source: BinaryIO, size: int, sha256: str) -> bool:
        digest = hashlib.sha256()
        try:
            with self.create(key) as file:
                while block := source.read(BLOCK):
                    self.check()
                    digest.update(block)
                    file.write(block)
                if (digest.hexdigest(), file.tell()) != (sha256, size):
                    raise ObjectDamagedError(f"{self.location}/{key}: its source changed while it was read")
        except ObjectExistsError:
            return False
        return True

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        """See `Objects.open`."""
        with self._reporting(key), (self._directory / key).open("rb") as file:
            yield file

    def head(self, key: str) -> Stored | None:
        """See `Objects.head`."""
        with self._reporting(key), suppress(FileNotFoundError, NotADirectoryError):
            stat = (self._directory / key).stat()
            return Stored(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
        return None

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """See `Objects.list`."""
        with self._reporting(prefix):
            keys = sorted(path.relative_to(self._directory).as_posix() for path in self._walk(prefix))
        for key in keys:
            if key.startswith(prefix) and not _is_partial(key) and (found := self.head(key)):
                yield found

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        with self._reporting(key), suppress(FileNotFoundError):
            (self._directory / key).unlink()
            _sync_directory((self._directory / key).parent)

    def clean(self, before: datetime, prefix: str = "") -> int:
        """See `Objects.clean`."""
        cleaned = 0
        with self._reporting(""):
            for path in filter(lambda path: _is_partial(path.name), self._walk(prefix)):
                # Without its dot, a partial file's name begins as the object's would.
                key = path.with_name(path.name[1:]).relative_to(self._directory).as_posix()
                if key.startswith(prefix) and path.stat().st_mtime < before.timestamp():
                    path.unlink(missing_ok=True)
                    cleaned += 1
        return cleaned

    def _walk(self, prefix: str) -> Iterator[Path]:
        """Go through the files, but for directories in which no key begins with a prefix: they may be others'."""

        def refused(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise ObjectError(f"{error.filename}: {error.strerror}: let the job's user read it", Exit.FAILED)

        # A year that was moved to another disk is still part of it; a link that leads back is gone once.
        seen: set[tuple[int, int]] = set()
        for where, below, names in os.walk(self._directory, onerror=refused, followlinks=True):
            with suppress(FileNotFoundError):  # removed since it was read
                stat = Path(where).stat()
                if (stat.st_dev, stat.st_ino) in seen:
                    below.clear()
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            keys = [(name, f"{Path(where, name).relative_to(self._directory).as_posix()}/") for name in below]
            below[:] = [name for name, key in keys if key.startswith(prefix) or prefix.startswith(key)]
            if Path(where) == self._directory:
                # That of a file system of its own, which only root may read: e2fsck(8).
                below[:] = [name for name in below if name != "lost+found"]
            yield from (Path(where, name) for name in names)

    @contextmanager
    def _reporting(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise ObjectExistsError(f"{self.location}/{key}: there is such a file already") from error
        except FileNotFoundError as error:
            raise ObjectMissingError(f"{self.location}/{key}: there is no such file") from error
        except OSError as error:
            advice, exit_code = _TROUBLE.get(error.errno or 0, ("", Exit.FAILED))
            raise ObjectError(f"{self.location}/{key}: {error.strerror or error}{advice}", exit_code) from error


_FULL = (": make room there", Exit.NO_SPACE)
_CLOSED = (": let the job's user write there", Exit.FAILED)
_LINKLESS = (": its file system must be one that has hard links", Exit.FAILED)
_TROUBLE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _CLOSED,
    errno.EROFS: _CLOSED,
    errno.EPERM: _LINKLESS,
    errno.EOPNOTSUPP: _LINKLESS,
}


def _is_partial(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.startswith(".") and name.endswith(PARTIAL_SUFFIX)


def _make_directory(path: Path) -> None:
    """Create a directory and its parents so that they are there after a power cut, too."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
