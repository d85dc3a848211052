"""The benchmark's PostgreSQL: databases of the live shape, what happens in them, and what each role costs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from exporter.facts import TABLES
from exporter.schema import quoted
from scripts.dev.generate import SCALES, Scale, create
from scripts.dev.trickle import HAPPENINGS
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL, TENTH, DEMO = "full", "tenth", "demo"
_MEGABYTE = 2**20
# What a row of the audit log and a payment take on disk with their indexes, generously.
_ROW_BYTES = 350
_READING = next(happening.sql for happening in HAPPENINGS if happening.name == "reading")
_TOUCHED = tuple(table for table in TABLES if table != "audit_logs")


def proportional(audit_rows: int, *, payments: int | None = None, members: int | None = None) -> Scale:
    """Return the large local's proportions at another size of its audit log.

    Args:
        audit_rows: Rows of the audit log.
        payments: Dues payments, if not in proportion.
        members: Members, if not in proportion.
    """
    large = SCALES["large"]
    share = audit_rows / large.audit_events
    members = max(1, round(large.members * share)) if members is None else members
    return Scale(
        users=max(20, round(large.users * share)),
        members=members,
        students=min(members, round(large.students * share)),
        payments=round(large.payments * share) if payments is None else payments,
        audit_events=audit_rows,
        days=large.days,
        sessions=round(large.sessions * share),
        email_tokens=round(large.email_tokens * share),
    )


def server(scales: dict[str, Scale]) -> EmbeddedPostgres:
    """Make the server, not started, that holds databases of these scales in its cache."""
    rows = sum(scale.audit_events + scale.payments + scale.members for scale in scales.values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    buffers = min(memory // 3, 256 * _MEGABYTE + rows * _ROW_BYTES)
    return EmbeddedPostgres(
        settings={
            "shared_buffers": f"{buffers // _MEGABYTE}MB",
            "shared_preload_libraries": "pg_stat_statements",
            "pg_stat_statements.track_planning": "on",
        },
    )


def fill(postgres: EmbeddedPostgres, scales: dict[str, Scale], cache: Path | None) -> None:
    """Generate the databases, or take them from the cache.

    Args:
        postgres: A running server without databases.
        scales: The numbers of rows, by the database's name.
        cache: A directory that keeps what was generated for later runs of the same day: the data leads up to the
            present, and tomorrow it would hold no event of today.

    Raises:
        PostgresError: A statement failed.
    """
    digest = hashlib.sha256(repr((postgres.major, scales)).encode()).hexdigest()[:12]
    kept = cache / f"{datetime.now(UTC):%Y%m%d}-{digest}" if cache else None
    if kept and kept.is_dir():
        with _stopped(postgres):
            shutil.rmtree(postgres.data)
            _copy(kept / "data", postgres.data)
            postgres.password = (kept / "password").read_text()
        return
    for name, scale in scales.items():
        postgres.create_database(name)
        create(postgres.url(name), "live", scale)
    if kept:
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        with _stopped(postgres):
            _copy(postgres.data, partial / "data")
        (partial / "password").write_text(postgres.password)
        partial.rename(kept)


def _copy(source: Path, target: Path) -> None:
    # cp keeps the owner, which the server insists on.
    subprocess.run(["cp", "-a", source, target], check=True)


@contextmanager
def _stopped(postgres: EmbeddedPostgres) -> Iterator[None]:
    postgres.stop()
    yield
    postgres.start()


class Session:
    """A connection for a program that does one thing after the other."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def close(self) -> None:
        """Close it."""
        self._runner.run(self._connection.close())
        self._runner.close()

    def value(self, sql: str, *arguments: object) -> Any:
        """Run a statement and return the first column of its first row."""
        return self._runner.run(self._connection.fetchval(sql, *arguments))

    def row(self, sql: str, *arguments: object) -> Any:
        """Run a statement and return its first row."""
        return self._runner.run(self._connection.fetchrow(sql, *arguments))

    def run(self, script: str) -> None:
        """Run a script."""
        self._runner.run(self._connection.execute(script))


class Life:
    """What happens in a database between two scrapes."""

    def __init__(self, url: str) -> None:
        self._session = Session(url)
        self._touches = "".join(
            f"update {quoted(table)} set id = id where id = (select min(id) from {quoted(table)});"
            for table in _TOUCHED
        )

    def close(self) -> None:
        """Close its connection."""
        self._session.close()

    def some_events(self) -> None:
        """Somebody reads a few members' data: a few new audit events, and nothing else."""
        self._session.value(_READING, 0.5)

    def everything(self) -> None:
        """A row of every table changes, beside a few new audit events, and the statistics say so at once."""
        self._session.run(f"begin;{self._touches}commit;")
        self.some_events()
        self._session.value("select pg_stat_force_next_flush()")


class Spent(NamedTuple):
    """What a role has cost the server so far.

    Attributes:
        statements: How many it ran.
        seconds: How long it waited for them: planning and execution.
    """

    statements: int
    seconds: float


@dataclass(frozen=True)
class Role:
    """Whose statements are counted apart from all others'."""

    name: str
    postgres: EmbeddedPostgres

    def url(self, database: str) -> str:
        """The URL with which it connects."""
        return self.postgres.url(database, user=self.name)


class Meter:
    """Reads off what roles cost the server: from pg_stat_statements, and from the kernel."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._session = Session(postgres.url("postgres"))
        self._session.run("create extension if not exists pg_stat_statements")

    def close(self) -> None:
        """Close its connection."""
        self._session.close()

    def role(self, name: str) -> Role:
        """Create a role that may read everything, with the server's own password."""
        self._postgres.psql(
            "create role :\"name\" login password :'password' in role pg_read_all_data",
            name=name,
            password=self._postgres.password,
        )
        return Role(name, self._postgres)

    def spent(self, role: Role) -> Spent:
        """Return what a role has cost since the server started."""
        row = self._session.row(
            """select coalesce(sum(calls), 0)::int, coalesce(sum(total_plan_time + total_exec_time), 0) / 1000
                 from pg_stat_statements(false) join pg_roles on oid = userid where rolname = $1""",
            role.name,
        )
        return Spent(*row)

    def processor(self) -> float:
        """Return the seconds of processor time that all the server's processes have used."""
        # The exact nanoseconds of the living; those that have ended (parallel workers, sessions) are in the
        # postmaster's sum of its children, in hundredths of a second.
        postmaster = self._postgres.pid
        used = processor_seconds(postmaster, ended_children=True)
        for pid in [postmaster, *descendants(postmaster)]:
            with suppress(OSError):
                used += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        return used


def processor_seconds(pid: int, *, ended_children: bool = False) -> float:
    """Return the processor time that a process has used, or that its ended children had used.

    Args:
        pid: The process.
        ended_children: Its children that have ended, and nothing of its own.
    """
    # proc(5): utime, stime, cutime, cstime are the fields 14 to 17; the command before them is in parentheses.
    ticks = [int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    return sum(ticks[2:] if ended_children else ticks[:2]) / os.sysconf("SC_CLK_TCK")
