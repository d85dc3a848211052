"""The demo's past leads up to the present, whenever that is, and is the same for the same seed."""

import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.dev.binaries import find
from scripts.dev.history import around, local, write
from scripts.dev.history.clock import DAYS, LOOKBACK, ZONE, Clock, Days
from scripts.dev.history.local import labels

# Among them midnight in the local's zone, and the days when its clocks change.
MOMENTS = st.integers(*(int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2025, 2028)))
MIDNIGHT = int(datetime(2026, 3, 9, tzinfo=ZONE).timestamp())
NOON = float(datetime(2026, 11, 25, 20, tzinfo=UTC).timestamp())


@given(MOMENTS, st.integers(0, 5_000), st.integers(0, 20_000), st.integers(0, 90_000))
@example(MIDNIGHT, 0, 700, 3_000)
@example(MIDNIGHT + 1, 3, 3, 3)
def test_every_window_ends_at_what_is_measured_now(now: int, today: int, week: int, month: int) -> None:
    clock = Clock(now, seed=1)
    ends = [(0, today), (7, today + week), (30, today + week + month)]
    days = Days.leading_to(clock, "x", ends)
    # What is measured so early in a day that hardly any work is done is not all explained by that.
    rest = today if clock.done(now) < 0.02 else 0
    for back, value in ends:
        assert days.window(clock, now, back) == pytest.approx(value, abs=rest + 1e-6)
    assert min(days.amounts) >= 0


@given(MOMENTS, st.floats(0, DAYS * 86400))
def test_a_day_s_work_only_grows_and_a_moment_is_in_its_own_day(now: int, age: float) -> None:
    clock = Clock(now, seed=1)
    moment = now - age
    day = clock.day(moment)
    assert datetime.fromtimestamp(moment, ZONE).date() == datetime.fromtimestamp(clock.midnight(day), ZONE).date()
    assert 0 <= clock.done(moment) <= 1
    if clock.day(moment - 60) == day:
        assert clock.done(moment - 60) <= clock.done(moment)


def test_samples_are_never_further_apart_than_prometheus_looks_back() -> None:
    clock = Clock(NOON, seed=1)
    for moments in (clock.moments, clock.often, clock.always):
        gaps = [after - before for before, after in pairwise(moments)]
        assert min(gaps) > 0
        assert max(gaps) < LOOKBACK
        assert NOON - moments[-1] < LOOKBACK
        assert NOON - moments[0] > (DAYS - 1) * 86400


def test_what_moved_is_taken_back_step_by_step() -> None:
    value = local._steps(10, [(100.0, 1), (200.0, -1), (200.0, -1)])
    assert [value(moment) for moment in (50.0, 100.0, 150.0, 200.0, 300.0)] == [11, 12, 12, 10, 10]


def test_the_database_s_numbers_are_missing_while_it_was_down() -> None:
    clock = Clock(NOON, seed=1)
    outage = (clock.outage.begin + clock.outage.end) / 2
    value = local._unless_down(clock, lambda _: 5.0)
    assert value(outage) is None
    assert value(outage - 3600) == 5.0
    # A quarter of an hour in 30 days costs a third of what 99.9 % allow.
    left = 1 - (1 - around._available(clock, NOON, 30 * 86400)) / 0.001
    assert 0.6 < left < 0.7
    assert around._available(clock, outage + 60, 300) < 0.8
    assert around._available(clock, NOON, 86400) == 1


def test_backups_are_made_each_night_and_one_came_late() -> None:
    clock = Clock(NOON, seed=1)
    newest = NOON - 60
    last = around._last_nightly(clock, newest)
    ages = [moment - last(moment) for moment in clock.moments]
    assert min(ages) >= 0
    assert 26 * 3600 < max(ages) < 36 * 3600
    assert last(NOON) == newest


def test_the_same_seed_makes_the_same_past_and_another_seed_another() -> None:
    def past(seed: int) -> list[float]:
        clock = Clock(NOON, seed)
        return Days.leading_to(clock, "x", [(0, 10), (7, 80), (30, 300)]).amounts  # type: ignore[return-value]

    assert past(1) == past(1)
    assert past(1) != past(2)


def test_a_past_that_promtool_refuses_is_an_error_that_says_why(tmp_path: Path) -> None:
    clock = Clock(NOON, seed=1)
    lines = list(write._lines(clock, ("m", labels(a="b"), lambda _: 1.0)))
    assert lines[0].startswith('m{a="b"} 1 ')
    (tmp_path / "text").write_text("no metric at all\n")
    with pytest.raises(write.HistoryError, match=r"promtool ended with 1:\n.*"):
        write._blocks(tmp_path / "text", tmp_path / "data")
    (tmp_path / "text").write_text("".join(lines) + "# EOF\n")
    write._blocks(tmp_path / "text", tmp_path / "data")
    listed = subprocess.run(
        [find("promtool"), "tsdb", "list", tmp_path / "data"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) >= 3
