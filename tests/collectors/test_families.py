"""Every family, every label set and every value equals a naive recount: to the row, and to the cent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from tests.looking import Changes, Clock, Inserts, changed_by, exporting
from tests.recount import TABLES
from tests.rows import SOFT_DELETED, Writer, writing

# The exporter's clock stands still at this moment.
NOW = datetime.now(UTC).replace(hour=20, minute=30, second=0, microsecond=123456)
ZONE = ZoneInfo("America/Los_Angeles")
TODAY = NOW.astimezone(ZONE).date()
START = {
    days: datetime.combine(TODAY - timedelta(days=days), datetime.min.time(), ZONE).astimezone(UTC)
    for days in (0, 7, 30)
}
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


@pytest.fixture
async def writer(shape_url: str) -> AsyncIterator[Writer]:
    async with writing(shape_url) as writer:
        yield writer


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Auckland"])
async def test_every_family_equals_the_naive_count(shape_url: str, zone: str) -> None:
    async with exporting(shape_url, zone=zone) as exporter:
        published = await exporter.check()
    assert {
        "unioncore_users",
        "unioncore_users_active",
        "unioncore_login_sessions",
        "unioncore_members",
        "unioncore_audit_events",
        "unioncore_audit_events_total",
        "unioncore_audit_last_event_timestamp_seconds",
        "unioncore_audit_oldest_event_timestamp_seconds",
        "unioncore_audit_immutable",
        "unioncore_dues_collected_dollars",
        "unioncore_dues_payments",
        "unioncore_dues_outstanding_dollars",
        "unioncore_students",
        "unioncore_grievances",
    } <= {name for name, _ in published}


async def test_empty_tables_publish_every_known_label_at_zero(shape_url: str, writer: Writer) -> None:
    await writer.connection.execute(f"truncate {', '.join(TABLES)} cascade")
    async with exporting(shape_url) as exporter:
        published = await exporter.check()
    assert ("unioncore_audit_last_event_timestamp_seconds", ()) not in published
    assert set(published.values()) == {Decimal(0), Decimal(1)}
    assert {name for (name, _), value in published.items() if value} == {"unioncore_audit_immutable"}


PAST, SOON, LATER = NOW - DAY, NOW + timedelta(seconds=2), NOW + timedelta(days=3)

EDGES: dict[str, tuple[Inserts, Changes]] = {
    "a lock that is about to expire still locks": (
        [("users", {"locked_until": SOON}), ("users", {"locked_until": NOW + TICK})],
        {("users", "locked"): "2"},
    ),
    "a lock that expires this very moment does not lock": (
        [("users", {"locked_until": NOW}), ("users", {"locked_until": PAST}), ("users", {"locked_until": None})],
        {("users", "active"): "3"},
    ),
    "an inactive user is inactive, locked or not": (
        [("users", {"is_active": False, "locked_until": SOON}), ("users", {"is_active": False})],
        {("users", "inactive"): "2"},
    ),
    "a login in the future is in no window": (
        [("users", {"last_login": NOW + TICK}), ("users", {"last_login": LATER})],
        {("users", "active"): "2"},
    ),
    "a login counts from a window's first instant to now": (
        [("users", {"last_login": start + tick}) for start in START.values() for tick in (-TICK, 0 * TICK, TICK)]
        + [("users", {"last_login": NOW})],
        {
            ("users", "active"): "10",
            ("users_active", "today"): "3",
            ("users_active", "7d"): "6",
            ("users_active", "30d"): "9",
        },
    ),
    "a revoked session is revoked, expired or not": (
        [("refresh_tokens", {"is_revoked": True, "expires_at": at}) for at in (PAST, LATER)],
        {("login_sessions", "revoked"): "2"},
    ),
    "a session is live until the moment at which it expires": (
        [("refresh_tokens", {"expires_at": at}) for at in (PAST, NOW, NOW + TICK, LATER)],
        {("login_sessions", "expired"): "2", ("login_sessions", "live"): "2"},
    ),
    "an audit event counts from a window's first instant to now": (
        [
            ("audit_logs", {"changed_at": at})
            for start in (START[0], START[7])
            for at in (start - TICK, start, start + TICK)
        ]
        + [("audit_logs", {"changed_at": NOW}), ("audit_logs", {"changed_at": NOW + TICK})],
        {("audit_events", "today"): "3", ("audit_events", "7d"): "6"},
    ),
    "a payment without a method has the method unknown": (
        [("dues_payments", {"status": "PAID", "payment_date": TODAY, "amount_due": 50, "amount_paid": 50})],
        {
            ("dues_payments", "PAID"): "1",
            ("dues_collected_dollars", "today", "unknown"): "50.00",
            ("dues_collected_dollars", "7d", "unknown"): "50.00",
            ("dues_collected_dollars", "30d", "unknown"): "50.00",
        },
    ),
    "a payment without a date, or dated tomorrow, is in no window": (
        [
            ("dues_payments", {"status": "PAID", "payment_date": day, "amount_due": 50, "amount_paid": 50})
            for day in (None, TODAY + DAY)
        ],
        {("dues_payments", "PAID"): "2"},
    ),
    "a payment counts from a window's first day": (
        [
            (
                "dues_payments",
                {
                    "status": "PAID",
                    "payment_date": TODAY - days * DAY,
                    "amount_due": Decimal("0.01"),
                    "amount_paid": Decimal("0.01"),
                    "payment_method": "stripe_card",
                },
            )
            for days in (0, 1, 7, 8, 30, 31)
        ],
        {
            ("dues_payments", "PAID"): "6",
            ("dues_collected_dollars", "today", "stripe_card"): "0.01",
            ("dues_collected_dollars", "7d", "stripe_card"): "0.03",
            ("dues_collected_dollars", "30d", "stripe_card"): "0.05",
        },
    ),
    "a payment that is not completed has collected nothing": (
        [("dues_payments", {"status": "OVERDUE", "payment_date": TODAY, "amount_due": Decimal("12.34")})],
        {("dues_payments", "overdue"): "1", ("dues_outstanding_dollars", "overdue"): "12.34"},
    ),
    "what needs a count by status is counted": (
        [
            ("members", {"status": "SUSPENDED", "classification": "HONORARY"}),
            ("students", {"status": "ON_LEAVE"}),
            ("students", {"status": "ENROLLED"}),
            ("grievances", {"status": "ARBITRATION"}),
            ("grants", {"status": "closed"}),
            ("dispatches", {"dispatch_status": "NO_SHOW"}),
            ("labor_requests", {"status": "PARTIALLY_FILLED"}),
        ],
        {
            ("members", "suspended", "honorary"): "1",
            ("students", "on_leave"): "1",
            ("students", "ENROLLED"): "1",
            ("grievances", "arbitration"): "1",
            ("grants", "closed"): "1",
            ("dispatches", "no_show"): "1",
            ("labor_requests", "partially_filled"): "1",
        },
    ),
}

LIVE_EDGES: dict[str, tuple[Inserts, Changes]] = {
    "a soft-deleted row counts nowhere": (
        [
            (table, {"is_deleted": True, "payment_date": TODAY} if table == "dues_payments" else {"is_deleted": True})
            for table in SOFT_DELETED
        ]
        + [("users", {"is_deleted": True, "last_login": NOW, "locked_until": LATER})],
        {},
    ),
    "a partial payment is owed for the rest, and is not a completed one": (
        [("dues_payments", {"status": "PARTIAL", "payment_date": TODAY, "amount_due": 80, "amount_paid": 30})],
        {("dues_payments", "partial"): "1", ("dues_outstanding_dollars", "partial"): "50.00"},
    ),
    "what was paid too much is not owed less elsewhere": (
        [
            ("dues_payments", {"status": "PAID", "amount_due": 50, "amount_paid": 70}),
            ("dues_payments", {"status": "PAID", "amount_due": 50, "amount_paid": Decimal("49.99")}),
        ],
        {("dues_payments", "paid"): "2", ("dues_outstanding_dollars", "paid"): "0.01"},
    ),
}


def in_this_shape(writer: Writer, published: Changes) -> Changes:
    """Say a status in the words of the writer's shape."""
    return {
        (name, *(writer.word(name, word).lower() if word.isupper() else word for word in labels)): delta
        for (name, *labels), delta in published.items()
    }


