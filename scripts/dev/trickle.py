"""Life in the live shape's database: logins, payments and audit events, a few a second at most.

Run `python -m scripts.dev.trickle --help` for the command.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import click

if TYPE_CHECKING:
    from collections.abc import Callable

_UTC = "(now() at time zone 'UTC')"
_AUDITED = """
    insert into audit_logs (table_name, record_id, action, changed_by, changed_at, ip_address)
    select '{table}', id, '{action}', 'staff1@local.example', clock_timestamp() at time zone 'UTC', '10.20.0.7'
    from done"""
_GONE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
)
# The statements' only parameter is a number in [0, 1); the first row past that part of the table is taken.
_PAST = "t.id > $1::float8 * (select max(id) from {table})"


@dataclass(frozen=True)
class Happening:
    """Something that happens in the application, in one statement, with its audit event.

    Attributes:
        name: What it is called.
        seconds: How long it takes on average until it happens again.
        sql: What it does to the database; `done` are the rows it changed.
    """

    name: str
    seconds: float
    sql: str


def _change(name: str, seconds: float, table: str, assignment: str, condition: str) -> Happening:
    return Happening(
        name,
        seconds,
        f"""with done as (
            update {table} set {assignment}, updated_at = {_UTC}
            where id = (select t.id from {table} t where {_PAST.format(table=table)} and {condition}
                        order by t.id limit 1)
            returning id){_AUDITED.format(table=table, action="UPDATE")}""",
    )


HAPPENINGS = (
    Happening(
        "login",
        6,
        f"""with done as (
            update users set last_login = now(), failed_login_attempts = 0, locked_until = null,
                updated_at = {_UTC}
            where id = (select t.id from users t where {_PAST.format(table="users")} and t.is_active
                        and not t.is_deleted and (t.locked_until is null or t.locked_until < now())
                        order by t.id limit 1)
            returning id),
        session as (
            insert into refresh_tokens (user_id, token_hash, expires_at, is_revoked, device_info, ip_address,
                created_at, updated_at)
            select id, encode(sha256(convert_to($1 || '/' || clock_timestamp(), 'UTF8')), 'hex'),
                now() + interval '7 days', false, 'Firefox on Windows', '10.20.0.7', {_UTC}, {_UTC} from done)
        {_AUDITED.format(table="users", action="READ")}""",
    ),
    _change(
        "failed login",
        40,
        "users",
        # Now and then someone tries until the account is locked: so seldom that nobody is alarmed.
        """failed_login_attempts = case when $1 < 0.02 then 5 else least(failed_login_attempts + 1, 5) end,
           locked_until = case when $1 < 0.02 or failed_login_attempts >= 4
                          then now() + interval '30 minutes' end""",
        "t.is_active and not t.is_deleted and (t.locked_until is null or t.locked_until < now())",
    ),
    _change(
        "logout",
        25,
        "refresh_tokens",
        "is_revoked = true, revoked_at = now()",
        "not t.is_revoked and t.expires_at > now()",
    ),
    Happening(
        "payment",
        9,
        f"""with done as (
            insert into dues_payments (member_id, period_id, amount_due, amount_paid, payment_date,
                payment_method, status, receipt_number, processed_at, created_at, updated_at, is_deleted)
            select t.id, (select id from dues_periods where due_date <= current_date order by id desc limit 1),
                62.00, case when $1 < 0.1 then 20.00 else 62.00 end,
                (now() at time zone 'America/Los_Angeles')::date,
                (array['PAYROLL_DEDUCTION', 'CHECK', 'stripe_card'])[1 + floor($1 * 997)::int % 3]::duespaymentmethod,
                case when $1 < 0.1 then 'PARTIAL' else 'PAID' end::duespaymentstatus,
                'T' || to_char(clock_timestamp(), 'YYMMDDHH24MISSUS'), {_UTC}, {_UTC}, {_UTC}, false
            from members t where {_PAST.format(table="members")} and not t.is_deleted order by t.id limit 1
            returning id){_AUDITED.format(table="dues_payments", action="CREATE")}""",
    ),
    Happening(
        "reading",
        2,
        f"""with done as (select id from members t where {_PAST.format(table="members")}
            order by id limit 1 + floor($1 * 6)::int){_AUDITED.format(table="members", action="READ")}""",
    ),
    _change(
        "status change",
        60,
        "members",
        "status = case when status <> 'ACTIVE' then 'ACTIVE' when $1 < 0.5 then 'INACTIVE' else 'RETIRED' end"
        "::memberstatus",
        "not t.is_deleted and t.status <> 'DECEASED'",
    ),
    _change(
        "student status change",
        90,
        "students",
        "status = case when status = 'ENROLLED' then 'ON_LEAVE' else 'ENROLLED' end::student_status_enum",
        "not t.is_deleted and t.status in ('ENROLLED', 'ON_LEAVE')",
    ),
    _change(
        "soft delete",
        150,
        "dues_payments",
        f"is_deleted = true, deleted_at = {_UTC}",
        "not t.is_deleted and t.status = 'PENDING'",
    ),
)


async def trickle(url: str, *, seed: int = 1, rate: float = 1.0, notice: Callable[[str], None] | None = None) -> None:
    """Let things happen in a database of the live shape until cancelled.

    A database that is down is waited for.

    Args:
        url: The database.
        seed: The same seed draws the same happenings in the same order.
        rate: A factor: 2 is twice as lively.
        notice: Called with the name of everything that happened.

    Raises:
        asyncpg.PostgresError: A statement is wrong for this database.
    """
    draw = random.Random(seed)
    shares = [1 / happening.seconds for happening in HAPPENINGS]
    connection: asyncpg.Connection | None = None
    try:
        while True:
            await asyncio.sleep(draw.expovariate(sum(shares) * rate))
            (happening,) = draw.choices(HAPPENINGS, shares)
            chance = draw.random()
            try:
                if connection is None:
                    connection = await asyncpg.connect(url, timeout=5, server_settings={"timezone": "UTC"})
                await connection.execute(happening.sql, chance)
            except _GONE:
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(1)
                continue
            if notice is not None:
                notice(happening.name)
    finally:
        if connection is not None:
            connection.terminate()


@click.command(
    epilog="""\b
Example:
  python -m scripts.dev.trickle --url postgresql://postgres:secret@127.0.0.1/demo --rate 5"""
)
@click.option("--url", envvar="DATABASE_URL", required=True, help="The database (or DATABASE_URL).")
@click.option("--seed", type=int, default=1, show_default=True, help="Other seeds draw other happenings.")
@click.option("--rate", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="A factor.")
@click.option("--quiet", is_flag=True, help="Do not print what happens.")
def main(url: str, seed: int, rate: float, *, quiet: bool) -> None:
    """Let logins, payments and audit events happen in a database of the live shape until Ctrl-C."""
    asyncio.run(trickle(url, seed=seed, rate=rate, notice=None if quiet else click.echo))


if __name__ == "__main__":
    main()
