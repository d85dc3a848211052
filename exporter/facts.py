"""The facts that the collectors read, and the names under which each may be found.

A further shape of the database is a further name here. The first name that exists is taken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

STATUS_KINDS = ("enum", "text")
MOMENTS = ("naive", "aware")
DAY_OR_MOMENT = ("date", "naive", "aware")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is known of a table's rows.

    Attributes:
        table: The table it is looked for in.
        columns: The names it goes by, the best first.
        kinds: The kinds of column that can hold it (`exporter.schema.Kind`); empty: any.
        optional: What some shapes do without: the table, or the column.
    """

    table: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    optional: Literal["", "table", "column"] = ""


# Tables of the application's further modules: counted by status where they exist.
CASEWORK: Mapping[str, tuple[str, ...]] = {
    "book_registrations": ("status",),
    "labor_requests": ("status",),
    "dispatches": ("dispatch_status", "status"),
    "grievances": ("status",),
    "benevolence_applications": ("status",),
    "grants": ("status",),
    "dues_adjustments": ("status",),
}

_SOFT_DELETED = ("users", "members", "dues_payments", "students", *CASEWORK)


def _facts() -> Iterator[tuple[str, Fact]]:
    yield "users.active", Fact("users", ("is_active",), ("bool",))
    yield "users.locked_until", Fact("users", ("locked_until",), MOMENTS)
    yield "users.last_login", Fact("users", ("last_login", "last_login_at"), MOMENTS)
    yield "members.status", Fact("members", ("status",), STATUS_KINDS)
    yield "members.classification", Fact("members", ("classification",), STATUS_KINDS)
    yield "audit.id", Fact("audit_logs", ("id",), ("number",))
    yield "audit.time", Fact("audit_logs", ("changed_at", "created_at"), MOMENTS)
    yield "audit.table", Fact("audit_logs", ("table_name",), STATUS_KINDS)
    yield "audit.action", Fact("audit_logs", ("action",), STATUS_KINDS)
    yield "dues.status", Fact("dues_payments", ("status",), STATUS_KINDS)
    yield "dues.paid", Fact("dues_payments", ("amount_paid", "amount"), ("number",))
    yield "dues.due", Fact("dues_payments", ("amount_due", "amount"), ("number",))
    yield "dues.date", Fact("dues_payments", ("payment_date", "paid_at"), DAY_OR_MOMENT)
    yield "dues.method", Fact("dues_payments", ("payment_method", "method"), STATUS_KINDS)
    yield "students.status", Fact("students", ("status",), STATUS_KINDS)
    yield "sessions.expires", Fact("refresh_tokens", ("expires_at",), MOMENTS)
    yield "sessions.revoked", Fact("refresh_tokens", ("is_revoked",), ("bool",))
    for table, columns in CASEWORK.items():
        yield f"{table}.status", Fact(table, columns, STATUS_KINDS, optional="table")
    for table in _SOFT_DELETED:
        yield f"{table}.deleted", Fact(table, ("is_deleted", "deleted_at"), ("bool", *MOMENTS), optional="column")


FACTS: Mapping[str, Fact] = dict(_facts())
TABLES: tuple[str, ...] = tuple(dict.fromkeys(fact.table for fact in FACTS.values()))
