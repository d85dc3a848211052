"""What a backup store holds, and how it is listed.

A backup is a dump with a manifest beside it, in a directory or under a prefix of an S3 bucket:

| file | what it is |
| --- | --- |
| `NAME` | the dump, of whatever format |
| `NAME.json` | its manifest, written last: before it is there, there is no backup |
| `NAME.verified.json` | the proof that a restore of it succeeded |
| `*.partial`, dotfiles | being written: no part of a backup |

A listing looks at names, sizes, manifests and proofs, never into a dump. Other files, a dump without a manifest among
them, are passed over.
"""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from exporter.clock import in_future
from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest, ManifestError, Proof, begun_at
from exporter.whose import Database

PARTIAL_SUFFIX = ".partial"
_WHOSE = ("database", "cluster", "oid")
"""What the manifest says of the database that a backup is of, as `Backup` has it."""
MAX_DOCUMENT = 1024 * 1024
"""Bytes; a larger manifest or proof does not count, and is not read."""


class StoreError(Exception):
    """A store cannot be listed; the message is one sentence for the operator, free of secrets."""


class Backup(NamedTuple):
    """A complete backup: its manifest (without `extra`), when a restore last proved it, and which database it is of.

    The name of the database, the system identifier of its cluster, and its number in there; None if it doesn't say.
    """

    manifest: Manifest
    verified_at: datetime | None
    database: str | None = None
    cluster: str | None = None
    oid: int | None = None

    @property
    def whose(self) -> Database:
        """The database that it is of, as far as its manifest says that."""
        return Database(self.database, self.cluster, self.oid)


class Rejected(NamedTuple):
    """A manifest or a proof that does not count, and why; `unread` if all that is known is that it can't be read."""

    file: str
    reason: str
    unread: bool = False

    @property
    def dump(self) -> str:
        """The name of the dump that a manifest belongs to."""
        return self.file.removesuffix(MANIFEST_SUFFIX)


class Listing(NamedTuple):
    """What a store holds: the complete backups, the newest last, and what does not count."""

    backups: tuple[Backup, ...]
    rejected: tuple[Rejected, ...]

    def of(self, database: Database) -> tuple[tuple[Backup, ...], list[str]]:
        """Tell the backups of one database from those of others in the same place.

        A manifest that names no database may be any's: it counts.

        Args:
            database: What is known of it.

        Returns:
            Its backups, the newest last; and which others have some there.
        """
        ours = tuple(backup for backup in self.backups if database.is_same(backup.whose))
        others = {str(backup.whose) for backup in self.backups if not database.is_same(backup.whose)}
        return ours, sorted(others)

    def unread(self) -> list[Rejected]:
        """Return the manifests that can't be read: of their backups no more is known than their names."""
        return [rejected for rejected in self.rejected if rejected.unread]

    def newer_than(self, backup: Backup | None) -> Rejected | None:
        """Return a manifest that can't be read, and may be of a newer backup than this one.

        A backup's name tells when it was begun, and no two of one database run at once.

        Args:
            backup: The newest that is known; None if there is none.

        Returns:
            One of those; None if all are older for sure.
        """
        for rejected in self.unread():
            begun = begun_at(rejected.dump)
            if backup is None or begun is None or begun >= backup.manifest.started_at:
                return rejected
        return None


class Entry(NamedTuple):
    """A file in a store: its name, its size in bytes, and a tag that changes with its content."""

    name: str
    size: int
    tag: str


Document = TypeVar("Document", Manifest, Proof)


