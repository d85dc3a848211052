"""The eight queries of the old metrics page, with their right column names, and the series that answer them now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scripts.dev.bench.databases import Session
    from scripts.dev.bench.scraping import Series


class Query(NamedTuple):
    """A query of the page.

    Attributes:
        name: What it counts.
        sql: It; its only parameter, if any, is the first moment of the window.
        days: How many days before today's start the window begins.
        family: The family that holds the number.
        labels: Which series of the family are summed up to it: all that have one of these values.
    """

    name: str
    sql: str
    days: int | None
    family: str
    labels: Mapping[str, Collection[str]]


QUERIES = (
    Query("users", "select count(*) from users where not is_deleted", None, "unioncore_users", {}),
    Query(
        "users active today",
        "select count(*) from users where not is_deleted and last_login >= $1",
        0,
        "unioncore_users_active",
        {"window": ["today"]},
    ),
    Query("members", "select count(*) from members where not is_deleted", None, "unioncore_members", {}),
    Query(
        "members active",
        "select count(*) from members where not is_deleted and status = 'ACTIVE'",
        None,
        "unioncore_members",
        {"status": ["active"]},
    ),
    Query(
        "audit events today",
        "select count(*) from audit_logs where changed_at >= $1::timestamptz at time zone 'UTC'",
        0,
        "unioncore_audit_events",
        {"window": ["today"]},
    ),
    Query(
        "audit events 7 days",
        "select count(*) from audit_logs where changed_at >= $1::timestamptz at time zone 'UTC'",
        7,
        "unioncore_audit_events",
        {"window": ["7d"]},
    ),
    Query(
        "dues collected 30 days",
        "select coalesce(sum(amount_paid), 0) from dues_payments where not is_deleted and status = 'PAID'"
        " and payment_date >= ($1::timestamptz at time zone 'UTC')::date"
        " and payment_date <= (now() at time zone 'UTC')::date",
        30,
        "unioncore_dues_collected_dollars",
        {"window": ["30d"]},
    ),
    Query(
        "students active",
        "select count(*) from students where not is_deleted and status in ('ENROLLED', 'ON_LEAVE')",
        None,
        "unioncore_students",
        {"status": ["enrolled", "on_leave"]},
    ),
)


def page_view(session: Session) -> list[float]:
    """Run the queries, one after the other as the page did, and return their numbers."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        float(session.value(query.sql, *([] if query.days is None else [today - timedelta(days=query.days)])))
        for query in QUERIES
    ]


def in_series(series: Series) -> list[float]:
    """Return the same numbers as a scrape has them."""
    return [
        round(
            sum(
                value
                for (family, labels), value in series.items()
                if family == query.family and all(dict(labels)[name] in words for name, words in query.labels.items())
            ),
            2,
        )
        for query in QUERIES
    ]
