"""Packs what COPY sends into a file, in a thread beside the one that receives it."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import zstandard

from scripts.archive.content import Content, ContentError, Head, Rows

# A frame of its own for each piece: packed at once, it takes half the time that a stream takes, and no more room.
_PIECE = 512 << 10  # bytes
_LEVEL = 1
# A connection hands over what one look at its socket finds: some 10 kB, as the server sends them, which costs more
# processor time than all that is done with them. In a pause the system gathers what the next look finds.
_ENOUGH = 128 << 10  # bytes
_PAUSE_SECONDS = 0.001


class Packed(NamedTuple):
    """Rows that are in a file.

    Attributes:
        content: What the file holds.
        first: The first row.
        last: The last row.
    """

    content: Content
    first: Head
    last: Head


class Packer:
    """Takes the output of COPY, packs it into a file and digests that on the way: `async with Packer(file) as packer`.

    Args:
        file: The file, open and empty. It may be closed when the block has ended, however it has ended.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows = Rows()
        # Rows are digested only when they are read back: that what is unpacked is what was packed, each frame's
        # checksum says.
        self._packing = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._digest = hashlib.sha256()
        self._first: Head | None = None
        self._last: Head | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        # A thread that is its own: each that takes part has memory of its own, too.
        self._thread = ThreadPoolExecutor(1)
        self._at_work: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the thread, which can't be told to end."""
        if self._at_work is not None:
            await asyncio.wait([self._at_work])
            self._at_work.exception()
        self._thread.shutdown()

    async def write(self, piece: bytes) -> None:
        """Take a piece.

        Raises:
            OSError: The file can't be written.
        """
        self._waiting.append(piece)
        self._size += len(piece)
        if self._size >= _PIECE:
            await self._hand_over()
        if len(piece) < _ENOUGH:
            await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self, rows: int) -> Packed | None:
        """Return what is in the file, now that it has so many rows; None: it has none.

        Raises:
            ContentError: It has rows that are not recognized as such.
            OSError: The file can't be written.
        """
        await self._hand_over()
        await self._settle()
        if rows == 0:
            return None
        # Where the first one is recognized and another one is not, reading the file back finds fewer rows.
        if self._first is None or self._last is None:
            raise ContentError("it has rows that begin with no id and time as the archive knows them")
        content = Content(self._digest.hexdigest(), self._file.tell(), rows, self._rows.size)
        return Packed(content, self._first, self._last)

    async def _hand_over(self) -> None:
        """Let the thread pack what has come, after what came before."""
        await self._settle()
        piece = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._at_work = asyncio.get_running_loop().run_in_executor(self._thread, self._pack, piece)

    async def _settle(self) -> None:
        if self._at_work is not None:
            # Whoever is cancelled here must still find it, to wait for the thread.
            await asyncio.shield(self._at_work)

    def _pack(self, piece: bytes) -> None:
        rows = self._rows.feed(piece)
        self._first = self._first or rows.first()
        self._last = rows.last() or self._last
        packed = self._packing.compress(piece)
        self._digest.update(packed)
        self._file.write(packed)
