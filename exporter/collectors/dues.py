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


def _since(when: Column, window: str) -> str:
    """Return the condition that a payment's date is not before a window."""
    if when.kind == "date":
        return f"{when} >= cast(:day_{window} as date)"
    return f"{when} >= {when.moment(f'start_{window}')}"


def _window_rank(when: Column) -> str:
    """Return the rank of the narrowest window that a payment's date lies in; null if in none.

    Nearly all payments are older than every window, so that is asked first.
    """
    *narrower, widest = DAYS
    over = f"{when} <= " + ("cast(:today as date)" if when.kind == "date" else when.moment("now"))
    ranks = " ".join(f"when {_since(when, window)} then {rank}" for rank, window in enumerate(narrower))
    return f"case when {_since(when, widest)} and {over} then case {ranks} else {len(narrower)} end end"


def _statement(schema: Schema) -> str:
    status, paid, due, when, method = schema.need("dues.status", "dues.paid", "dues.due", "dues.date", "dues.method")
    completed = status.is_any("status", COMPLETED)
    # Where one column holds the amount, its status alone says whether that was paid.
    one_amount = paid.name == due.name
    received = "0" if one_amount else f"coalesce({paid}, 0)"
    owed = "case when completed then 0 else outstanding end" if one_amount else "outstanding"
    ranks = ", ".join(f"('{window}', {rank})" for rank, window in enumerate(DAYS))
    # Dates arrive at midnight, when every count ends anyway; moments arrive at any time.
    coming, to_come = "", ""
    if when.kind != "date":
        coming = f""",
             case when {when} > {when.moment("now")} and {when} <= {when.moment("horizon")}
                  then {when.instant()} end as coming"""
        to_come = f"""
    union all
    select '{DUES_COLLECTED.name}', w.label, method, paid::float8, coming
      from counted cross join (values {ranks}) w(label, rank) where completed and coming is not null"""
    # One pass; its few groups are summed up after it. Numeric sums cost most, so only what may be asked for is in.
    return f"""
    with grouped as materialized (
      select {status}::text as status, {method}::text as method, {_window_rank(when)} as window_rank{coming},
             count(*) as payments, sum({paid}) filter (where {_since(when, list(DAYS)[-1])}) as paid,
             coalesce(sum({due} - {received}) filter (where {received} < {due}), 0) as outstanding
        from dues_payments where {schema.alive("dues_payments")}
       group by {status}, {method}, window_rank{", coming" if coming else ""}),
    counted as materialized (select *, {completed} as completed from grouped)
    select '{DUES_PAYMENTS.name}', status, null::text, sum(payments)::float8, null::timestamptz
      from counted group by status
    union all
    select '{DUES_OUTSTANDING.name}', status, null, sum({owed})::float8, null from counted group by status
    union all
    select '{DUES_COLLECTED.name}', w.label, method, sum(paid)::float8, null
      from counted join (values {ranks}) w(label, rank) on window_rank <= w.rank
     where completed group by w.label, method{to_come}
    """


def _known(schema: Schema) -> Iterator[Key]:
    status, method = schema.need("dues.status", "dues.method")
    statuses = labels_of(status, STATUSES)
    yield from known_labels(DUES_PAYMENTS, statuses)
    yield from known_labels(DUES_OUTSTANDING, statuses)
    yield from known_labels(DUES_COLLECTED, DAYS, (*labels_of(method, METHODS), UNKNOWN))


SPEC = CountSpec("dues", (DUES_COLLECTED, DUES_PAYMENTS, DUES_OUTSTANDING), ("dues_payments",), _statement, _known)
