"""Gaps are exactly the ids that may still be filled, however transactions begin, write and end."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.gaps import Gap, Transactions, after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARGIN = timedelta(minutes=10)
QUIET = Transactions(oldest=100, next=100)


def ids_of(gaps: list[Gap]) -> set[int]:
    ids = [one for gap in gaps for one in range(gap.first, gap.last + 1)]
    assert len(ids) == len(set(ids)), "gaps overlap"
    assert all(gap.first <= gap.last for gap in gaps), "a gap is empty"
    return set(ids)


bounds = st.integers(1, 60)


@given(bounds, bounds, st.lists(st.integers(-5, 70)))
def test_what_is_left_of_a_gap_is_the_ids_that_were_not_filled(one: int, other: int, filled: list[int]) -> None:
    first, last = sorted((one, other))
    left = Gap(first, last, NOW, bound=7).without(filled)
    assert ids_of(left) == set(range(first, last + 1)) - set(filled)
    assert {(gap.since, gap.bound) for gap in left} <= {(NOW, 7)}
    assert left == sorted(left)


@given(
    st.lists(st.tuples(bounds, bounds), max_size=6, unique_by=lambda pair: pair[0]),
    st.sets(bounds),
    st.sets(bounds),
)
def test_several_gaps_lose_only_what_was_filled_and_gain_what_was_found(
    pairs: list[tuple[int, int]], filled: set[int], found: set[int]
) -> None:
    gaps = [Gap(100 * number + min(pair), 100 * number + max(pair), NOW) for number, pair in enumerate(pairs)]
    seen = {100 * (one % 6) + one for one in filled}
    new = [Gap(1000 + one, 1000 + one, NOW) for one in found]
    left = after(gaps, filled=seen, found=new, transactions=QUIET, now=NOW, margin=MARGIN)
    assert ids_of(left) == (ids_of(gaps) - seen) | {1000 + one for one in found}


def test_a_gap_stays_open_for_the_margin_although_no_transaction_is_in_progress() -> None:
    gaps = [Gap(5, 6, NOW)]
    for passed in (timedelta(), MARGIN / 2, MARGIN - timedelta.resolution):
        gaps = after(gaps, filled=(), found=(), transactions=QUIET, now=NOW + passed, margin=MARGIN)
        assert ids_of(gaps) == {5, 6}
    assert after(gaps, filled=(), found=(), transactions=QUIET, now=NOW + MARGIN, margin=MARGIN) == []


def test_a_gap_stays_open_for_every_transaction_that_had_a_number_when_the_margin_had_passed() -> None:
    gaps = [Gap(5, 5, NOW)]
    for oldest, following in ((100, 103), (100, 120), (101, 130), (102, 140)):
        gaps = after(
            gaps,
            filled=(),
            found=(),
            transactions=Transactions(oldest, following),
            now=NOW + MARGIN,
            margin=MARGIN,
        )
        assert ids_of(gaps) == {5}
    over = Transactions(oldest=103, next=150)
    assert after(gaps, filled=(), found=(), transactions=over, now=NOW + MARGIN, margin=MARGIN) == []


def test_a_clock_that_is_set_back_closes_no_gap() -> None:
    kept = after([Gap(5, 5, NOW)], filled=(), found=(), transactions=QUIET, now=NOW - MARGIN, margin=MARGIN)
    assert ids_of(kept) == {5}


@dataclass
class Writing:
    """A transaction: the ids that it has taken, and its number, once it has begun to write."""

    number: int | None
    ids: set[int] = field(default_factory=set)
    took_at: datetime = NOW


class Following(RuleBasedStateMachine):
    """A table with a sequence, and one who follows it by its ids: every row is seen once, whenever it commits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.sequence = 0
        self.next = 10
        self.completed = 9
        self.writing: list[Writing] = []
        self.rows: set[int] = set()
        self.seen: set[int] = set()
        self.top = 0
        self.gaps: list[Gap] = []

    @rule(numbered=st.booleans(), ids=st.integers(0, 2))
    def begin(self, numbered: bool, ids: int) -> None:
        self.writing.append(Writing(None))
        if numbered:
            self.number(-1)
        if ids:
            self.take(-1, ids)

    @precondition(lambda self: self.writing)
    @rule(which=st.integers(0, 3), ids=st.integers(1, 3))
    def take(self, which: int, ids: int) -> None:
        one = self.writing[which % len(self.writing)]
        one.ids |= set(range(self.sequence + 1, self.sequence + ids + 1))
        one.took_at = self.now
        self.sequence += ids

    @precondition(lambda self: self.writing)
    @rule(which=st.integers(0, 3))
    def number(self, which: int) -> None:
        one = self.writing[which % len(self.writing)]
        if one.number is None:
            one.number, self.next = self.next, self.next + 1

    @precondition(lambda self: self.writing)
    @rule(which=st.integers(0, 3), commits=st.booleans())
    def end(self, which: int, commits: bool) -> None:
        self.number(which)
        one = self.writing.pop(which % len(self.writing))
        self.completed = max(self.completed, one.number or 0)
        self.rows |= one.ids if commits else set()

    @rule(minutes=st.sampled_from([1, 9, 11]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        # What the margin is for: nobody holds an id for so long without beginning to write.
        for which, one in enumerate(self.writing):
            if one.ids and self.now - one.took_at >= MARGIN:
                self.number(which)
        self.look()

    @rule()
    def look(self) -> None:
        expected = self.rows - self.seen
        visible = {one for one in self.rows if one > self.top}
        filled = {one for one in self.rows if any(gap.first <= one <= gap.last for gap in self.gaps)}
        new = sorted(visible)
        found = [
            Gap(before + 1, one - 1, self.now)
            for before, one in zip([self.top, *new], new, strict=False)
            if one > before + 1
        ]
        assert visible | filled == expected
        assert not visible & filled
        self.seen |= expected
        # A snapshot lists those in progress below the one after the last that completed.
        xmax = self.completed + 1
        progressing = [one.number for one in self.writing if one.number is not None and one.number < xmax]
        self.gaps = after(
            self.gaps,
            filled=filled,
            found=found,
            transactions=Transactions(oldest=min([xmax, *progressing]), next=self.next),
            now=self.now,
            margin=MARGIN,
        )
        self.top = max([self.top, *new])

    @invariant()
    def no_gap_holds_a_row_that_was_seen(self) -> None:
        assert not ids_of(self.gaps) & self.seen


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=150, stateful_step_count=40)