@pytest.mark.parametrize("edge", EDGES)
async def test_an_edge_counts_as_the_contract_has_it(shape_url: str, writer: Writer, edge: str) -> None:
    inserts, expected = EDGES[edge]
    assert await changed_by(shape_url, writer, inserts, zone=ZONE.key, now=NOW) == in_this_shape(writer, expected)


@pytest.fixture
async def live_writer(live_url: str) -> AsyncIterator[Writer]:
    async with writing(live_url) as writer:
        yield writer


@pytest.mark.parametrize("edge", LIVE_EDGES)
async def test_an_edge_of_the_live_shape_counts_as_the_contract_has_it(
    live_url: str, live_writer: Writer, edge: str
) -> None:
    inserts, expected = LIVE_EDGES[edge]
    assert await changed_by(live_url, live_writer, inserts, zone=ZONE.key, now=NOW) == expected


@pytest.mark.parametrize("timezone", ["America/Los_Angeles", "Asia/Kolkata"])
@pytest.mark.parametrize("whose", ["database {}", "role postgres in database {}"])
async def test_the_time_zone_of_the_database_or_the_role_changes_nothing(
    shape_url: str, writer: Writer, whose: str, timezone: str
) -> None:
    name = await writer.connection.fetchval("select current_database()")
    await writer.connection.execute(f"alter {whose.format(name)} set timezone = '{timezone}'")
    for days in (0, 7):
        for hours in (-13, -1, 0, 1, 13):
            at = START[days] + timedelta(hours=hours)
            await writer.insert("audit_logs", changed_at=at)
            await writer.insert("users", last_login=at)
    async with exporting(shape_url, zone=ZONE.key, clock=Clock(NOW)) as exporter:
        await exporter.check()
        # Even where a pooler gives the exporter a session that has another time zone than it asked for.
        async with exporter.reader._database.link() as link:
            await link._connection.exec_driver_sql(f"set timezone = '{timezone}'")
            await link._connection.commit()
        exporter.reader.forget()
        await exporter.check()
        async with exporter.reader._database.link() as link:
            assert (await link._connection.exec_driver_sql("show timezone")).scalar() == timezone
            await link._connection.rollback()
