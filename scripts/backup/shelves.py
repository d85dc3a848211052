"""Where backups are kept: the directory, and the bucket if there is one; listed just as the exporter lists them.

A backup is written dump first, manifest last, and deleted the other way round: at every moment, and wherever a job is
killed, it is whole or it is none.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, STEM, Manifest, ManifestError, Proof, begun_at
from exporter.storage import BackupStore, Listing, LocalStore
from scripts.backup.dump import BLOCK
from scripts.backup.sealing import Facts, unseal
from scripts.backup.settings import BackupSettings, BackupsSettings
from scripts.job.console import Meter
from scripts.job.exits import Exit, JobError
from scripts.localobjects import LocalObjects
from scripts.objects import ObjectDamagedError, ObjectMissingError, Objects

P = ParamSpec("P")
T = TypeVar("T")


class Shelf:
    """One place of backups.

    Attributes:
        location: `local` or `s3`, as the exporter calls it.
        dumps: Its objects, written as dumps are.

    Args:
        store: Lists it.
        dumps: As above.
        documents: The same objects, written as manifests and proofs are: for the exporter to read.
    """

    def __init__(self, store: BackupStore, dumps: Objects, documents: Objects) -> None:
        self.location = store.location
        self.dumps = dumps
        self._store = store
        self._documents = documents

    async def listing(self) -> Listing:
        """List the backups, the newest last.

        Raises:
            exporter.storage.StoreError: It can't be listed.
        """
        # A manifest that can't be read is told: its backup is kept by retention, and must not stop the next one.
        return await asyncio.to_thread(self._store.list_backups, time.time())

    async def work(self, task: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """Do something with its objects in a thread, which ends soon if this is cancelled."""
        try:
            return await asyncio.to_thread(task, *arguments, **options)
        except asyncio.CancelledError:
            self.dumps.stop()
            self._documents.stop()
            raise

    async def manifest(self, name: str) -> tuple[Manifest, Facts]:
        """Read a backup's manifest.

        Raises:
            JobError: There is none, or it is not as it was written (NOT_VERIFIED).
        """
        try:
            text = await self.work(self._read, name + MANIFEST_SUFFIX)
        except ObjectMissingError as error:
            raise JobError(Exit.NOT_VERIFIED, f"{error}: without its manifest a dump is no backup") from error
        return unseal(text, name)

    async def upload(self, source: Path, manifest: Manifest, text: bytes) -> None:
        """Bring a backup that is complete elsewhere.

        Args:
            source: Its dump.
            manifest: Its manifest.
            text: The same, as the file.

        Raises:
            JobError: It can't be written, or is not what it should be; without the manifest it is no backup.
        """

        def bring() -> None:
            # Where the store itself keeps the SHA-256, `put` has compared that.
            self.dumps.put(manifest.name, source, manifest.sha256, read_back=False)
            kept = self.dumps.head(manifest.name)
            if kept is None or kept.sha256 is None:
                self.dumps.put(manifest.name, source, manifest.sha256, read_back=True)

        await self.work(bring)
        await self.commit(manifest.name, text)

    async def commit(self, name: str, text: bytes) -> None:
        """Write a manifest: from here on there is a backup."""
        await self.work(self._write, name + MANIFEST_SUFFIX, text)

    async def prove(self, name: str, proof: Proof, *, restored: bool) -> bool:
        """Write down that a restore of a backup succeeded, if this shelf has that backup.

        A proof that is there already and counts stays: the first one is as good as any.

        Args:
            name: The backup.
            proof: The proof.
            restored: Whether it was restored from here.

        Returns:
            Whether it has; False, too, of a store that keeps no SHA-256, if it was not restored from here.

        Raises:
            ObjectDamagedError: The manifest is here, and its dump is not what was restored; no proof of it is left.
        """

        def write() -> bool:
            try:
                manifest = Manifest.parse(self._read(name + MANIFEST_SUFFIX))
            except (ObjectMissingError, ManifestError):
                return False
            if manifest.sha256 != proof.sha256:
                return False
            kept = proof.sha256 if restored else self._sha256(name)
            if kept is None:
                return False
            if kept != proof.sha256:
                self._documents.delete(name + PROOF_SUFFIX)
                raise ObjectDamagedError(f"{self.dumps.location}/{name}: its SHA-256 is {kept}, not {proof.sha256}")
            with suppress(ObjectMissingError, ManifestError):
                if Proof.parse(self._read(name + PROOF_SUFFIX)).sha256 == proof.sha256:
                    return True
            self._documents.delete(name + PROOF_SUFFIX)
            self._write(name + PROOF_SUFFIX, proof.render())
            return True

        return await self.work(write)

    async def disprove(self, name: str, sha256: str = "") -> None:
        """Remove the proof of a backup that a later restore has not confirmed, if there is one.

        Args:
            name: The backup.
            sha256: Only a proof of this very dump; without it, whatever the proof is of.
        """

        def remove() -> None:
            if sha256:
                with suppress(ObjectMissingError, ManifestError):
                    if Proof.parse(self._read(name + PROOF_SUFFIX)).sha256 == sha256:
                        self._documents.delete(name + PROOF_SUFFIX)
            else:
                self._documents.delete(name + PROOF_SUFFIX)

        await self.work(remove)

    async def remove(self, name: str) -> None:
        """Delete a backup, its manifest first."""
        for suffix in (MANIFEST_SUFFIX, PROOF_SUFFIX, ""):
            await self.work(self.dumps.delete, name + suffix)

    async def fetch(self, name: str, target: Path, meter: Meter) -> str:
        """Copy a dump into a file that only this user can read.

        Returns:
            Its SHA-256, in lower-case hexadecimal.
        """

        def copy() -> str:
            digest = hashlib.sha256()
            target.touch(mode=0o600)
            with self.dumps.open(name) as source, target.open("wb") as file:
                while block := source.read(BLOCK):
                    self.dumps.check()
                    digest.update(block)
                    file.write(block)
                    meter.advance(len(block))
            return digest.hexdigest()

        return await self.work(copy)

    async def orphans(self, before: float) -> list[str]:
        """Return the dumps without a manifest that were begun before a moment: their jobs were killed.

        Args:
            before: A Unix timestamp in seconds.
        """

        def find() -> list[str]:
            names = {stored.key for stored in self.dumps.list(STEM)}
            return [
                name
                for name in sorted(names)
                if (begun := begun_at(name)) and name + MANIFEST_SUFFIX not in names
                if begun.timestamp() < before
            ]

        return await self.work(find)

    async def clean(self, before: datetime) -> int:
        """Remove what backups that died before a moment have left unfinished; return how much that was."""
        return await self.work(self.dumps.clean, before, STEM)

    def _sha256(self, name: str) -> str | None:
        """Return a dump's SHA-256 as cheaply as it can be known; None if it can't."""
        stored = self.dumps.head(name)
        return stored.sha256 if stored else ""

    def _read(self, name: str) -> bytes:
        with self._documents.open(name) as body:
            return body.read()

    def _write(self, name: str, content: bytes) -> None:
        self._documents.put(name, BytesIO(content), hashlib.sha256(content).hexdigest())


class LocalShelf(Shelf):
    """The backups in a directory.

    Attributes:
        directory: Its path.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = LocalObjects(directory)
        super().__init__(LocalStore(directory), self._files, LocalObjects(directory, mode=0o644))

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Lend a file that becomes a dump when the block ends without an exception, and else leaves nothing."""
        return self._files.create(name)

    def _sha256(self, name: str) -> str | None:
        return self._files.measure(name)[0] if self._files.head(name) else ""


def open_s3(settings: BackupsSettings) -> Shelf:
    """Return the shelf in the bucket that is configured.

    Raises:
        JobError: No client can be made of boto3's own configuration.
    """
    # boto3 takes 30 MB and half a second, which a directory need not spend.
    from exporter.s3 import S3Store  # noqa: PLC0415
    from scripts.s3objects import open_bucket  # noqa: PLC0415

    storage_class, lock_days = "", 0
    if isinstance(settings, BackupSettings):
        storage_class, lock_days = settings.storage_class, settings.retention_days
    dumps = open_bucket(settings, storage_class=storage_class, lock_days=lock_days)
    documents = open_bucket(settings, lock_days=lock_days, client=dumps.client)
    return Shelf(S3Store(settings.s3_bucket, settings.s3_prefix, client=lambda: dumps.client), dumps, documents)


def open_offsite(settings: BackupsSettings) -> list[Shelf]:
    """Return the shelf in the bucket, if one is configured.

    Raises:
        JobError: No S3 client can be made of boto3's own configuration.
    """
    return [open_s3(settings)] if settings.s3_bucket else []


def open_shelves(settings: BackupsSettings) -> tuple[LocalShelf, list[Shelf]]:
    """Return the shelves that are configured: the local one, and that in the bucket if there is one.

    Raises:
        JobError: No S3 client can be made of boto3's own configuration.
    """
    return LocalShelf(settings.backup_directory), open_offsite(settings)
