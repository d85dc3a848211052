"""Rows for either shape of the database: what a test says of them, and a default for what it does not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg

_BEFORE = datetime(2020, 1, 1)  # noqa: DTZ001 - the columns are naive
_STAMPS = {"created_at": _BEFORE, "updated_at": _BEFORE, "is_deleted": False}
# Unique numbers, above all that are generated.
_numbers = count(5_000_000)

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "users": {
        "first_name": "A",
        "last_name": "B",
        "email": "u{}@test.example",
        "password_hash": "x",
        "is_active": True,
        "is_verified": True,
        "failed_login_attempts": 0,
        "must_change_password": False,
    },
    "members": {
        "member_number": "M{}",
        "first_name": "A",
        "last_name": "B",
        "status": "ACTIVE",
        "classification": "FOREMAN",
    },
    "students": {
        "member_id": int,
        "student_number": "T{}",
        "status": "APPLICANT",
        "application_date": date(2020, 1, 1),
    },
    "refresh_tokens": {"user_id": 1, "token_hash": "h{}", "is_revoked": False},
    "dues_payments": {
        "member_id": 1,
        "period_id": 1,
        "amount_due": Decimal(50),
        "amount_paid": Decimal(0),
        "status": "PENDING",
    },
    "audit_logs": {"table_name": "members", "record_id": "1", "action": "UPDATE"},
    "book_registrations": {"member_id": 1, "book_id": 1, "status": "REGISTERED", "registration_date": _BEFORE.date()},
    "labor_requests": {
        "book_id": 1,
        "employer_name": "C",
        "status": "OPEN",
        "workers_requested": 1,
        "workers_dispatched": 0,
        "start_date": _BEFORE.date(),
    },
    "dispatches": {"labor_request_id": 1, "member_id": 1, "dispatch_status": "WORKING", "dispatch_date": _BEFORE},
    "grievances": {
        "grievance_number": "G{}",
        "member_id": 1,
        "employer_name": "C",
        "status": "OPEN",
        "filed_date": _BEFORE.date(),
    },
    "benevolence_applications": {
        "member_id": 1,
        "reason": "R",
        "amount_requested": Decimal(1),
        "status": "DRAFT",
        "application_date": _BEFORE.date(),
    },
    "grants": {
        "name": "G",
        "status": "pending",
        "start_date": _BEFORE.date(),
        "spent_amount": Decimal(0),
        "total_amount": Decimal(1),
    },
    "dues_adjustments": {"member_id": 1, "amount": Decimal(-1), "reason": "R", "status": "PENDING"},
}

# In the live shape.
SOFT_DELETED = ("users", "members", "students", "dues_payments", "grievances", "benevolence_applications", "grants")

_WORDS = ("status", "classification", "dispatch_status", "payment_method")
# What the documented shape calls it.
_DOCUMENTED_COLUMNS = {"changed_at": "created_at", "amount_due": "amount"}
_DOCUMENTED_WORDS = {("dues_payments", "PAID"): "completed", ("students", "ENROLLED"): "active"}


def naive(instant: datetime) -> datetime:
    """Return an instant as the naive columns hold it."""
    return instant.astimezone(UTC).replace(tzinfo=None)


class Writer:
    """Writes rows, given in the live shape's words, into a database of either shape."""

    def __init__(self, connection: asyncpg.Connection, *, live: bool) -> None:
        self.connection = connection
        self.live = live

    def column(self, name: str) -> str:
        """Return what a column is called in this shape."""
        return name if self.live else _DOCUMENTED_COLUMNS.get(name, name)

    def word(self, table: str, label: str) -> str:
        """Return what a status is called in this shape."""
        return label if self.live else _DOCUMENTED_WORDS.get((table, label), label.lower())

    async def insert(self, table: str, **given: Any) -> int:
        """Insert a row and return its id; a text status is taken as it is if it is not all upper case."""
        values = self.adapted(table, given)
        columns = ", ".join(values)
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        sql = f"insert into {table} ({columns}) values ({places}) returning id"
        return int(await self.connection.fetchval(sql, *values.values()))

    def adapted(self, table: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all of a row's values, under the column names and in the words of this shape."""
        row = {**({} if table == "audit_logs" else _STAMPS), **_DEFAULTS[table], **given}
        if table == "refresh_tokens":
            row.setdefault("expires_at", datetime.now(UTC) + timedelta(days=1))
        if not self.live:
            row.pop("amount_paid", None)
        if not self.live or table not in SOFT_DELETED:
            row.pop("is_deleted", None)
        number = next(_numbers)
        return {self.column(name): self._value(table, name, value, number) for name, value in row.items()}

    def _value(self, table: str, name: str, value: Any, number: int) -> Any:
        if value is int:
            return number
        if isinstance(value, str) and "{}" in value:
            return value.format(number)
        if isinstance(value, str) and name in _WORDS and value.isupper():
            return self.word(table, value)
        if isinstance(value, datetime) and name == "changed_at" and value.tzinfo is not None:
            return naive(value)
        return value


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    """Lend a writer for the shape that the database has, where rows may come and go in any order."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        for table, name in await connection.fetch(
            "select conrelid::regclass::text, quote_ident(conname) from pg_constraint where contype = 'f'"
        ):
            await connection.execute(f"alter table {table} drop constraint {name}")
        live = await connection.fetchval("select to_regtype('memberstatus') is not null")
        yield Writer(connection, live=bool(live))
    finally:
        await connection.close()
