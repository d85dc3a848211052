"""Every database family of the contract, counted naively: whole tables, row by row, in Python.

It shares no SQL, no constant and no code with the exporter. What it does share is the contract: design.md and
the enum labels of unioncore.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

Key = tuple[str, tuple[str, ...]]
Counts = dict[Key, Decimal]
Rows = list[Mapping[str, Any]]

WINDOWS = {"today": 0, "7d": 7, "30d": 30}
LIVE = {
    "member": "active inactive suspended retired deceased",
    "student": "applicant enrolled on_leave completed dropped dismissed",
    "payment": "pending due partial paid overdue waived written_off",
    "book_registrations": "registered dispatched rolled_off resigned exempt",
    "labor_requests": "open partially_filled filled cancelled expired",
    "dispatches": "dispatched checked_in working completed terminated rejected no_show",
    "grievances": "open investigation hearing settled withdrawn arbitration closed",
    "benevolence_applications": "draft submitted under_review approved denied paid",
    "grants": "pending active completed closed suspended",
    "dues_adjustments": "pending approved denied",
}
DOCUMENTED = {
    "member": "active inactive suspended retired deceased",
    "student": "applicant active completed dropped dismissed",
    "payment": "pending completed failed refunded overdue partial waived",
}
COMMON = {
    "classification": "apprentice_1st_year apprentice_2nd_year apprentice_3rd_year apprentice_4th_year "
    "apprentice_5th_year journeyman foreman retiree honorary",
    "method": "payroll_deduction check cash money_order credit_card ach_transfer online other "
    "stripe_card stripe_ach stripe_other unknown",
}
CASEWORK = tuple(LIVE)[3:]
TABLES = ("users", "members", "students", "refresh_tokens", "dues_payments", "audit_logs", *CASEWORK)


@dataclass(frozen=True)
class Moment:
    """Now, as the windows see it."""

    now: datetime
    zone: ZoneInfo

    def day_of(self, instant: datetime) -> date:
        return instant.astimezone(self.zone).date()

    def windows_of(self, instant: datetime | None) -> list[str]:
        """The windows that an instant lies in, judged by its local calendar day."""
        if instant is None or aware(instant) > self.now:
            return []
        return self.windows_of_day(self.day_of(aware(instant)))

    def windows_of_date(self, when: date | None) -> list[str]:
        """The windows that a date lies in, or a moment where it has a time of day."""
        return self.windows_of(when) if isinstance(when, datetime) else self.windows_of_day(when)

    def windows_of_day(self, day: date | None) -> list[str]:
        today = self.day_of(self.now)
        if day is None or day > today:
            return []
        return [window for window, back in WINDOWS.items() if day >= today - timedelta(days=back)]


def aware(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def label(value: str | None) -> str:
    return "unknown" if value is None else value.lower()


def alive(rows: Rows) -> Rows:
    """The rows that are not soft-deleted; a table without such a column has no deleted rows."""
    return [row for row in rows if not row.get("is_deleted")]


async def fetch(connection: asyncpg.Connection) -> dict[str, Rows]:
    """Fetch every table whole, all of them as of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return {table: [dict(row) for row in await connection.fetch(f"select * from {table}")] for table in TABLES}


def recount(tables: Mapping[str, Rows], now: datetime, zone: ZoneInfo, *, live: bool) -> Counts:
    """Count every family but the counter, which depends on the past (`Visible`).

    Args:
        tables: All rows of all tables.
        now: When every window ends.
        zone: Whose calendar days they are.
        live: Whether this is the live shape, or the documented one.
    """
    moment = Moment(now, zone)
    words = LIVE if live else DOCUMENTED
    counts: Counts = {}
    counts |= _users(alive(tables["users"]), moment)
    counts |= _sessions(tables["refresh_tokens"], moment)
    counts |= _pairs("unioncore_members", alive(tables["members"]), words["member"].split())
    counts |= _statuses("unioncore_students", alive(tables["students"]), words["student"])
    counts |= _dues(alive(tables["dues_payments"]), moment, words["payment"].split(), live=live)
    counts |= _audit(tables["audit_logs"], moment)
    for table in CASEWORK:
        counts |= _statuses(f"unioncore_{table}", alive(tables[table]), words.get(table, ""))
    return counts


