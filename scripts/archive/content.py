"""What is in a file of the archive: read as a stream, to the last byte."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import zstandard

from scripts.objects import BLOCK, Readable

# A value that holds a quote has it twice, and every value is quoted; so a line end, a quote and a digit are nowhere but
# where a row begins: its first value is its id.
_ROW = re.compile(rb'\n"[0-9]')
ROW_END = re.compile(rb'\n(?="[0-9])')
"""Where one row ends and another one begins, in the rows' CSV."""


_ID = re.compile(rb'\n"([0-9]+)"')
_ID_BYTES = 24
"""No id is longer, with what is around it."""


class ContentError(ValueError):
    """A file is not one of the archive's; the message says why."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        sha256: The file's own SHA-256, in lower-case hexadecimal.
        size: The file's size in bytes.
        rows: How many rows are in it.
        digest: The SHA-256 of the rows' CSV, without the header, in lower-case hexadecimal.
        plain_size: Its size when unpacked, in bytes.
    """

    sha256: str
    size: int
    rows: int
    digest: str
    plain_size: int


class Rows:
    """Takes CSV in pieces, and digests its rows."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._header: bytes | None = b""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece, of any size; return what of it are rows."""
        self.size += len(piece)
        if self._header is not None:
            self._header += piece
            _, end, piece = self._header.partition(b"\n")
            if not end:
                return b""
            self._header = None
        self._digest.update(piece)
        return piece

    @property
    def digest(self) -> str:
        """The SHA-256 of the rows so far, in lower-case hexadecimal."""
        return self._digest.hexdigest()


class _Hashed:
    """A stream that digests what is read from it."""

    def __init__(self, stream: Readable) -> None:
        self.size = 0
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """See `Readable.read`."""
        block = self._stream.read(size)
        self.size += len(block)
        self._digest.update(block)
        return block

    @property
    def sha256(self) -> str:
        """The SHA-256 so far, in lower-case hexadecimal."""
        return self._digest.hexdigest()


def unpacked(stream: Readable) -> Iterator[bytes]:
    """Unpack a file.

    Raises:
        ContentError: It can't be unpacked.
    """
    source: Any = stream  # the library asks for no more of a file than `read`
    try:
        with zstandard.ZstdDecompressor().stream_reader(source, read_size=BLOCK, closefd=False) as plain:
            while block := plain.read(BLOCK):
                yield block
    except zstandard.ZstdError as error:
        raise ContentError(f"it can't be unpacked ({error})") from error


def ids(stream: Readable) -> set[int]:
    """Read the ids of a file's rows.

    Args:
        stream: The file's content.

    Raises:
        ContentError: It can't be unpacked.
    """
    body, found, before = Rows(), set[int](), b"\n"
    for block in unpacked(stream):
        piece = before + body.feed(block)
        found.update(map(int, _ID.findall(piece)))
        before = piece[-_ID_BYTES:]
    return found


def read(stream: Readable) -> Content:
    """Read a file whole: unpack it, count its rows and digest them.

    Args:
        stream: The file's content.

    Raises:
        ContentError: It can't be unpacked.
    """
    hashed, body = _Hashed(stream), Rows()
    rows, before = 0, b"\n"
    for block in unpacked(hashed):
        piece = before + body.feed(block)
        rows += len(_ROW.findall(piece))
        before = piece[-2:]
    # What follows the last frame is part of the file, though not of its content.
    while hashed.read(BLOCK):
        pass
    return Content(hashed.sha256, hashed.size, rows, body.digest, body.size)