class BackupStore(ABC):
    """A place that holds backups; to be listed by one thread at a time."""

    location: str

    def __init__(self) -> None:
        self._documents: dict[Entry, Any] = {}  # Manifest, Proof, or the str that says why it is neither

    @abstractmethod
    def _files(self) -> Iterator[Entry]:
        """Go through all files."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError if it is gone, PermissionError if this one may not be read."""

    def list_backups(self, now: float, *, patience: float = math.inf) -> Listing:
        """List the backups, reading only those manifests and proofs that are new since the last listing.

        Args:
            now: The time, as a Unix timestamp in seconds.
            patience: Seconds after which to give up. What was read by then need not be read again.

        Raises:
            StoreError: The store, a proof, or all that would be backups cannot be read. One manifest among others that
                cannot be read is told in the listing (`unread`).
        """
        deadline = time.monotonic() + patience
        files: dict[str, Entry] = {}
        for file in self._files():
            _check(deadline)
            if not file.name.startswith(".") and not file.name.endswith(PARTIAL_SUFFIX):
                files[file.name] = file
        self._documents = {file: held for file, held in self._documents.items() if files.get(file.name) == file}
        backups: list[Backup] = []
        rejected: list[Rejected] = []
        refused: list[PermissionError] = []
        for name in files:
            if name.endswith(PROOF_SUFFIX) or not name.endswith(MANIFEST_SUFFIX):
                continue
            _check(deadline)
            dump = name.removesuffix(MANIFEST_SUFFIX)
            try:
                manifest = self._manifest(dump, files, now)
            except ManifestError as error:
                rejected.append(Rejected(name, str(error)))
                continue
            except PermissionError as error:
                refused.append(error)
                rejected.append(Rejected(name, f"it cannot be read ({error.strerror})", unread=True))
                continue
            verified_at = None
            try:
                verified_at = self._verified_at(manifest, files, now)
            except ManifestError as error:
                rejected.append(Rejected(dump + PROOF_SUFFIX, str(error)))
            database, cluster, oid = (manifest.extra.get(key) for key in _WHOSE)
            backups.append(
                Backup(
                    replace(manifest, extra={}),
                    verified_at,
                    database if isinstance(database, str) else None,
                    cluster if isinstance(cluster, str) else None,
                    oid if isinstance(oid, int) else None,
                )
            )
        if refused and not backups:
            raise refused[0]
        backups.sort(key=lambda backup: backup.manifest.finished_at)
        return Listing(tuple(backups), tuple(rejected))

    def _manifest(self, dump: str, files: Mapping[str, Entry], now: float) -> Manifest:
        if dump not in files:
            raise ManifestError("there is no dump beside it")
        manifest = self._document(files[dump + MANIFEST_SUFFIX], Manifest.parse)
        if manifest.name != dump:
            raise ManifestError(f"it is the manifest of {manifest.name!r}")
        if manifest.size != files[dump].size:
            raise ManifestError(f"the dump has {files[dump].size} bytes, not {manifest.size}")
        _check_past("finished_at", manifest.finished_at, now)
        return manifest

    def _verified_at(self, manifest: Manifest, files: Mapping[str, Entry], now: float) -> datetime | None:
        file = files.get(manifest.name + PROOF_SUFFIX)
        if file is None:
            return None
        proof = self._document(file, Proof.parse)
        if proof.sha256 != manifest.sha256:
            raise ManifestError("it proves a dump with another sha256")
        _check_past("verified_at", proof.verified_at, now)
        return proof.verified_at

    def _document(self, file: Entry, parse: Callable[[bytes], Document]) -> Document:
        if file not in self._documents:
            if file.size > MAX_DOCUMENT:
                raise ManifestError(f"it is larger than {MAX_DOCUMENT} bytes")
            try:
                self._documents[file] = _slim(parse(self._read(file.name)))
            except FileNotFoundError as error:
                raise ManifestError("it was removed while it was looked at") from error
            except ManifestError as error:
                self._documents[file] = str(error)
        held: Document | str = self._documents[file]
        if isinstance(held, str):
            raise ManifestError(held)
        return held


def _slim(document: Document) -> Document:
    """Leave of what a manifest says beyond its format no more than which database it is of."""
    contents = document.extra.get("contents")
    kept = {key: contents.get(key) for key in _WHOSE} if isinstance(contents, dict) else {}
    return replace(document, extra=kept)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise StoreError("the listing takes too long")


def _check_past(key: str, moment: datetime, now: float) -> None:
    if in_future(moment.timestamp(), now):
        raise ManifestError(f"its {key} lies in the future")


class LocalStore(BackupStore):
    """A directory.

    Args:
        directory: Its path (`BACKUP_DIR`).
    """

    location = "local"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def list_backups(self, now: float, *, patience: float = math.inf) -> Listing:
        """See `BackupStore.list_backups`."""
        try:
            return super().list_backups(now, patience=patience)
        except FileNotFoundError as error:
            raise StoreError(
                f"the backup directory {self._directory} does not exist: create it, or set BACKUP_DIR"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{error.filename} cannot be read ({error.strerror}): "
                "let the exporter's user read it, or set BACKUP_DIR to the backup directory"
            ) from error

    def _files(self) -> Iterator[Entry]:
        with os.scandir(self._directory) as found:
            for file in found:
                with suppress(FileNotFoundError):  # removed since the directory was read
                    if file.is_file():
                        stat = file.stat()
                        yield Entry(file.name, stat.st_size, f"{stat.st_ino}-{stat.st_mtime_ns}")

    def _read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()