def _zeros(family: str, *choices: Iterable[str]) -> defaultdict[Key, Decimal]:
    counts: defaultdict[Key, Decimal] = defaultdict(Decimal)
    for labels in product(*choices):
        counts[family, labels] = Decimal(0)
    return counts


def _users(rows: Rows, moment: Moment) -> Counts:
    states = _zeros("unioncore_users", ["active", "inactive", "locked"])
    came = _zeros("unioncore_users_active", WINDOWS)
    for row in rows:
        locked = row["locked_until"] is not None and aware(row["locked_until"]) > moment.now
        state = "inactive" if not row["is_active"] else "locked" if locked else "active"
        states["unioncore_users", (state,)] += 1
        for window in moment.windows_of(row["last_login"]):
            came["unioncore_users_active", (window,)] += 1
    return states | came


def _sessions(rows: Rows, moment: Moment) -> Counts:
    counts = _zeros("unioncore_login_sessions", ["live", "expired", "revoked"])
    for row in rows:
        over = aware(row["expires_at"]) <= moment.now
        state = "revoked" if row["is_revoked"] else "expired" if over else "live"
        counts["unioncore_login_sessions", (state,)] += 1
    return counts


def _pairs(family: str, rows: Rows, statuses: Iterable[str]) -> Counts:
    counts = _zeros(family, statuses, COMMON["classification"].split())
    for row in rows:
        counts[family, (label(row["status"]), label(row["classification"]))] += 1
    return counts


def _statuses(family: str, rows: Rows, words: str) -> Counts:
    counts = _zeros(family, words.split())
    for row in rows:
        status = row["dispatch_status"] if "dispatch_status" in row else row["status"]
        counts[family, (label(status),)] += 1
    return counts


def _dues(rows: Rows, moment: Moment, statuses: list[str], *, live: bool) -> Counts:
    payments = _zeros("unioncore_dues_payments", statuses)
    outstanding = _zeros("unioncore_dues_outstanding_dollars", statuses)
    collected = _zeros("unioncore_dues_collected_dollars", WINDOWS, COMMON["method"].split())
    for row in rows:
        status, completed = label(row["status"]), label(row["status"]) == ("paid" if live else "completed")
        due = row["amount_due"] if live else row["amount"]
        paid = row["amount_paid"] if live else row["amount"] if completed else Decimal(0)
        payments["unioncore_dues_payments", (status,)] += 1
        outstanding["unioncore_dues_outstanding_dollars", (status,)] += max(due - paid, Decimal(0))
        for window in moment.windows_of_date(row["payment_date"]) if completed else ():
            collected["unioncore_dues_collected_dollars", (window, label(row["payment_method"]))] += paid
    return payments | outstanding | collected


def _audit(rows: Rows, moment: Moment) -> Counts:
    counts = _zeros("unioncore_audit_events", ["today", "7d"])
    times = [aware(row["changed_at"] if "changed_at" in row else row["created_at"]) for row in rows]
    for time in times:
        for window in moment.windows_of(time):
            if window != "30d":
                counts["unioncore_audit_events", (window,)] += 1
    if come := [time for time in times if time <= moment.now]:
        counts["unioncore_audit_last_event_timestamp_seconds", ()] = _seconds(max(come))
    if times:
        counts["unioncore_audit_oldest_event_timestamp_seconds", ()] = _seconds(min(times))
    return counts


def _seconds(instant: datetime) -> Decimal:
    since = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return Decimal(since // timedelta(microseconds=1)) / 1_000_000


class Visible:
    """The counter's counterpart: the audit rows that became visible since the first look."""

    def __init__(self) -> None:
        self._seen: set[int] | None = None
        self._counts: defaultdict[Key, Decimal] = defaultdict(Decimal)

    def look(self, rows: Rows) -> Counts:
        """Take in what is visible now; return the series that are not 0."""
        new = [] if self._seen is None else [row for row in rows if row["id"] not in self._seen]
        self._seen = (self._seen or set()) | {row["id"] for row in rows}
        for row in new:
            self._counts["unioncore_audit_events_total", (label(row["table_name"]), label(row["action"]))] += 1
        return dict(self._counts)
