"""The guard of the audit log, in the database: what lets archived rows be deleted, and nothing else.

What it is and how it holds is told in `scripts/sql/audit_guard_install.sql`.
"""

import re
from pathlib import Path

import asyncpg
from asyncpg import Connection

from exporter.collectors.immutability import GUARD_CLAUSE, GUARD_ROLE, GUARDED
from exporter.schema import quoted
from scripts.archive.chunks import Chunk, multirange
from scripts.archive.settings import DeleteSettings
from scripts.archive.table import CELL, DIGEST, PINNED, describe
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run

_SQL = Path(__file__).parents[1] / "sql"
_TRIGGER_FUNCTION = "prevent_audit_modification()"
_TRUNCATE_TRIGGER = "audit_logs_prevent_truncate"
_FUNCTIONS = ["record_archive", "delete_archived"]
_NEWEST_FUNCTION = "refuse_side_effects"
# What the guard's functions raise (audit_guard_install.sql).
_DIFFERENT = "UCG01"
_FORBIDDEN = "UCG02"
_OVERLAPPING = "UCG03"
_INSUFFICIENT_PRIVILEGE = "42501"


class OverlapError(JobError):
    """A chunk has rows that another one has, too, which was deleted already."""


async def install(run: Run[DeleteSettings], job_role: str) -> Outcome:
    """Install the guard, or change how young the rows may be that it deletes, and for whom it does.

    Args:
        run: The run; UNIONCORE_AUDIT_RETENTION_DAYS becomes part of the guard.
        job_role: The role that `archive --delete` logs in as; empty: the one of this run.
    """
    days = retention_days(run.settings)
    job_role = job_role or run.address.user
    taken_from = await _execute(run, "audit_guard_install.sql", retention_days=str(days), grantee=quoted(job_role))
    details = {"role": GUARD_ROLE, "retention_days": days, "job_role": job_role, "taken_from": taken_from}
    return Outcome(1, details)


async def remove(run: Run[DeleteSettings]) -> Outcome:
    """Remove the guard."""
    await _execute(run, "audit_guard_remove.sql")
    return Outcome(1, {"role": GUARD_ROLE})


def retention_days(settings: DeleteSettings) -> int:
    """Return for how many days audit events stay in the database at least.

    Raises:
        JobError: The operator has not said so.
    """
    if settings.audit_retention_days is None:
        raise JobError(
            Exit.REFUSED,
            "set UNIONCORE_AUDIT_RETENTION_DAYS to the number of days after which archived audit events may be deleted",
        )
    return settings.audit_retention_days


async def require(connection: Connection) -> None:
    """Make sure that the guard is there for this role.

    Raises:
        JobError: It is not, or is one that lets more be deleted than this one does.
    """
    # From the catalog: to name a function of a schema that the role may not use is an error.
    (found,) = await connection.fetch(
        """
        select count(distinct p.proname) filter (where asked) = 2 as there,
               bool_or(p.proname = $3) as newest,
               bool_and(has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute'))
                   filter (where asked) as may
          from pg_catalog.pg_proc p
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace,
               lateral (select p.proname = any ($2::text[])) names(asked)
         where n.nspname = $1
        """,
        GUARD_ROLE,
        _FUNCTIONS,
        _NEWEST_FUNCTION,
    )
    if not found["there"]:
        raise JobError(
            Exit.REFUSED,
            "the database's triggers refuse to delete audit events, and have no guard that would let archived ones "
            "pass: install it, by `unioncore-ops archive install-guard`",
        )
    if not found["newest"]:
        raise JobError(
            Exit.REFUSED,
            "the guard in the database is of an earlier version: replace it, by `unioncore-ops archive install-guard` "
            "with the --job-role that it was installed with",
        )
    if not found["may"]:
        raise JobError(
            Exit.REFUSED,
            "the guard is not for this role: install it by `unioncore-ops archive install-guard --job-role ROLE`",
        )


async def deleted(connection: Connection) -> list[str]:
    """Return the keys of the chunks whose rows were deleted; none if there is no guard, or it does not show them."""
    shown = await connection.fetchval(
        """
        select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = 'archive'
              and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))
        """,
        GUARD_ROLE,
    )
    if not shown:
        return []
    return [
        row["key"]
        for row in await connection.fetch(
            f"select key from {GUARD_ROLE}.archive where deleted_at is not null order by key"
        )
    ]


