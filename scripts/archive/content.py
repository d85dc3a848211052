"""What is in a file of the archive: read as a stream, to the last byte."""

import csv
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple, Self

import zstandard

from scripts.objects import Readable

# A value that holds a quote has it twice, and every value is quoted; so a line end, a quote and a digit are nowhere but
# where a row begins: its first value is its id, its second one its time.
_HEAD = re.compile(rb'\n"([0-9]++)","([^"]*+)"')
_ROW = re.compile(rb'\n(?="[0-9]++","[^"]*+")')
_HEAD_BYTES = 128
"""No row's beginning is longer."""
# Larger ones are given back to the system each time, and cost more to get than to fill.
_BLOCK = 256 << 10  # bytes


class ContentError(ValueError):
    """A file is not one of the archive's; the message says why."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        sha256: The file's own SHA-256, in lower-case hexadecimal.
        size: The file's size in bytes.
        rows: How many rows are in it.
        plain_size: Its size when unpacked, in bytes.
    """

    sha256: str
    size: int
    rows: int
    plain_size: int


class Head(NamedTuple):
    """How a row begins: its id, and its time as PostgreSQL writes it."""

    id: int
    time: str

    @classmethod
    def of(cls, found: re.Match[bytes]) -> Self:
        """Return what was found."""
        return cls(int(found[1]), found[2].decode())


class Reading(NamedTuple):
    """What was read of a file.

    Attributes:
        content: What it holds.
        digest: The SHA-256 of the rows' CSV, without the header, in lower-case hexadecimal.
        ids: The ids of its rows, in their order.
        oldest: The time of its oldest row, as PostgreSQL writes it; empty if there are no rows.
        newest: Likewise.
    """

    content: Content
    digest: str
    ids: list[int]
    oldest: str
    newest: str


class Lines(NamedTuple):
    """The rows of a file, each by itself.

    Attributes:
        sha256: The file's own SHA-256, in lower-case hexadecimal.
        columns: The names of its columns, in their order.
        rows: The SHA-256 of each row's CSV without its line end, as bytes, and the row's id.
    """

    sha256: str
    columns: list[str]
    rows: dict[bytes, int]


class Piece(NamedTuple):
    """A piece of CSV, and which rows begin in it.

    Attributes:
        rows: What there is of rows in it: all but the header.
        begun: The beginning of a row that the piece before it has begun; None: there is none.
        text: The rows, perhaps with an end of the piece before it.
        end: Where it ends, but for what the next piece goes on with.
    """

    rows: bytes
    begun: re.Match[bytes] | None
    text: bytes
    end: int

    def heads(self) -> list[tuple[bytes, bytes]]:
        """Return the id and the time of each row that begins here, as they are written."""
        heads: list[tuple[bytes, bytes]] = _HEAD.findall(self.text, 0, self.end)
        return [(self.begun[1], self.begun[2]), *heads] if self.begun else heads

    def first(self) -> Head | None:
        """Return how the first row begins that does so here; None: none does."""
        found = self.begun or _HEAD.search(self.text, 0, self.end)
        return Head.of(found) if found else None

    def last(self) -> Head | None:
        """Return how the last row begins that does so here; None: none does."""
        at = self.end
        while (at := self.text.rfind(b'\n"', 0, at)) >= 0:
            if found := _HEAD.match(self.text, at, self.end):
                return Head.of(found)
        return Head.of(self.begun) if self.begun else None


class Rows:
    """Takes CSV in pieces, and finds its rows and how they begin."""

    def __init__(self) -> None:
        self.size = 0
        self._header: bytes | None = b""
        # What may be the beginning of one: from a line end on.
        self._begun = b"\n"

    def feed(self, piece: bytes) -> Piece:
        """Take a piece, of any size, and return what can be known of it."""
        self.size += len(piece)
        if self._header is not None:
            self._header += piece
            _, newline, piece = self._header.partition(b"\n")
            if not newline:
                return Piece(b"", None, b"", 0)
            self._header = None
        text, begun = piece, None
        if len(piece) < _HEAD_BYTES:
            text = self._begun + piece
        elif self._begun:
            begun = _HEAD.match(self._begun + piece[:_HEAD_BYTES])
        end = text.rfind(b"\n", max(0, len(text) - _HEAD_BYTES))
        end = len(text) if end < 0 else end
        self._begun = text[end:]
        return Piece(piece, begun, text, end)


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
            source, read_size=_BLOCK, read_across_frames=True, closefd=False
        ) as plain:
            while block := plain.read(_BLOCK):
                yield block
    except zstandard.ZstdError as error:
        raise ContentError(f"it can't be unpacked ({error})") from error


def read(stream: Readable) -> Reading:
    """Read a file whole: unpack it, and look at its rows.

    Args:
        stream: The file's content.

    Raises:
        ContentError: It can't be unpacked.
    """
    hashed, rows, digest = _Hashed(stream), Rows(), hashlib.sha256()
    ids: list[int] = []
    times: list[bytes] = []
    for block in unpacked(hashed):
        piece = rows.feed(block)
        digest.update(piece.rows)
        if heads := piece.heads():
            ids += [int(number) for number, _ in heads]
            # As PostgreSQL writes times, their texts are in their order.
            times += (min(heads, key=_TIME)[1], max(heads, key=_TIME)[1])
    content = Content(hashed.sha256, hashed.size, len(ids), rows.size)
    return Reading(content, digest.hexdigest(), ids, min(times, default=b"").decode(), max(times, default=b"").decode())


def read_lines(stream: Readable) -> Lines:
    """Read a file whole, which is in memory meanwhile: look at each of its rows.

    Args:
        stream: The file's content.

    Raises:
        ContentError: It can't be unpacked.
    """
    hashed = _Hashed(stream)
    header, *rows = _ROW.split(b"".join(unpacked(hashed)).removesuffix(b"\n"))
    (columns,) = csv.reader([header.decode()])
    return Lines(hashed.sha256, columns, {hashlib.sha256(row).digest(): int(row.split(b'"', 2)[1]) for row in rows})


_TIME = itemgetter(1)
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
"""What stands for all times before it."""


def moment(time: str) -> datetime:
    """Return a time, as PostgreSQL writes it, aware; one that is before the year 1 as that year's beginning.

    Raises:
        ValueError: It is none.
    """
    if time == "-infinity" or time.endswith(" BC"):
        return BEGINNING
    found = datetime.fromisoformat(time)
    # Naive columns hold UTC (unioncore.md).
    return found.replace(tzinfo=found.tzinfo or UTC)
