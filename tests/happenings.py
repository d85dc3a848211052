"""Random life in UnionCore's database: what writers, transactions, administrators and time may do to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg

from tests.looking import Clock
from tests.recount import CASEWORK
from tests.rows import SOFT_DELETED, Writer, naive, writing

# Past and future, near and far: what the rows' times and the jumps of the clock are made of.
NEAR = [timedelta(seconds=seconds) for seconds in (0, 0.000001, 1, 30, 90, 299, 301, 3600)]
FAR = [timedelta(days=days) for days in (1, 6, 7, 8, 29, 31)]
STATUSES = {
    "members": ["ACTIVE", "INACTIVE", "RETIRED", "DECEASED"],
    "students": ["APPLICANT", "ENROLLED", "ON_LEAVE", "DROPPED"],
    "dues_payments": ["PENDING", "PARTIAL", "PAID", "PAID", "WAIVED"],
    "grants": ["pending", "active", "closed"],
    "grievances": ["OPEN", "HEARING", "CLOSED"],
    "dispatches": ["WORKING", "COMPLETED", "NO_SHOW"],
}
METHODS = [None, "CHECK", "CASH", "stripe_ach"]
TABLES = ("users", "members", "students", "refresh_tokens", "dues_payments", *CASEWORK)
_OPEN_AT_MOST = 3


class Life:
    """One database's, driven by one random generator.

    Args:
        writer: Writes what is committed at once.
        others: Connections whose transactions stay open for a while.
        random: Decides.
        clock: The exporter's, which this moves.
        flush: Whether each session publishes its statistics as it commits.
        orderly: Whether audit events have the time at which they are written, give or take 90 s,
            so that their ids are nearly in the order of their times.
    """

    def __init__(
        self, writer: Writer, others: list[Writer], random: Random, clock: Clock, *, flush: bool, orderly: bool
    ) -> None:
        self.story: list[str] = []
        self._writer = writer
        self._idle = others
        self._open: list[tuple[Writer, Any]] = []
        self._random = random
        self._clock = clock
        self._flush = flush
        self._orderly = orderly
        self._happenings: dict[Callable[[], Awaitable[None]], int] = {
            self._commit: 40,
            self._roll_back: 6,
            self._roll_back_a_part: 6,
            self._begin: 12,
            self._end: 12,
            self._jump_in_time: 15,
            self._jump_in_sequence: 4,
            self._truncate: 2,
            self._maintain: 3,
            self._disconnect: 2,
        }

    async def go_on(self) -> None:
        """Let something happen."""
        happenings = list(self._happenings)
        (happening,) = self._random.choices(happenings, list(self._happenings.values()))
        self._tell(happening.__name__.strip("_"))
        await happening()

    def _tell(self, text: str) -> None:
        self.story.append(text)

    async def _commit(self) -> None:
        async with self._transaction(self._writer):
            await self._write(self._writer)

    async def _roll_back(self) -> None:
        transaction = self._writer.connection.transaction()
        await transaction.start()
        await self._write(self._writer)
        await self._publish(self._writer)
        await transaction.rollback()

    async def _roll_back_a_part(self) -> None:
        async with self._transaction(self._writer):
            await self._write(self._writer)
            savepoint = self._writer.connection.transaction()
            await savepoint.start()
            await self._write(self._writer)
            await savepoint.rollback()

    async def _begin(self) -> None:
        if len(self._open) < _OPEN_AT_MOST:
            writer = self._idle.pop()
            transaction = writer.connection.transaction()
            await transaction.start()
            self._open.append((writer, transaction))
        writer, _ = self._random.choice(self._open)
        await self._write(writer)

    async def _end(self) -> None:
        if self._open:
            writer, transaction = self._open.pop(self._random.randrange(len(self._open)))
            await self._publish(writer)
            await (transaction.commit() if self._random.random() < 0.7 else transaction.rollback())
            self._idle.append(writer)

    async def _jump_in_time(self) -> None:
        distance = self._random.choice(NEAR) * self._random.random()
        if self._random.random() < 0.3:
            distance = self._random.choice(FAR) * self._random.random()
        if self._random.random() < 0.1:
            distance = -min(distance, timedelta(minutes=5)) if self._orderly else -distance
        self._clock.offset += distance
        self._tell(f"by {distance}")

    async def _jump_in_sequence(self) -> None:
        by = self._random.choice([1, 32, 1000, 50_000])
        await self._writer.connection.execute(
            "select setval(pg_get_serial_sequence('audit_logs', 'id'),"
            f" nextval(pg_get_serial_sequence('audit_logs', 'id')) + {by})"
        )

    async def _truncate(self) -> None:
        table = self._random.choice([*TABLES, "audit_logs"])
        self._tell(table)
        async with self._transaction(self._writer):
            # It would wait for the transactions that are open.
            await self._writer.connection.execute("set local lock_timeout = '5ms'")
            try:
                async with self._writer.connection.transaction():
                    await self._writer.connection.execute(f"truncate {table} cascade")
            except asyncpg.LockNotAvailableError:
                self._tell("in vain")
            if self._random.random() < 0.5:
                await self._write(self._writer)

    async def _maintain(self) -> None:
        command = self._random.choice(["analyze", "vacuum", "checkpoint", "select pg_stat_reset()"])
        self._tell(command)
        await self._writer.connection.execute(command)

    async def _disconnect(self) -> None:
        await self._writer.connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name like 'unioncore-exporter%' and datname = current_database()"
        )

    @asynccontextmanager
    async def _transaction(self, writer: Writer) -> AsyncIterator[None]:
        async with writer.connection.transaction():
            yield
            await self._publish(writer)

    async def _publish(self, writer: Writer) -> None:
        if self._flush:
            await writer.connection.execute("select pg_stat_force_next_flush()")

    async def _write(self, writer: Writer) -> None:
        for _ in range(self._random.choice([1, 1, 1, 3])):
            if self._random.random() < 0.4:
                await self._write_audit(writer)
                continue
            table = self._random.choice(TABLES)
            write = self._random.choice([self._insert, self._insert, self._update, self._update, self._delete])
            self._tell(f"{write.__name__.strip('_')} {table}")
            await write(writer, table)

    def _moment(self) -> datetime:
        distance = self._random.choice([*NEAR, *FAR]) * self._random.choice([1, 1, self._random.random()])
        return self._clock.now + (distance if self._random.random() < 0.4 else -distance)

    def _row(self, table: str) -> dict[str, Any]:
        random = self._random
        row: dict[str, Any] = {}
        if table in STATUSES:
            row["dispatch_status" if table == "dispatches" else "status"] = random.choice(STATUSES[table])
        if table in SOFT_DELETED:
            row["is_deleted"] = random.random() < 0.2
        if table == "users":
            row["is_active"] = random.random() < 0.8
            row["locked_until"] = random.choice([None, self._moment()])
            row["last_login"] = random.choice([None, self._moment()])
        if table == "refresh_tokens":
            row["expires_at"] = self._moment()
            row["is_revoked"] = random.random() < 0.2
        if table == "dues_payments":
            row["amount_due"] = Decimal(random.randrange(10_000)) / 100
            row["amount_paid"] = random.choice([row["amount_due"], Decimal(random.randrange(10_000)) / 100])
            row["payment_method"] = random.choice(METHODS)
            row["payment_date"] = random.choice([None, self._moment().date()])
        return row

    async def _insert(self, writer: Writer, table: str) -> None:
        await writer.insert(table, **self._row(table))

    async def _update(self, writer: Writer, table: str) -> None:
        changed = self._row(table) or {"updated_at": naive(self._moment())}
        kept = {name for name in changed if self._random.random() < 0.3}
        values = writer.adapted(table, changed)
        values = {name: values[name] for name in map(writer.column, changed.keys() - kept) if name in values}
        ids = await self._some(writer, table, "random()")
        for name, value in values.items():
            await writer.connection.execute(f"update {table} set {name} = $1 where id = any($2)", value, ids)

    async def _delete(self, writer: Writer, table: str) -> None:
        ids = await self._some(writer, table, "random()")
        await writer.connection.execute(f"delete from {table} where id = any($1)", ids)

    async def _some(self, writer: Writer, table: str, order: str) -> list[int]:
        # Rows that an open transaction has changed would make this one wait for it, for ever.
        some = self._random.choice([1, 2, 20])
        rows = await writer.connection.fetch(
            f"select id from {table} order by {order} limit {some} for update skip locked"
        )
        return [row["id"] for row in rows]

    async def _write_audit(self, writer: Writer) -> None:
        random, connection = self._random, writer.connection
        kind = random.choices(["insert", "archive", "delete the newest", "delete some", "backdate"], [20, 2, 1, 1, 1])[
            0
        ]
        self._tell(f"{kind} audit_logs")
        if kind == "insert":
            for _ in range(random.choice([1, 1, 4])):
                at = self._moment()
                if self._orderly:
                    at = self._clock.now + timedelta(seconds=random.choice([0, 0, -90, 2, 60]))
                await writer.insert("audit_logs", changed_at=at, action=random.choice(["READ", "UPDATE"]))
            return
        # The immutability triggers do not fire for replicas, which is how an administrator gets past them.
        await connection.execute("set local session_replication_role = replica")
        order = {"archive": "id", "delete the newest": "id desc"}.get(kind, "random()")
        ids = await self._some(writer, "audit_logs", order)
        if kind == "alter":
            column = writer.column("changed_at")
            await connection.execute(
                f"update audit_logs set {column} = $1 where id = any($2)", naive(self._moment()), ids
            )
        else:
            await connection.execute("delete from audit_logs where id = any($1)", ids)


@asynccontextmanager
async def living(url: str, seed: int, clock: Clock, *, flush: bool, orderly: bool) -> AsyncIterator[Life]:
    """Lend the life of a database; what is still open at the end is rolled back."""
    async with (
        writing(url) as writer,
        writing(url) as first,
        writing(url) as second,
        writing(url) as third,
    ):
        # Few rows, so that counting them all in Python does not take the time that is better spent on more steps.
        async with writer.connection.transaction():
            await writer.connection.execute("set local session_replication_role = replica")
            for table in ("members", "dues_payments", "audit_logs"):
                await writer.connection.execute(
                    f"delete from {table} where id not in (select id from {table} order by id desc limit 120)"
                )
        yield Life(writer, [first, second, third], Random(seed), clock, flush=flush, orderly=orderly)
