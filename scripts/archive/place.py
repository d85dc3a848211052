"""The archive in its place: which chunks there are, and whether they are what their manifests say."""

import asyncio
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple, TypeVar

from exporter.manifests import MANIFEST_SUFFIX, ManifestError
from scripts.archive import content
from scripts.archive.chunks import Chunk, ChunkName, render_ids
from scripts.archive.content import Content, Reading
from scripts.archive.settings import ArchiveSettings
from scripts.localobjects import LocalObjects
from scripts.objects import ObjectDamagedError, ObjectExistsError, ObjectMissingError, Objects, Readable, Stored

T = TypeVar("T")
FOLDER = "audit-archive"
"""What the archive's keys begin with in a bucket, after its prefix."""
COLD = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes that can't be read at once."""

_AT_ONCE = 8


class Holdings(NamedTuple):
    """What is in the archive.

    Attributes:
        chunks: Every chunk, by ascending ids, and what the store says of its file.
        orphans: The files that have no manifest, by their keys: a run ended between the two.
    """

    chunks: Mapping[ChunkName, Stored]
    orphans: frozenset[str]

    def warm(self, storage_class: str) -> list[ChunkName]:
        """List the chunks whose files have not become what they shall; empty: they stay as they are.

        What can't be read at once can't be copied either, so what is cold stays as it is, whatever it shall be by now.
        """
        if not storage_class:
            return []
        return [name for name, stored in self.chunks.items() if stored.storage_class not in COLD]


