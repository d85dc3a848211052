"""Ids that a sequence has given out, but whose rows are not visible (yet, or ever)."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple


class Snapshot(NamedTuple):
    """The bounds of a `pg_snapshot`.

    Attributes:
        xmin: Every transaction below it is over.
        xmax: Every transaction from here on had not begun to write.
    """

    xmin: int
    xmax: int

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read the text form `xmin:xmax:in progress`."""
        xmin, xmax, _ = text.split(":")
        return cls(int(xmin), int(xmax))


class Gap(NamedTuple):
    """A range of ids without a visible row.

    Attributes:
        first: The lowest id.
        last: The highest id.
        xmax: The snapshot's `xmax` when it was seen: its ids were taken by transactions below it, but for
            one that took its id before it had a transaction number.
        since: When it was seen.
    """

    first: int
    last: int
    xmax: int
    since: datetime

    def without(self, ids: Iterable[int]) -> "list[Gap]":
        """Return what is left of it once rows with some of its ids have become visible."""
        left, first = [], self.first
        for filled in sorted(ids):
            if first <= filled <= self.last:
                if first < filled:
                    left.append(self._replace(first=first, last=filled - 1))
                first = filled + 1
        return [*left, self._replace(first=first)] if first <= self.last else left

    def open(self, snapshot: Snapshot, now: datetime, margin: timedelta) -> bool:
        """Say whether a row may still fill it.

        Not so once all transactions that could have taken its ids are over, and the margin has passed for
        one that had taken an id, but not yet begun to write.
        """
        return snapshot.xmin < self.xmax or now - self.since < margin


def after(
    gaps: Sequence[Gap],
    *,
    filled: Iterable[int],
    found: Iterable[tuple[int, int]],
    snapshot: Snapshot,
    now: datetime,
    margin: timedelta,
) -> list[Gap]:
    """Return the gaps that are still open after a look at the table.

    Args:
        gaps: Those that were open before.
        filled: Ids in them that have become visible.
        found: First and last id of each that was seen anew.
        snapshot: The snapshot of the look.
        now: When that was.
        margin: How long a transaction may hold an id before it begins to write.
    """
    became_visible = sorted(filled)
    left = [rest for gap in gaps for rest in gap.without(became_visible)]
    seen = [Gap(first, last, snapshot.xmax, now) for first, last in found]
    return [gap for gap in left + seen if gap.open(snapshot, now, margin)]
