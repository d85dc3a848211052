#!/usr/bin/env python3
"""Deletes what is left of login sessions and e-mailed tokens, and releases locks that have expired.

In small batches, each a transaction of its own: the application waits for none of them, and a run that is killed
leaves nothing half done. Rows that the application holds at the moment are left to the next run.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click
from asyncpg import Connection

from exporter.facts import FACTS, MOMENTS, Fact
from exporter.schema import Schema, quoted
from scripts.job.commands import JobCommand, dry_run_option, json_option
from scripts.job.configuration import load_for
from scripts.job.database import find
from scripts.job.frame import Outcome, Run, run_job
from scripts.job.settings import CleanupSettings

BATCH = 500
"""How many rows a transaction changes at most."""

_STATEMENT = "30s"
"""How long a statement may take: less than a job that is told to end is given for cleaning up."""

_BEFORE_ALL = -(2**63)
"""No id is lower."""

_Batch = tuple[int | None, Counter[str]]
"""The last id, None if there are no more, and how many rows of each kind were changed."""

_FACTS = {
    **{name: FACTS[name] for name in ("sessions.expires", "sessions.revoked", "users.locked_until", "users.deleted")},
    "sessions.revoked_at": Fact("refresh_tokens", ("revoked_at",), MOMENTS),
    "emails.expires": Fact("email_tokens", ("expires_at",), MOMENTS),
    "emails.used": Fact("email_tokens", ("is_used",), ("bool",)),
    "emails.used_at": Fact("email_tokens", ("used_at",), MOMENTS),
    "users.failures": Fact("users", ("failed_login_attempts",), ("number",)),
}


@dataclass(frozen=True, slots=True)
class _Chore:
    """Rows of a table that are due.

    Attributes:
        table: The table; its primary key is `id`.
        kinds: What the rows are counted as.
        kind: The expression that is one of them.
        due: The condition of being due; $1 is the moment up to which.
        until: That moment.
        change: The statement that changes the rows `due`, up to its `where`.
    """

    table: str
    kinds: tuple[str, ...]
    kind: str
    due: str
    until: datetime
    change: str

    async def count(self, connection: Connection) -> Counter[str]:
        """Count the rows that are due."""
        rows = await connection.fetch(
            f"select {self.kind} as kind, count(*) as rows from {self.table} where {self.due} group by 1", self.until
        )
        return Counter({row["kind"]: row["rows"] for row in rows})

    async def batch(self, connection: Connection, after: int) -> _Batch:
        """Change the next rows that are due and nobody holds.

        Args:
            connection: The database.
            after: The id after which to begin.

        Returns:
            How far it came, and what it has changed.
        """
        # Locking a row looks at it once more: one that is not due any longer is left alone.
        rows = await connection.fetch(
            f"""
with due as materialized (
    select id from {self.table} where id > $2::int8 and ({self.due}) order by id limit {BATCH} for update skip locked
), done as (
    {self.change} where changed.id = due.id returning {self.kind} as kind
)
select kind, count(*) as rows, null::int8 as last from done group by kind
union all select null, count(*), max(id) from due order by kind nulls last""",
            self.until,
            after,
        )
        # A trigger may keep some rows: that fewer were changed does not say that there are no more.
        *changed, due = rows
        return (due["last"] if due["rows"] == BATCH else None), Counter({row["kind"]: row["rows"] for row in changed})


def _chores(schema: Schema, now: datetime, keep: timedelta) -> list[_Chore]:
    locked, failures = schema.need("users.locked_until", "users.failures")
    release = _Chore(
        "users",
        ("locks_released",),
        "'locks_released'",
        f"{schema.alive('users')} and {locked.instant()} <= $1",
        now,
        f"update users as changed set {locked} = null, {failures} = 0 from due",
    )
    tokens = []
    for facts, done in (("sessions", "revoked"), ("emails", "used")):
        expires, is_done, done_at = schema.need(f"{facts}.expires", f"{facts}.{done}", f"{facts}.{done}_at")
        table = expires.table
        kinds = (f"{table}_{done}", f"{table}_expired")
        tokens.append(
            _Chore(
                table,
                kinds,
                f"case when {is_done} then '{kinds[0]}' else '{kinds[1]}' end",
                # least() passes over a NULL: a token without the moment counts from its expiry.
                f"least({expires.instant()}, case when {is_done} then {done_at.instant()} end) <= $1",
                now - keep,
                f"delete from {quoted(table)} as changed using due",
            )
        )
    return [*tokens, release]


async def _whole(batch: Coroutine[Any, Any, _Batch], counts: Counter[str]) -> _Batch:
    """Wait for a batch and count it; told to end, still do so: the server may commit what it is asked to cancel."""
    task = asyncio.create_task(batch)
    try:
        await asyncio.wait({task})
    finally:
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            counts.update(task.result()[1])
    return task.result()


async def cleanup(run: Run[CleanupSettings]) -> Outcome:
    """Do all chores, or only count in a dry run.

    Args:
        run: The run.

    Returns:
        How many rows were deleted and locks released, by kind, and how many were left to the next run.
    """
    read_only = "on" if run.dry_run else "off"
    async with run.connect(
        lock_timeout="2s", statement_timeout=_STATEMENT, default_transaction_read_only=read_only
    ) as connection:
        schema = await find(connection, _FACTS)
        now = await connection.fetchval("select now()")
        chores = _chores(schema, now, timedelta(days=run.settings.token_keep_days))
        counts = Counter(dict.fromkeys((kind for chore in chores for kind in chore.kinds), 0))
        left = 0
        try:
            for chore in chores:
                due = await chore.count(connection)
                if run.dry_run:
                    counts.update(due)
                    continue
                with run.progress(chore.table, due.total(), "rows") as meter:
                    after: int | None = _BEFORE_ALL
                    while after is not None:
                        began = time.monotonic()
                        after, changed = await _whole(chore.batch(connection, after), counts)
                        meter.advance(changed.total())
                        # As long a pause as the work before it: half of the time the database has for others.
                        await asyncio.sleep(time.monotonic() - began)
                left += (await chore.count(connection)).total()
        except BaseException:
            run.log.info("done before that", **counts)
            raise
    return Outcome(counts.total(), {**counts, "left_to_next_run": left})


@click.command(
    "cleanup",
    cls=JobCommand,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-ops cleanup
  unioncore-ops cleanup --dry-run
  UNIONCORE_TOKEN_KEEP_DAYS=7 unioncore-ops cleanup --json""",
)
@dry_run_option
@json_option
def command(*, dry_run: bool, as_json: bool) -> None:
    """Delete old sessions and tokens, and release expired locks.

    Refresh tokens that have expired or were revoked, and e-mailed tokens that have expired or were used, are deleted
    when that is UNIONCORE_TOKEN_KEEP_DAYS ago (30). Users whose lock has expired are released, with no failed login
    counted. What the application holds at the moment is left to the next run.
    """
    settings = load_for("cleanup", CleanupSettings, report=not dry_run)
    sys.exit(
        run_job(
            "cleanup", cleanup, settings=settings, time_limit=settings.cleanup_seconds, dry_run=dry_run, as_json=as_json
        )
    )


if __name__ == "__main__":
    command()