class Archive:
    """The archive in a directory or a bucket.

    Args:
        objects: Where its files are.
        manifests: The same place, as manifests are written: they are read by every run.
        cold: The storage class that its files become once they are verified; empty if they stay as they are.
        transition: Makes a file become that.
    """

    def __init__(
        self,
        objects: Objects,
        manifests: Objects | None = None,
        *,
        cold: str = "",
        transition: Callable[[str, str], None] | None = None,
    ) -> None:
        self.objects = objects
        self.location = objects.location
        self.cold = cold
        self._manifests = manifests or objects
        self._transition = transition

    async def holdings(self) -> Holdings:
        """Look what is there.

        Raises:
            ObjectMissingError: A manifest has lost its file.
            ObjectError: The store can't be listed.
        """
        found = await self.objects.in_thread(lambda: {stored.key: stored for stored in self.objects.list()})
        names = sorted(name for name in map(ChunkName.parse, found) if name)
        lost = [
            key
            for key in found
            if key.endswith(MANIFEST_SUFFIX)
            and ChunkName.parse(file := key.removesuffix(MANIFEST_SUFFIX))
            and file not in found
        ]
        if lost:
            raise ObjectMissingError(
                f"{self.location}/{lost[0].removesuffix(MANIFEST_SUFFIX)} is gone, and with it archived audit events: "
                "bring it back from a copy of the archive; or, if the database still has them, remove its manifest, "
                "and they are archived anew"
            )
        return Holdings(
            {name: found[name.key] for name in names if name.manifest_key in found},
            frozenset(name.key for name in names if name.manifest_key not in found),
        )

    async def load(self, chunks: Mapping[ChunkName, Stored]) -> list[Chunk]:
        """Read manifests.

        Args:
            chunks: Whose, and what the store says of their files.

        Raises:
            ObjectDamagedError: One is none, or its file does not have the size that it says.
            ObjectError: One can't be read.
        """
        loaded, damaged = await self.load_whole(chunks)
        for error in damaged:
            raise error
        return loaded

    async def load_whole(self, chunks: Mapping[ChunkName, Stored]) -> tuple[list[Chunk], list[ObjectDamagedError]]:
        """Read manifests as `load` does, and return beside them what is wrong with the others."""
        found: list[Chunk | ObjectDamagedError] = []
        names = list(chunks)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            found += await asyncio.gather(
                *(self._manifests.in_thread(self._load, name, chunks[name].size) for name in some)
            )
        return (
            [chunk for chunk in found if isinstance(chunk, Chunk)],
            [error for error in found if isinstance(error, ObjectDamagedError)],
        )

    def _load(self, name: ChunkName, size: int) -> Chunk | ObjectDamagedError:
        try:
            with self._manifests.open(name.manifest_key) as stream:
                chunk = Chunk.parse(name, stream.read())
        except ManifestError as error:
            return ObjectDamagedError(f"{self.location}/{name.manifest_key} is damaged: {error}")
        expected = chunk.manifest.size
        if size == expected:
            return chunk
        return ObjectDamagedError(
            f"{self.location}/{name.key} is damaged: it has {size} bytes instead of {expected}: bring it back from a "
            "copy of the archive"
        )

    async def read(self, key: str, how: Callable[[Readable], T]) -> T:
        """Read a file whole.

        Args:
            key: The file.
            how: What is looked for in it: a function of `scripts.archive.content`.

        Raises:
            ObjectDamagedError: It can't be unpacked.
            ObjectError: It can't be read.
        """
        return await self.objects.in_thread(self._read, key, how)

    def _read(self, key: str, how: Callable[[Readable], T]) -> T:
        try:
            with self.objects.open(key) as stream:
                return how(stream)
        except content.ContentError as error:
            raise ObjectDamagedError(f"{self.location}/{key} is damaged: {error}") from error

    async def read_back(self, key: str, expected: Content, said: str = "what was written") -> Reading:
        """Read a file whole, and make sure that it holds what it must.

        Args:
            key: The file.
            expected: What it must hold.
            said: What that is, for the error.

        Raises:
            ObjectDamagedError: It holds something else.
            ObjectError: It can't be read.
        """
        reading = await self.read(key, content.read)
        self._compare(key, reading.content._asdict(), expected._asdict(), said)
        return reading

    async def verify(self, chunk: Chunk) -> None:
        """Read a chunk's file whole, and compare it with the manifest.

        Raises:
            ObjectDamagedError: It is not what the manifest says.
            ObjectError: It can't be read.
        """
        key, facts, said = chunk.name.key, chunk.facts, "what its manifest says"
        reading = await self.read_back(key, chunk.content, said)
        found = {"digest": reading.digest, "ids": render_ids(reading.ids)}
        self._compare(key, found, {"digest": facts.digest, "ids": facts.ids}, said)

    async def ask(self, chunk: Chunk) -> Stored:
        """Ask the store about a file that can't be read at once: it must be of the size and checksum that it was.

        It was verified before it became what it is.

        Returns:
            What the store says of it; some keep no checksum.

        Raises:
            ObjectDamagedError: It is not what its manifest says.
            ObjectError: The store can't be asked.
        """
        head = await self.objects.in_thread(self.objects.head, chunk.name.key)
        manifest = chunk.manifest
        if head is None or head.size != manifest.size or head.sha256 not in {None, manifest.sha256}:
            raise ObjectDamagedError(f"{self.location}/{chunk.name.key} is not what its manifest says: keep the rows")
        return head

    def _compare(self, key: str, found: Mapping[str, object], expected: Mapping[str, object], said: str) -> None:
        wrong = [name for name, value in expected.items() if found[name] != value]
        if wrong:
            raise ObjectDamagedError(f"{self.location}/{key} is damaged: its {', '.join(wrong)} is not {said}")

    async def write(self, key: str, file: BinaryIO, sha256: str) -> None:
        """Write a chunk's file.

        Args:
            key: Its key.
            file: Its content.
            sha256: Its SHA-256 in hexadecimal.

        Raises:
            ObjectExistsError: There is one with another content.
            ObjectError: It can't be written.
        """
        # It is read back by `read_back`, which looks inside, too.
        await self.objects.in_thread(self.objects.put, key, file, sha256, read_back=False)

    async def remove_orphan(self, key: str) -> None:
        """Remove a file that has no manifest, if that is still so.

        Raises:
            ObjectExistsError: It has one by now.
            ObjectError: It can't be removed.
        """
        manifest = key + MANIFEST_SUFFIX
        if await self.objects.in_thread(self.objects.head, manifest):
            raise ObjectExistsError(
                f"{self.location}/{manifest} was written while this run was under way, by another one: the file is "
                "left as it is; run the job again"
            )
        await self.objects.in_thread(self.objects.delete, key)

    async def commit(self, chunk: Chunk) -> None:
        """Write a chunk's manifest: from then on its rows are archived.

        Raises:
            ObjectError: It can't be written.
        """
        text = chunk.render()
        sha256 = hashlib.sha256(text).hexdigest()
        await self._manifests.in_thread(self._manifests.put, chunk.name.manifest_key, io.BytesIO(text), sha256)

    async def cool(self, name: ChunkName) -> None:
        """Let a verified chunk's file become what it shall, if it shall.

        Raises:
            ObjectError: It did not.
        """
        if self._transition:
            await self.objects.in_thread(self._transition, name.key, self.cold)


def open_archive(settings: ArchiveSettings) -> Archive:
    """Return the archive that is configured.

    Raises:
        ObjectError: The bucket's configuration can't be used.
    """
    if not settings.s3_bucket:
        return Archive(LocalObjects(settings.archive_directory))
    # boto3 takes 30 MB and half a second, which a directory need not spend.
    from scripts.s3objects import open_bucket  # noqa: PLC0415

    storage_class = settings.archive_storage_class
    manifests = open_bucket(settings, FOLDER, storage_class="STANDARD", lock_days=settings.archive_lock_days)
    if storage_class in COLD:
        return Archive(manifests, cold=storage_class, transition=manifests.transition)
    return Archive(manifests.keeping(storage_class), manifests)
