"""What is in a file of the archive: read as a stream, to the last byte."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import zstandard

from scripts.objects import BLOCK, Readable

# A value that holds a quote has it twice, and every value is quoted; so a line end, a quote and a digit are nowhere but
# where a row begins: its first value is its id, its second one its time.
_HEAD = re.compile(rb'\n"([0-9]++)","([^"]*+)"')
_HEAD_BYTES = 128
"""No row's beginning is longer."""


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


class Head(NamedTuple):
    """How a row begins: its id, and its time as PostgreSQL writes it."""

    id: int
    time: str


class Reading(NamedTuple):
    """What was read of a file.

    Attributes:
        content: What it holds.
        ids: The ids of its rows, in their order.
        oldest: The time of its oldest row, as PostgreSQL writes it; empty if there are no rows.
        newest: Likewise.
    """

    content: Content
    ids: list[int]
    oldest: str
    newest: str


class Rows:
    """Takes CSV in pieces, and digests its rows."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._header: bytes | None = b""
        self._before = b"\n"

    def feed(self, piece: bytes) -> bytes:
        """Take a piece, of any size; return rows, of which no beginning is cut in two."""
        self.size += len(piece)
        if self._header is not None:
            self._header += piece
            _, end, piece = self._header.partition(b"\n")
            if not end:
                return b""
            self._header = None
        self._digest.update(piece)
        piece = self._before + piece
        cut = piece.rfind(b"\n", max(0, len(piece) - _HEAD_BYTES))
        if cut < 0:
            cut = len(piece)
        self._before = piece[cut:]
        return piece[:cut]

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
        with zstandard.ZstdDecompressor().stream_reader(
            source, read_size=BLOCK, read_across_frames=True, closefd=False
        ) as plain:
            while block := plain.read(BLOCK):
                yield block
    except zstandard.ZstdError as error:
        raise ContentError(f"it can't be unpacked ({error})") from error


def first(rows: bytes) -> Head | None:
    """Return how the first row begins, of what `Rows.feed` has returned; None: none does."""
    found = _HEAD.search(rows)
    return _head(found) if found else None


def last(rows: bytes) -> Head | None:
    """Return how the last row begins, of what `Rows.feed` has returned; None: none does."""
    end = len(rows)
    while (end := rows.rfind(b'\n"', 0, end)) >= 0:
        if found := _HEAD.match(rows, end):
            return _head(found)
    return None


def read(stream: Readable) -> Reading:
    """Read a file whole: unpack it, and look at its rows.

    Args:
        stream: The file's content.

    Raises:
        ContentError: It can't be unpacked.
    """
    hashed, rows = _Hashed(stream), Rows()
    ids: list[int] = []
    times: list[bytes] = []
    for block in unpacked(hashed):
        if heads := _HEAD.findall(rows.feed(block)):
            ids += [int(number) for number, _ in heads]
            # As PostgreSQL writes times, their texts are in their order.
            times += (min(heads, key=_TIME)[1], max(heads, key=_TIME)[1])
    content = Content(hashed.sha256, hashed.size, len(ids), rows.digest, rows.size)
    return Reading(content, ids, min(times, default=b"").decode(), max(times, default=b"").decode())


_TIME = itemgetter(1)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


def moment(time: str) -> datetime:
    """Return a time, as PostgreSQL writes it, aware; one that is before the year 1 as that year's beginning."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return _BEGINNING
    # Naive columns hold UTC (unioncore.md).
    return found.replace(tzinfo=found.tzinfo or UTC)


def _head(found: re.Match[bytes]) -> Head:
    return Head(int(found[1]), found[2].decode())
