"""Calendar days of any zone: across midnight, both changes of the clock, and midnights that repeat or are skipped."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.windows import DAYS, Windows, start_of_day

TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
ZONES = (
    "UTC",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "America/Havana",  # its midnight repeats in autumn and is skipped in spring
    "Asia/Beirut",  # its midnight is skipped
    "America/Asuncion",
    "America/Nuuk",  # its clock changes an hour before midnight
    "Pacific/Apia",  # skipped a whole day
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Kiritimati",
    "Asia/Kathmandu",
)


@cache
def first_instant(day: date, zone: ZoneInfo) -> datetime:
    """Find the first instant at which it is that day or a later one, by search, without any rule of clocks."""
    # Which 15 minutes it lies in, then which microsecond.
    early = datetime.combine(day, time.min, UTC) - timedelta(hours=20)
    while early.astimezone(zone).date() < day:
        early += timedelta(minutes=15)
    late, early = early, early - timedelta(minutes=15)
    while late - early > TICK:
        middle = early + (late - early) / 2
        early, late = (middle, late) if middle.astimezone(zone).date() < day else (early, middle)
    return late


def naive_windows(instant: datetime, now: datetime, zone: ZoneInfo) -> set[str]:
    """The windows that an instant lies in, by its calendar day alone."""
    today, day = now.astimezone(zone).date(), instant.astimezone(zone).date()
    return {window for window, back in DAYS.items() if instant <= now and day >= today - timedelta(days=back)}


def windows_of(instant: datetime, windows: Windows) -> set[str]:
    return {window for window, start in windows.starts.items() if start <= instant <= windows.now}


zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.datetimes(datetime(2011, 6, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - its form


@given(zones, instants)
def test_a_day_starts_at_the_first_instant_whose_local_date_it_is(zone: ZoneInfo, instant: datetime) -> None:
    day = instant.astimezone(zone).date()
    assert start_of_day(day, zone) == first_instant(day, zone)


@given(zones, instants, st.timedeltas(timedelta(days=-40), timedelta(days=2)))
def test_an_instant_is_in_the_windows_that_its_calendar_day_is_in(
    zone: ZoneInfo, now: datetime, distance: timedelta
) -> None:
    assert windows_of(now + distance, Windows.at(now, zone)) == naive_windows(now + distance, now, zone)


@given(zones, instants, st.sampled_from(sorted(DAYS.values())), st.sampled_from([-TICK, 0 * TICK, TICK]))
def test_a_window_begins_exactly_with_its_first_day(
    zone: ZoneInfo, now: datetime, back: int, distance: timedelta
) -> None:
    day = now.astimezone(zone).date() - timedelta(days=back)
    instant = first_instant(day, zone) + distance
    assert windows_of(instant, Windows.at(now, zone)) == naive_windows(instant, now, zone)


@given(zones, instants)
def test_today_is_over_exactly_when_the_local_date_changes(zone: ZoneInfo, now: datetime) -> None:
    windows = Windows.at(now, zone)
    today = now.astimezone(zone).date()
    assert now < windows.until
    assert (windows.until - TICK).astimezone(zone).date() == today
    assert windows.until.astimezone(zone).date() > today
    assert Windows.at(windows.until - TICK, zone).starts == windows.starts
    assert Windows.at(windows.until, zone).starts["today"] == windows.until


@given(zones, instants)
def test_windows_lie_in_one_another_and_all_end_now(zone: ZoneInfo, now: datetime) -> None:
    windows = Windows.at(now, zone)
    starts = windows.starts
    assert starts["30d"] < starts["7d"] < starts["today"] <= windows.now == now
    assert {window: windows.days["today"] - day for window, day in windows.days.items()} == {
        window: timedelta(days=back) for window, back in DAYS.items()
    }


LENGTHS = [
    ("America/Los_Angeles", date(2026, 3, 8), 23),
    ("America/Los_Angeles", date(2026, 11, 1), 25),
    ("Pacific/Auckland", date(2026, 9, 27), 23),
    ("Pacific/Auckland", date(2026, 4, 5), 25),
    ("America/Havana", date(2026, 3, 8), 23),
    ("America/Havana", date(2026, 11, 1), 25),
    ("Asia/Beirut", date(2026, 3, 29), 23),
    ("Asia/Beirut", date(2026, 10, 24), 25),
    ("America/Asuncion", date(2023, 10, 1), 23),
    ("America/Asuncion", date(2024, 3, 23), 25),
    ("America/Nuuk", date(2026, 3, 28), 23),
    ("America/Nuuk", date(2026, 10, 24), 25),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    ("Asia/Kolkata", date(2026, 3, 29), 24),
]


@pytest.mark.parametrize(("zone", "day", "hours"), LENGTHS)
def test_a_day_on_which_the_clock_changes_is_as_long_as_it_is(zone: str, day: date, hours: float) -> None:
    begins, ends = (start_of_day(one, ZoneInfo(zone)) for one in (day, day + timedelta(days=1)))
    assert (ends - begins) / HOUR == hours


@pytest.mark.parametrize("hour", [0, 1])
def test_both_midnights_of_a_day_that_has_two_belong_to_it(hour: int) -> None:
    # Havana, 1 November 2026: 04:00 UTC is 00:00, an hour later it is 00:00 again.
    zone, first = ZoneInfo("America/Havana"), datetime(2026, 11, 1, 4, tzinfo=UTC)
    windows = Windows.at(first + hour * HOUR, zone)
    assert windows.starts["today"] == first
    assert windows.days["today"] == date(2026, 11, 1)
    assert windows.until == datetime(2026, 11, 2, 5, tzinfo=UTC)


def test_a_day_without_a_midnight_starts_with_its_first_hour() -> None:
    # Beirut, 29 March 2026: after 23:59:59 comes 01:00, at 22:00 UTC.
    zone, change = ZoneInfo("Asia/Beirut"), datetime(2026, 3, 28, 22, tzinfo=UTC)
    assert change.astimezone(zone).time() == time(1)
    assert Windows.at(change - TICK, zone).until == change
    assert Windows.at(change, zone).starts["today"] == change


def test_the_parameters_name_every_window_and_the_horizon() -> None:
    now = datetime(2026, 7, 1, 3, tzinfo=UTC)
    parameters = Windows.at(now, ZoneInfo("America/Los_Angeles")).parameters(now + HOUR)
    assert parameters == {
        "now": now,
        "horizon": now + HOUR,
        "today": date(2026, 6, 30),
        "start_today": datetime(2026, 6, 30, 7, tzinfo=UTC),
        "start_7d": datetime(2026, 6, 23, 7, tzinfo=UTC),
        "start_30d": datetime(2026, 5, 31, 7, tzinfo=UTC),
        "day_today": date(2026, 6, 30),
        "day_7d": date(2026, 6, 23),
        "day_30d": date(2026, 5, 31),
    }
