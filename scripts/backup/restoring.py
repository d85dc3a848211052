"""Restores a dump, and compares what came of it with what the manifest promises."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from exporter.dsn import Address
from scripts.backup.around import Missing, missing
from scripts.backup.contents import Contents, differences
from scripts.backup.finding import workspace
from scripts.backup.inventory import snapshot
from scripts.backup.programs import Programs, readable, run_program, start
from scripts.backup.settings import AnyBackups
from scripts.job.database import one_line
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Run

_SHOWN = 20
# What it may take a superuser to make, in a dump's list. An extension that a platform has put into every database is
# its own, and so is the comment on it, which every dump has.
_SUPERUSERS = re.compile(
    rb"\d+; \d+ \d+ (?:COMMENT - (?:EXTENSION|EVENT TRIGGER|PUBLICATION|SUBSCRIPTION)"
    rb"|EVENT TRIGGER|PUBLICATION|SUBSCRIPTION|SECURITY LABEL) "
)


async def pg_restore(
    run: Run[AnyBackups],
    programs: Programs,
    dump: Path,
    target: Address,
    *options: str,
    failure: Exit,
    whole: bool = False,
) -> None:
    """Restore a dump into a database, in parallel, and stop at the first error.

    Args:
        run: Of this job.
        programs: pg_restore.
        dump: The file.
        target: The database.
        *options: Further options.
        failure: How the job ends if it fails.
        whole: In one transaction, which can't be parallel: all of it or nothing.

    Raises:
        JobError: It failed.
    """
    run.log.info("restoring", database=str(target), jobs=1 if whole else run.settings.restore_jobs)
    await _pg_restore(run, programs, dump, target, *options, failure=failure, whole=whole)


async def _pg_restore(
    run: Run[AnyBackups],
    programs: Programs,
    dump: Path,
    target: Address,
    *options: str,
    failure: Exit,
    whole: bool,
) -> None:
    argv = [
        programs.path("pg_restore"),
        "--exit-on-error",
        "--no-password",
        "--no-tablespaces",
        "--single-transaction" if whole else f"--jobs={run.settings.restore_jobs}",
        # All of the address is in the environment; but without a name, pg_restore would write a script.
        "--dbname=",
        *options,
        str(dump),
    ]
    await run_program(argv, run.pg_environment(target), failure)


def put_off(programs: Programs, dump: Path, wanted: Path) -> list[bytes]:
    """Write the list of what any user can restore.

    Args:
        programs: pg_restore.
        dump: The file.
        wanted: The list to write, for --use-list.

    Returns:
        What is not on it, but may need a superuser: its lines in the dump's own list.

    Raises:
        JobError: The dump can't be read (FAILED).
    """
    with start([programs.path("pg_restore"), "--list", str(dump)], {}, stdout=subprocess.PIPE) as child:
        output, _ = child.process.communicate()
        if child.process.returncode:
            raise JobError(Exit.FAILED, child.complaint())
    lines = output.splitlines()
    off = [line for line in lines if _SUPERUSERS.match(line)]
    wanted.write_bytes(b"\n".join(line for line in lines if line not in off) + b"\n")
    return off


async def restore_each(
    run: Run[AnyBackups], programs: Programs, dump: Path, target: Address, lines: Sequence[bytes], *options: str
) -> list[str]:
    """Restore what may need a superuser, as far as the target's server lets this user.

    Its server decides that: who owns the database may publish tables, and a platform may let its users do more.

    Args:
        run: Of this job.
        programs: pg_restore.
        dump: The file.
        target: The database, which has all else.
        lines: What is to be restored, as lines of the dump's list.
        *options: Further options.

    Returns:
        What the server has refused, in the words of the list.

    Raises:
        JobError: The server can't be reached any more, or has no space left.
    """
    refused = []
    async with workspace() as directory:
        for line in lines:
            listed = directory / "listed"
            listed.write_bytes(line + b"\n")
            what = readable(line.partition(b"; ")[2])
            one = (*options, f"--use-list={listed}")
            try:
                await _pg_restore(run, programs, dump, target, *one, failure=Exit.FAILED, whole=True)
            except JobError as error:
                if error.exit is not Exit.FAILED:
                    raise
                run.log.warning("left out: the user of the restore can't create it", what=what, why=str(error))
                refused.append(what)
    return refused


async def compare(
    run: Run[AnyBackups],
    expected: Contents,
    target: Address,
    *,
    owners: bool = False,
    extra: bool = False,
    before: Mapping[str, Mapping[str, str]] | None = None,
) -> Contents:
    """Require that a database holds what was backed up, to the last row.

    Args:
        run: Of this job.
        expected: What was backed up.
        target: The database.
        owners: Compare also whose all that is, and who may do what with it.
        extra: Allow what was not backed up.
        before: What was there before, as `differences` takes it.

    Returns:
        What the database holds.

    Raises:
        JobError: Something differs, or there was nothing to compare (NOT_VERIFIED).
    """
    with run.progress("compare", len(expected.tables), "tables") as meter:
        async with run.connect(target) as connection, snapshot(connection) as moment:
            found = await moment.contents(meter)
    problems = list(differences(expected, found, owners=owners, extra=extra, before=before))
    missing = [name for name, rows in expected.critical().items() if rows is None]
    if missing:
        problems.insert(0, f"the backup has no table {', '.join(missing)}")
    if not expected.tables or not expected.objects:
        problems.insert(0, "the manifest names nothing to compare with")
    if problems:
        raise JobError(Exit.NOT_VERIFIED, summary(problems), {"differences": problems[:_SHOWN]})
    return found


async def set_up(run: Run[AnyBackups], expected: Contents, target: Address, *, owners: bool) -> None:
    """Give a restored database its own settings and grants, which are in no dump.

    Args:
        run: Of this job.
        expected: What was backed up.
        target: The database.
        owners: Give also what is a role's; else it is only told.

    Raises:
        JobError: Something of that can't be given (FAILED), all else is; the message has the SQL to run.
    """
    errors: dict[Missing, asyncpg.PostgresError] = {}
    async with run.connect(target) as connection:
        lacking = await missing(connection, expected, owners=owners)
        for one in lacking:
            try:
                await connection.execute(one.sql)
            except asyncpg.PostgresError as error:
                errors[one] = error
        # A GRANT or REVOKE that its user may not give ends with no more than a warning (PostgreSQL's GRANT, "Notes").
        left = await missing(connection, expected, owners=owners)
        others = [] if owners else await missing(connection, expected, owners=True)
    for one in lacking:
        if one not in left:
            run.log.info("the database is set up as it was", sql=one.told)
    for one in others:
        if one not in left and not one.above_owners:
            run.log.warning("left out, as the owners are: run it once the role is there", sql=one.told)
    failed = []
    for one in left:
        refusal = errors.get(one)
        if one.above_owners and isinstance(refusal, asyncpg.InsufficientPrivilegeError):
            run.log.warning("left out, as only a superuser may set it", sql=one.told)
        else:
            failed.append(f"{one.told} ({_why(one, refusal)})")
    if failed:
        raise JobError(
            Exit.FAILED,
            f"every row is in {target} and compared, but the database has not all of its own settings and grants: "
            f"let its owner or a superuser run, in this database: {'; '.join(failed)}",
        )


def _why(lacking: Missing, error: asyncpg.PostgresError | None) -> str:
    if error is None:
        return "it had no effect: the user of the restore may not grant or revoke that"
    if lacking.secret and not isinstance(error, asyncpg.InsufficientPrivilegeError):
        # PostgreSQL names a value that it refuses.
        return f"refused: SQLSTATE {error.sqlstate}"
    return one_line(error)


def summary(problems: Sequence[str]) -> str:
    """Return one line of several problems."""
    more = f" (and {len(problems) - 1} more differences)" if len(problems) > 1 else ""
    return f"what was restored is not what was backed up: {problems[0]}{more}"
