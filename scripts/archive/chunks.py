"""A chunk of the archive: its name, and its manifest."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count
from operator import sub
from typing import Annotated, NamedTuple, Self

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from exporter.manifests import MANIFEST_SUFFIX, Manifest, ManifestError
from scripts.archive.content import Content, Reading, moment
from scripts.archive.table import ArchivedColumn

_KEY = re.compile(r"[0-9]{4}/[0-9]{2}/([0-9]+)-([0-9]+)-([0-9a-f]{8})\.csv\.zst", re.ASCII)
_RUN = re.compile(r"([0-9]+)(?:-([0-9]+))?", re.ASCII)

Run = tuple[int, int]
"""Consecutive ids: the first and the last."""


class ChunkName(NamedTuple):
    """A chunk as its key names it.

    Attributes:
        first: Its lowest id.
        last: Its highest id.
        key: The key of its file.
    """

    first: int
    last: int
    key: str

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Read a key; None if it is not one of a chunk's file."""
        found = _KEY.fullmatch(key)
        return cls(int(found[1]), int(found[2]), key) if found else None

    @classmethod
    def of(cls, first: int, last: int, month: datetime, sha256: str) -> Self:
        """Name a chunk.

        Args:
            first: Its lowest id.
            last: Its highest id.
            month: The time of its first row.
            sha256: The SHA-256 of its file, in hexadecimal.
        """
        return cls(first, last, f"{month.year:04}/{month.month:02}/{first}-{last}-{sha256[:8]}.csv.zst")

    def overlaps(self, other: "ChunkName") -> bool:
        """Say whether the ranges of two chunks' ids have an id in common."""
        return self.first <= other.last and other.first <= self.last

    @property
    def manifest_key(self) -> str:
        """The key of its manifest."""
        return self.key + MANIFEST_SUFFIX


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Facts:
    """What a chunk's manifest says beyond `exporter.manifests.Manifest`.

    Attributes:
        rows: How many rows it has.
        ids: Their ids, as `1-5,7`.
        digest: The SHA-256 of the rows' CSV in the order of their ids, without the header.
        plain_size: The size of the CSV in bytes, header and all.
        oldest: The time of the oldest row.
        newest: The time of the newest row.
        columns: The columns in their order; the first is that of the ids, the second that of the times.
        table: The table's qualified name, quoted.
        database: The database that it was in.
    """

    rows: Annotated[int, Field(ge=1)]
    ids: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    plain_size: int
    oldest: AwareDatetime
    newest: AwareDatetime
    columns: Annotated[tuple[ArchivedColumn, ...], Field(min_length=2)]
    table: str
    database: str

    @classmethod
    def of(cls, reading: Reading, *, columns: tuple[ArchivedColumn, ...], table: str, database: str) -> Self:
        """Describe what was read of a file, which has rows; the rest is as in the attributes."""
        return cls(
            rows=reading.content.rows,
            ids=render_ids(reading.ids),
            digest=reading.digest,
            plain_size=reading.content.plain_size,
            oldest=moment(reading.oldest),
            newest=moment(reading.newest),
            columns=columns,
            table=table,
            database=database,
        )


_FACTS = TypeAdapter(Facts)


class Chunk(NamedTuple):
    """A chunk, as its manifest has it."""

    name: ChunkName
    manifest: Manifest
    facts: Facts

    @classmethod
    def parse(cls, name: ChunkName, text: bytes) -> Self:
        """Read a manifest.

        Raises:
            ManifestError: It is none, is another's, or contradicts itself.
        """
        manifest = Manifest.parse(text)
        if manifest.name != name.key.rpartition("/")[2]:
            raise ManifestError(f"it is the manifest of {manifest.name}")
        try:
            facts = _FACTS.validate_python(manifest.extra)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            raise ManifestError(f"its {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
        runs = list(parse_ids(facts.ids))
        if sum(last - first + 1 for first, last in runs) != facts.rows:
            raise ManifestError("its ids are not as many as its rows")
        if (runs[0][0], runs[-1][1]) != (name.first, name.last) or f"-{manifest.sha256[:8]}." not in name.key:
            raise ManifestError("its name is another chunk's")
        return cls(name, manifest, facts)

    def render(self) -> bytes:
        """Write its manifest as the file that `parse` reads."""
        return self.manifest.render()

    @classmethod
    def of(
        cls, name: ChunkName, facts: Facts, content: Content, *, started_at: datetime, finished_at: datetime
    ) -> Self:
        """Describe a new chunk.

        Args:
            name: Its name.
            facts: What is in it.
            content: What was read back of its file.
            started_at: When its rows were read.
            finished_at: When it was read back.
        """
        extra = {"kind": "audit-archive", **_FACTS.dump_python(facts, mode="json")}
        file = name.key.rpartition("/")[2]
        return cls(name, Manifest(file, content.sha256, content.size, started_at, finished_at, extra), facts)

    @property
    def content(self) -> Content:
        """What its file must hold."""
        facts = self.facts
        return Content(self.manifest.sha256, self.manifest.size, facts.rows, facts.plain_size)

    @property
    def column_names(self) -> list[str]:
        """The names of its columns, in their order."""
        return [column.name for column in self.facts.columns]


def render_ids(ids: Sequence[int]) -> str:
    """Write ascending ids as `1-5,7`.

    Raises:
        ValueError: They do not ascend.
    """
    # The same throughout a run of consecutive ids, and higher in the next one.
    offsets = list(map(sub, ids, count()))
    if offsets != sorted(offsets):
        raise ValueError("the ids do not ascend")
    runs: list[Run] = []
    start = 0
    while start < len(ids):
        end = bisect_right(offsets, offsets[start], start)
        runs.append((ids[start], ids[end - 1]))
        start = end
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def parse_ids(text: str) -> Iterator[Run]:
    """Read what `render_ids` has written.

    Raises:
        ManifestError: It is something else.
    """
    before = -1
    for word in text.split(","):
        found = _RUN.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not before < first <= last:
            raise ManifestError("its ids are no ascending ids")
        yield first, last
        before = last


def multirange(ids: Iterable[str]) -> str:
    """Return ids, as `render_ids` writes them, as the text of an int8multirange."""
    runs = (f"[{first},{last}]" for text in ids for first, last in parse_ids(text))
    return f"{{{','.join(runs)}}}"
