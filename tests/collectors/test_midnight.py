"""Time alone moves the counts: exactly at the local midnight and at the moments that the data names."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import exporter.reading
from exporter.holding import CountPolicy
from tests.looking import Clock, exporting
from tests.recount import Counts
from tests.rows import writing

TICK = timedelta(microseconds=1)
MIDNIGHTS = [
    ("America/Los_Angeles", "2026-06-02T07:00"),  # an ordinary one
    ("America/Los_Angeles", "2026-03-08T08:00"),  # the day that has 23 hours begins
    ("America/Los_Angeles", "2026-03-09T07:00"),
    ("America/Los_Angeles", "2026-11-01T07:00"),  # the day that has 25 hours begins
    ("America/Los_Angeles", "2026-11-02T08:00"),
    ("Asia/Kolkata", "2026-06-01T18:30"),
    ("Pacific/Auckland", "2026-04-04T11:00"),
    ("Pacific/Auckland", "2026-04-05T12:00"),
    ("America/Havana", "2026-11-01T04:00"),  # the first midnight of two
    ("America/Havana", "2026-11-02T05:00"),
    ("Asia/Beirut", "2026-03-28T22:00"),  # midnight is skipped
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the collectors that each statement read."""
    made: list[list[str]] = []
    combine = exporter.reading._combine

    def recorded(statements: dict[str, Any]) -> str:
        made.append(list(statements))
        return combine(statements)

    monkeypatch.setattr(exporter.reading, "_combine", recorded)
    return made


def picked(published: Counts, name: str) -> dict[str, int]:
    return {labels[0]: int(value) for (family, labels), value in published.items() if family == f"unioncore_{name}"}


@pytest.mark.parametrize(("zone", "midnight"), MIDNIGHTS)
async def test_every_window_rolls_over_exactly_at_the_local_midnight(live_url: str, zone: str, midnight: str) -> None:
    clock = Clock(at(midnight) - timedelta(minutes=2))
    today = clock.now.astimezone(ZoneInfo(zone)).date()
    async with writing(live_url) as writer:
        for table, column in (("users", "last_login"), ("audit_logs", "changed_at")):
            await writer.connection.execute(f"truncate {table} cascade")
            for moment in (-TICK, 0 * TICK, TICK):
                await writer.insert(table, **{column: at(midnight) + moment})
        await writer.connection.execute("truncate dues_payments cascade")
        for days in (0, 1):
            await writer.insert(
                "dues_payments",
                status="PAID",
                amount_due=1,
                amount_paid=1,
                payment_date=today + timedelta(days=days),
            )
    seen = []
    async with exporting(live_url, zone=zone, clock=clock) as scraped:
        await scraped.check()
        for moment in (-2 * TICK, -TICK, 0 * TICK, TICK):
            clock.at = at(midnight) + moment
            published = await scraped.check()
            seen.append(
                [picked(published, name)["today"] for name in ("users_active", "audit_events")]
                + [int(published["unioncore_dues_collected_dollars", ("today", "unknown")])]
            )
    assert seen == [[0, 0, 1], [1, 1, 1], [1, 1, 1], [2, 2, 1]]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Auckland"])
async def test_the_counts_are_right_at_any_time_of_a_year_of_which_the_database_knows_nothing(
    shape_url: str, zone: str
) -> None:
    now = datetime.now(UTC) - timedelta(days=40)
    clock = Clock(now)
    async with exporting(shape_url, zone=zone, clock=clock, policy=CountPolicy(small_rows=-1)) as exporter_:
        for step in range(35):
            # Steps of many lengths: within a count's life, over midnights, and back.
            now += timedelta(seconds=(7, 61, 299, 4000, 90_000, 400_000, -100_000)[step % 7])
            clock.at = now
            await exporter_.check()


async def test_locks_sessions_and_future_rows_come_and_go_on_time_without_a_recount(
    live_url: str, readings: list[list[str]]
) -> None:
    start = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    clock = Clock(start)
    moments = [timedelta(seconds=seconds) for seconds in (1, 2.5, 60, 299.999999)]
    async with writing(live_url) as writer:
        for table in ("users", "refresh_tokens", "audit_logs"):
            await writer.connection.execute(f"truncate {table} cascade")
        for moment in moments:
            await writer.insert("users", locked_until=start + moment)
            await writer.insert("users", last_login=start + moment)
            await writer.insert("refresh_tokens", expires_at=start + moment)
            await writer.insert("audit_logs", changed_at=start + moment)
    names = ("users", "users_active", "login_sessions", "audit_events")
    async with exporting(live_url, clock=clock, policy=CountPolicy(small_rows=-1)) as scraped:
        await scraped.check()
        readings.clear()
        for passed, moment in enumerate(moments):
            for distance in (-TICK, 0 * TICK, TICK):
                clock.at = start + moment + distance
                if distance > 0 * TICK and passed == len(moments) - 1:
                    break  # the count's life is over
                published = await scraped.check()
                done = passed + (distance >= 0 * TICK)
                users, came, sessions, events = (picked(published, name) for name in names)
                assert users == {"active": 4 + done, "inactive": 0, "locked": 4 - done}
                assert came == {"today": done, "7d": done, "30d": done}
                assert sessions == {"live": 4 - done, "expired": done, "revoked": 0}
                assert events == {"today": done, "7d": done}
        assert not {"users", "sessions"} & {name for names in readings for name in names}
        # A vacuum by the server itself is a transaction, too; what follows transactions looks again then, with the
        # catalog's collector.
        assert not [names for names in readings if "audit" in names and "immutability" not in names]
        clock.at = start + timedelta(seconds=300)
        await scraped.check()
        assert {"users", "sessions", "audit"} <= {name for names in readings for name in names}


async def test_nothing_is_read_while_no_transaction_has_completed(live_url: str, readings: list[list[str]]) -> None:
    async with exporting(live_url) as scraped:
        # A vacuum or an analyze by the server itself is a transaction too: it may come between, but not always.
        for _ in range(20):
            await scraped.check()
            readings.clear()
            await scraped.check()
            if not readings:
                break
    assert readings == []
