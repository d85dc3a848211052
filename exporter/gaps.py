"""Ids that a sequence has given out, but whose rows are not visible (yet, or ever)."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple


class Transactions(NamedTuple):
    """Which transactions a look can tell apart.

    Attributes:
        oldest: Every transaction below it is over, and what it committed is visible.
        next: None from here on had a number yet. A snapshot's own `xmax` does not say so: there may be many
            above it that are in progress.
    """

    oldest: int
    next: int


class Gap(NamedTuple):
    """A range of ids without a visible row.

    Attributes:
        first: The lowest id.
        last: The highest id.
        since: When they had all been taken, at the latest.
        bound: The transactions that may fill it are below this one; None: one may not have a number yet.
    """

    first: int
    last: int
    since: datetime
    bound: int | None = None

    def without(self, ids: Iterable[int]) -> "list[Gap]":
        """Return what is left of it once rows with some of its ids have become visible."""
        left, first = [], self.first
        for filled in sorted(ids):
            if first <= filled <= self.last:
                if first < filled:
                    left.append(self._replace(first=first, last=filled - 1))
                first = filled + 1
        return [*left, self._replace(first=first)] if first <= self.last else left

    def bounded(self, transactions: Transactions, now: datetime, margin: timedelta) -> "Gap":
        """Return it with its bound, once the margin has passed for one that had taken an id, but not begun to write."""
        if self.bound is not None or now - self.since < margin:
            return self
        return self._replace(bound=transactions.next)

    def open(self, transactions: Transactions) -> bool:
        """Say whether a row may still fill it: not so once all that could are over."""
        return self.bound is None or transactions.oldest < self.bound


def after(
    gaps: Sequence[Gap],
    *,
    filled: Iterable[int],
    found: Iterable[Gap],
    transactions: Transactions,
    now: datetime,
    margin: timedelta,
) -> list[Gap]:
    """Return the gaps that are still open after a look at the table.

    Args:
        gaps: Those that were open before.
        filled: Ids in them that have become visible.
        found: Those that were seen anew.
        transactions: As of the look.
        now: When that was.
        margin: How long a transaction may hold an id before it begins to write.
    """
    became_visible = sorted(filled)
    left = [rest for gap in gaps for rest in gap.without(became_visible)]
    bounded = [gap.bounded(transactions, now, margin) for gap in (*left, *found)]
    return [gap for gap in bounded if gap.open(transactions)]