async def delete(connection: Connection, chunk: Chunk) -> int:
    """Delete a chunk's rows, all or none, in a transaction of its own; return how many.

    Args:
        connection: The database.
        chunk: A chunk whose file is known to be what its manifest says.

    Raises:
        OverlapError: Some of its rows were deleted as another chunk's.
        JobError: The rows are not those of the chunk (NOT_VERIFIED), or the guard forbids it (REFUSED).
        asyncpg.PostgresError: The database can't do it.
    """
    facts = chunk.facts
    try:
        async with connection.transaction():
            await connection.execute(
                f"select {GUARD_ROLE}.record_archive($1, $2::text::int8multirange, $3, $4, $5, $6)",
                chunk.name.key,
                multirange([facts.ids]),
                facts.rows,
                facts.digest,
                chunk.column_names,
                chunk.manifest.sha256,
            )
            return int(await connection.fetchval(f"select {GUARD_ROLE}.delete_archived($1)", chunk.name.key))
    except asyncpg.PostgresError as error:
        exits = {_DIFFERENT: Exit.NOT_VERIFIED, _FORBIDDEN: Exit.REFUSED, _OVERLAPPING: Exit.NOT_VERIFIED}
        if error.sqlstate not in exits:
            raise
        kind = OverlapError if error.sqlstate == _OVERLAPPING else JobError
        raise kind(exits[error.sqlstate], f"nothing of the chunk was deleted: {error}") from error


async def _execute(run: Run[DeleteSettings], script: str, **names: str) -> list[str]:
    """Execute a script; return who could have rows deleted before, and can't any more."""
    async with run.connect() as connection:
        owner = await connection.fetchrow(
            "select pg_has_role(relowner, 'usage') as me, relowner::regrole::text as name"
            " from pg_catalog.pg_class where oid = to_regclass('audit_logs')"
        )
        if owner and not owner["me"]:
            raise JobError(
                Exit.REFUSED,
                f"{run.address.user} does not own audit_logs: set DATABASE_URL to its owner, {owner['name']}, who must"
                " be allowed to create roles",
            )
        table = await describe(connection)
        function = await connection.fetchval(
            "select format('%I.%I()', n.nspname, p.proname) from pg_catalog.pg_proc p"
            " join pg_catalog.pg_namespace n on n.oid = p.pronamespace where p.oid = to_regprocedure($1)",
            _TRIGGER_FUNCTION,
        )
        if not function:
            raise JobError(
                Exit.REFUSED,
                f"{table.name} has no trigger function {_TRIGGER_FUNCTION}: bring UnionCore's triggers back",
            )
        names |= {
            "role": GUARD_ROLE,
            "table": table.name,
            "id": str(table.id),
            "instant": table.time.instant(),
            "settings": "".join(f" set {name} = '{value}'" for name, value in PINNED.items())
            + " set search_path = pg_catalog, pg_temp set lock_timeout = '2s'",
            "cell": CELL,
            "digest": DIGEST,
            "clause": GUARD_CLAUSE,
            "guarded_pattern": GUARDED,
            "function": function,
            "truncate_trigger": _TRUNCATE_TRIGGER,
        }
        sql = re.sub(r"@(\w+)@", lambda found: names[found[1]], (_SQL / script).read_text())
        if run.dry_run:
            print(sql)  # noqa: T201 - the SQL is what was asked for
            return []
        try:
            async with connection.transaction():
                before = await _entitled(connection)
                await connection.execute(sql)
                return sorted(before - await _entitled(connection))
        except asyncpg.InsufficientPrivilegeError as error:
            raise JobError(
                Exit.REFUSED,
                f"{error}: the owner of {table.name} must be allowed to create roles (ALTER ROLE ... CREATEROLE), to "
                "administer those of the guard, and to make a schema (GRANT CREATE ON DATABASE)",
            ) from error
        except asyncpg.RaiseError as error:
            raise JobError(Exit.REFUSED, str(error)) from error


async def _entitled(connection: Connection) -> set[str]:
    """Return the roles that may execute functions of the guard, beside itself; `public` if everybody may."""
    rows = await connection.fetch(
        """
        select coalesce(r.rolname, 'public') as name
          from pg_catalog.pg_proc p
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          left join pg_catalog.pg_roles r on r.oid = a.grantee
         where n.nspname = $1 and a.grantee <> p.proowner
        """,
        GUARD_ROLE,
    )
    return {row["name"] for row in rows}
