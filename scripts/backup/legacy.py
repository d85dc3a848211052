"""Verifies the `.sql.gz` files of the script that was there before: `pg_dump | gzip`, without a manifest.

What they should hold nobody wrote down. But each says where it ends, and how many rows it has of each table; that much
can be compared with what a restore brings. It makes no backup of them that retention or the exporter would count.
"""

import asyncio
import gzip
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from scripts.backup.contents import CRITICAL
from scripts.backup.finding import Found, local_copy, workspace
from scripts.backup.programs import Programs, choose, run_program
from scripts.backup.restoring import summary
from scripts.backup.scratch import Wanted, scratch
from scripts.backup.settings import VerifySettings
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Outcome, Run

SUFFIXES = (".sql.gz", ".sql")

_COPY = re.compile(rb"COPY (\S+) \(.*\) FROM stdin;\n")
_VERSION = re.compile(rb"-- Dumped (?:from database|by pg_dump) version (\d+)")
_ROLE = re.compile(rb'(?:.* OWNER TO|GRANT .* TO|REVOKE .* FROM|ALTER DEFAULT PRIVILEGES FOR ROLE) ("[^"]+"|\w+)\b')
# What pg_dump writes since CVE-2025-8714, to have psql take no commands from what is between both.
_RESTRICTION = re.compile(rb"\\(?:un)?restrict \w+$")
_END = b"-- PostgreSQL database dump complete"
_PSQL = ("--no-psqlrc", "--quiet", "--no-password", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-")


@dataclass
class _Script:
    """What a plain dump says of itself.

    Attributes:
        major: The newest PostgreSQL that had to do with it.
        rows: The row count of each table.
        roles: Roles that it names.
        complete: Whether its end is there.
    """

    major: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    complete: bool = False


async def verify(run: Run[VerifySettings], installations: Sequence[Programs], found: Found) -> Outcome:
    """Restore a plain dump into a scratch database, and compare row counts.

    Args:
        run: Of the job `verify`.
        installations: The programs that are installed.
        found: The file.

    Raises:
        JobError: It is not complete, can't be restored, or lacks something (NOT_VERIFIED), or does more than to bring
            a database back (REFUSED).
    """
    async with workspace() as directory:
        dump, _ = await local_copy(run, found, directory)
        plain = directory / "dump.sql"
        script = await asyncio.to_thread(_read, dump, plain)
        missing = set(CRITICAL) - {name.rpartition(".")[2] for name in script.rows}
        if not script.complete:
            problem = "its last line is missing: the dump was cut off"
        elif missing:
            problem = f"it has no table {', '.join(sorted(missing))}"
        else:
            problem = ""
        if problem:
            raise JobError(Exit.NOT_VERIFIED, f"{found.name} is no complete backup: {problem}")
        programs = choose(installations, script.major, "a dump by this pg_dump")
        async with scratch(run, installations, Wanted(script.major, roles=sorted(script.roles))) as database:
            with plain.open("rb") as source:
                argv = [programs.path("psql"), *_PSQL]
                try:
                    await run_program(argv, run.pg_environment(database), Exit.NOT_VERIFIED, stdin=source.fileno())
                except JobError as error:
                    raise _meant(error, found.name, programs) from error
            async with run.connect(database) as connection:
                restored = {
                    name: await connection.fetchval(f"select count(*) from only {name}") for name in script.rows
                }
    problems = [
        f"table {name} has {restored[name]} rows, not {rows}"
        for name, rows in script.rows.items()
        if restored[name] != rows
    ]
    if problems:
        raise JobError(Exit.NOT_VERIFIED, summary(problems))
    critical = {name: next(rows for table, rows in restored.items() if table.endswith(f".{name}")) for name in CRITICAL}
    run.log.warning("a file without a manifest: only its row counts could be compared", name=found.name)
    return Outcome(len(restored), {"name": found.name, "critical": critical, "tables": len(restored), "proven": []})


def _meant(error: JobError, name: str, programs: Programs) -> JobError:
    """Return what it means that psql has failed: more than that, if it was at a command."""
    if "backslash commands are restricted" in str(error):
        return JobError(
            Exit.REFUSED,
            f"{name} has a command for psql, which may lead out of the scratch database: only dumps of one database, "
            f"made without --create, are verified ({error})",
        )
    if "invalid command \\restrict" in str(error):
        return JobError(
            Exit.TOOL,
            f"psql {programs.version} can't be kept from the commands in a dump (CVE-2025-8714): install a release of "
            "August 2025 or later, or set UNIONCORE_PG_BIN",
        )
    return error


def _read(dump: Path, plain: Path) -> _Script:
    """Unpack a dump into a script from which psql takes no commands, and read what it says of itself.

    psql takes a command wherever it stands outside of quotes, which only psql can tell. So it is told not to, by a line
    before all others; an older psql ends at that line. The dump's own lines to that effect would be such commands.
    """
    script, table = _Script(), ""
    plain.touch(mode=0o600)
    try:
        # A GzipFile checks the CRC and the length at the end, and misses an end that is missing.
        with (
            cast("BinaryIO", gzip.open(dump) if dump.suffix == ".gz" else dump.open("rb")) as source,
            plain.open("wb") as target,
        ):
            target.write(b"\\restrict %b\n" % secrets.token_hex(32).encode())
            for line in source:
                if not table and _RESTRICTION.match(line):
                    continue
                target.write(line)
                if table:
                    if line == b"\\.\n":
                        table = ""
                    else:
                        script.rows[table] += 1
                elif begun := _COPY.fullmatch(line):
                    table = begun[1].decode()
                    script.rows[table] = 0
                elif version := _VERSION.match(line):
                    script.major = max(script.major, int(version[1]))
                elif role := _ROLE.match(line):
                    script.roles.add(role[1].decode().strip('"'))
                elif line.startswith(_END):
                    script.complete = True
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise JobError(Exit.NOT_VERIFIED, f"{dump.name} is damaged: {error}") from error
    return script
