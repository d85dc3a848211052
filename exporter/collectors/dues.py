"""Dues: money collected and outstanding, payments by status."""

from collections.abc import Iterator

from exporter.collectors.labels import labels_of
from exporter.counting import UNKNOWN, CountSpec, Key, known_labels
from exporter.metrics import Family
from exporter.schema import Column, Schema
from exporter.windows import DAYS

DUES_COLLECTED = Family(
    "unioncore_dues_collected_dollars",
    "Money paid with completed payments dated within the window, by method; partial payments are not in it.",
    ("window", "method"),
    example='sum(unioncore_dues_collected_dollars{window="30d"})',
)
DUES_PAYMENTS = Family(
    "unioncore_dues_payments",
    "Dues payments by status.",
    ("status",),
    example="unioncore_dues_payments",
)
DUES_OUTSTANDING = Family(
    "unioncore_dues_outstanding_dollars",
    "Amount due less amount paid, of payments not paid in full, by status.",
    ("status",),
    example='sum(unioncore_dues_outstanding_dollars{status!~"waived|written_off"})',
)
COMPLETED = ("completed", "paid")
STATUSES = ("pending", "completed", "failed", "refunded", "overdue", "partial", "waived")
METHODS = (
    *("payroll_deduction", "check", "cash", "money_order", "credit_card", "ach_transfer", "online", "other"),
    *("stripe_card", "stripe_ach", "stripe_other"),
)


def _within(when: Column, window: str) -> str:
    """Return the condition that a payment's date lies in a window, which ends now."""
    if when.kind == "date":
        return f"{when} between cast(:day_{window} as date) and cast(:today as date)"
    return f"{when} >= {when.moment(f'start_{window}')} and {when} <= {when.moment('now')}"


def _statement(schema: Schema) -> str:
    status, paid, due, when, method = schema.need("dues.status", "dues.paid", "dues.due", "dues.date", "dues.method")
    completed = status.is_any("status", COMPLETED)
    # Where one column holds the amount, its status alone says whether that was paid.
    one_amount = paid.name == due.name
    received = "0" if one_amount else f"coalesce({paid}, 0)"
    coming = (
        "null::timestamptz" if when.kind == "date"  # dates arrive at midnight, when every count ends anyway
        else f"case when {when} > {when.moment('now')} and {when} <= {when.moment('horizon')} then {when.instant()} end"
    )  # fmt: skip
    owed = "case when completed then 0 else outstanding end" if one_amount else "outstanding"
    windows = ", ".join(f"('{window}')" for window in DAYS)
    # One pass: the few groups of (status, method, window, moment to come) are summed up after it.
    return f"""
    with grouped as materialized (
      select {status}::text as status, {method}::text as method,
             case {" ".join(f"when {_within(when, window)} then {rank}" for rank, window in enumerate(DAYS))}
             end as window_rank, {coming} as coming,
             count(*) as payments, sum({paid}) as paid,
             coalesce(sum({due} - {received}) filter (where {received} < {due}), 0) as outstanding
        from dues_payments where {schema.alive("dues_payments")}
       group by {status}, {method}, window_rank, coming),
    counted as materialized (select *, {completed} as completed from grouped)
    select '{DUES_PAYMENTS.name}', status, null::text, sum(payments)::float8, null::timestamptz
      from counted group by status
    union all
    select '{DUES_OUTSTANDING.name}', status, null, sum({owed})::float8, null from counted group by status
    union all
    select '{DUES_COLLECTED.name}', w.label, method, sum(paid)::float8, null
      from counted join (values {", ".join(f"('{window}', {rank})" for rank, window in enumerate(DAYS))}) w(label, rank)
        on window_rank <= w.rank
     where completed group by w.label, method
    union all
    select '{DUES_COLLECTED.name}', w.label, method, paid::float8, coming
      from counted cross join (values {windows}) w(label) where completed and coming is not null
    """


def _known(schema: Schema) -> Iterator[Key]:
    status, method = schema.need("dues.status", "dues.method")
    statuses = labels_of(status, STATUSES)
    yield from known_labels(DUES_PAYMENTS, statuses)
    yield from known_labels(DUES_OUTSTANDING, statuses)
    yield from known_labels(DUES_COLLECTED, DAYS, (*labels_of(method, METHODS), UNKNOWN))


SPEC = CountSpec("dues", (DUES_COLLECTED, DUES_PAYMENTS, DUES_OUTSTANDING), ("dues_payments",), _statement, _known)
