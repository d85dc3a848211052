"""What is in a file of the archive: whatever the values hold, and however the pieces are cut."""

import asyncio
import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from scripts.archive import content
from scripts.archive.packing import Packer

HEADER = b"id,changed_at,notes,reason\n"
TIMES = ("2019-12-31 23:59:59", "2019-12-31 23:59:59.5", "2020-01-01 00:00:00.000001", "2020-01-01 00:00:01")
Row = tuple[int, str, str | None, str | None]


def quote(value: object) -> str:
    """Write a value as COPY does with all values quoted."""
    return "" if value is None else '"{}"'.format(str(value).replace('"', '""'))


def csv_of(rows: list[Row]) -> bytes:
    return HEADER + "".join(",".join(map(quote, row)) + "\n" for row in rows).encode()


# What could be taken for a row's beginning, or hide one.
VALUES = st.none() | st.text('\n"01,', max_size=9) | st.just("x" * 300)
ROWS = st.lists(st.tuples(st.sampled_from(TIMES), VALUES, VALUES), min_size=1, max_size=30).flatmap(
    lambda rows: st.lists(st.integers(0, 10**18), min_size=len(rows), max_size=len(rows), unique=True).map(
        lambda ids: [(number, *row) for number, row in zip(sorted(ids), rows, strict=True)]
    )
)


@given(ROWS, st.data())
def test_a_file_is_read_as_it_was_written(rows: list[Row], data: st.DataObject) -> None:
    plain = csv_of(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(plain)), max_size=8)))
    pieces = [plain[start:end] for start, end in zip([0, *cuts], [*cuts, len(plain)], strict=True)]
    packed = b"".join(zstandard.ZstdCompressor(level=1).compress(piece) for piece in pieces if piece)

    taken = content.Rows()
    whole = [taken.feed(piece) for piece in pieces]
    firsts = [first for piece in whole if (first := piece.first())]
    lasts = [last for piece in whole if (last := piece.last())]
    assert (firsts[0], lasts[-1]) == ((rows[0][0], rows[0][1]), (rows[-1][0], rows[-1][1]))

    reading = content.read(io.BytesIO(packed))
    assert reading.ids == [row[0] for row in rows]
    assert (reading.oldest, reading.newest) == (min(row[1] for row in rows), max(row[1] for row in rows))
    digest = hashlib.sha256(plain.removeprefix(HEADER)).hexdigest()
    sha256 = hashlib.sha256(packed).hexdigest()
    assert reading.content == (sha256, len(packed), len(rows), len(plain))
    assert reading.digest == digest
    assert b"".join(piece.rows for piece in whole) == plain.removeprefix(HEADER)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda packed: packed + b"\0", id="a byte more"),
        pytest.param(lambda packed: packed + packed, id="twice"),
        pytest.param(lambda packed: packed[:-1], id="a byte less"),
        pytest.param(lambda packed: packed[: len(packed) // 2], id="half of it"),
        pytest.param(lambda _: b"", id="nothing"),
    ],
)
def test_a_file_that_was_changed_is_not_read_as_what_it_was(change: Callable[[bytes], bytes]) -> None:
    plain = csv_of([(number, TIMES[0], "note", None) for number in range(1, 3000)])
    half = len(plain) // 2
    packed = b"".join(zstandard.ZstdCompressor(level=1).compress(piece) for piece in (plain[:half], plain[half:]))
    expected = content.read(io.BytesIO(packed)).content
    with suppress(content.ContentError):
        assert content.read(io.BytesIO(change(packed))).content != expected


def test_what_is_packed_wrongly_is_not_read() -> None:
    async def pack() -> bytes:
        with io.BytesIO() as file:
            async with Packer(file) as packer:
                await packer.write(csv_of([(number, TIMES[0], "note", None) for number in range(1, 20_000)]))
                await packer.write(csv_of([(20_000, TIMES[0], "note", None)]).removeprefix(HEADER))
                await packer.close(20_000)
            return file.getvalue()

    packed = asyncio.run(pack())
    assert content.read(io.BytesIO(packed)).content.rows == 20_000
    # The rows are not digested on their way into the file: each frame's checksum stands for that.
    rest, frames = packed, 0
    while rest:
        unpacking = zstandard.ZstdDecompressor().decompressobj()
        unpacking.decompress(rest)
        end = len(packed) - len(rest := unpacking.unused_data)
        changed = packed[: end - 1] + bytes([packed[end - 1] ^ 1]) + rest
        with pytest.raises(content.ContentError, match="checksum"):
            content.read(io.BytesIO(changed))
        frames += 1
    assert frames == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-29 12:00:00.25", datetime(2020, 2, 29, 12, 0, 0, 250_000, UTC)),
        ("2020-02-29 12:00:00+00", datetime(2020, 2, 29, 12, tzinfo=UTC)),
        ("-infinity", datetime(1, 1, 1, tzinfo=UTC)),
        ("0044-03-15 12:00:00 BC", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc_and_one_before_all_years_is_their_beginning(text: str, expected: datetime) -> None:
    assert content.moment(text) == expected


@pytest.mark.parametrize("text", ["", "infinity", "yesterday", "12:00:00"])
def test_what_is_no_time_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="isoformat"):
        content.moment(text)


@pytest.mark.parametrize("rows", [b"", b'"1.00","2020-01-01 00:00:00"\n', b'"","2020-01-01 00:00:00"\n'])
def test_rows_that_are_not_recognized_do_not_count_as_none(rows: bytes) -> None:
    async def pack() -> object:
        with io.BytesIO() as file:
            async with Packer(file) as packer:
                await packer.write(HEADER + rows)
                return await packer.close(rows.count(b"\n"))

    if not rows:
        assert asyncio.run(pack()) is None
        return
    with pytest.raises(content.ContentError, match="no id"):
        asyncio.run(pack())
