"""A database to restore into and throw away: on a server that is given, or on one that lives as long as the run.

It is always made here, under a name that nothing has, and dropped here. No other database is ever restored into.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from exporter.dsn import Address, parse
from exporter.schema import quoted
from scripts.backup.around import missing_roles
from scripts.backup.programs import Programs, choose
from scripts.backup.settings import VerifySettings
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError
from scripts.job.database import one_line
from scripts.job.exits import Exit, JobError
from scripts.job.frame import Run

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_STEM = "unioncore_scratch_"
_NAME = re.compile(rf"{_STEM}(\d{{14}})_[0-9a-f]{{8}}")
_TIME = "%Y%m%d%H%M%S"
_ABANDONED = timedelta(days=1)
_ANYWHERE = "C.UTF-8"
"""A locale that every server has."""
_PROVIDED = {
    "c": "locale_provider libc",
    "i": "locale_provider icu icu_locale %5$L",
    "b": "locale_provider builtin builtin_locale %5$L",
}
"""How a database is made whose locale is of one kind: by itself, its template decides."""
_KNOWS_PROVIDERS = 15


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scratch database must be like.

    Attributes:
        major: The least major version of its server.
        encoding: Its encoding.
        collation: Its collation, if the server has that.
        ctype: Likewise.
        provider: What knows its locale, as `scripts.backup.contents.Contents` has it.
        locale: Its locale, unless the C library knows it.
        roles: Roles that its objects name.
        policy_roles: Of these, the ones without which its policies can't be made.
    """

    major: int
    encoding: str = "UTF8"
    collation: str = _ANYWHERE
    ctype: str = _ANYWHERE
    provider: str = "c"
    locale: str = ""
    roles: Sequence[str] = ()
    policy_roles: Sequence[str] = ()


@asynccontextmanager
async def scratch(run: Run[VerifySettings], found: Sequence[Programs], wanted: Wanted) -> AsyncIterator[Address]:
    """Lend a fresh database, which is dropped when the block ends, however it ends.

    Args:
        run: Of this job.
        found: The programs that are installed: one server of them is started if none is given.
        wanted: What it must be like.

    Raises:
        JobError: There is no server, or none that is new enough (TOOL, REFUSED, UNREACHABLE).
    """
    async with AsyncExitStack() as stack:
        if run.settings.scratch_url is not None:
            server = parse(run.settings.scratch_url.get_secret_value())
            await _check_given(run, server, wanted)
        else:
            server = await stack.enter_async_context(_throw_away(run, found, wanted))
        name = f"{_STEM}{datetime.now(UTC):{_TIME}}_{secrets.token_hex(4)}"
        try:
            async with run.connect(server) as connection:
                await _create(connection, name, wanted)
            yield replace(server, database=name)
        finally:
            async with run.connect(server) as connection:
                await connection.execute(f'drop database if exists "{name}" with (force)')


async def _check_given(run: Run[VerifySettings], server: Address, wanted: Wanted) -> None:
    """Refuse a server that won't do, and drop what runs that were killed have left on it."""
    source = run.settings.source
    if source and (server.host, server.port, server.database) == (source.host, source.port, source.database):
        raise JobError(
            Exit.REFUSED,
            "UNIONCORE_SCRATCH_URL names UnionCore's own database: name the database postgres of a server on which "
            "databases may be made and dropped",
        )
    async with run.connect(server) as connection:
        major = connection.get_server_version().major
        if major < wanted.major:
            raise JobError(
                Exit.TOOL,
                f"the server at UNIONCORE_SCRATCH_URL is PostgreSQL {major}: the backup needs {wanted.major} or newer",
            )
        if lacking := await missing_roles(connection, wanted.policy_roles):
            raise JobError(
                Exit.REFUSED,
                f"the server at UNIONCORE_SCRATCH_URL lacks the roles {', '.join(lacking)}, which the backup's row "
                "security policies name: create them",
            )
        for (name,) in await connection.fetch(
            "select datname from pg_database where not exists (select from pg_stat_activity s where s.datid = oid)"
        ):
            made = _NAME.fullmatch(name)
            age = made and datetime.now(UTC) - datetime.strptime(f"{made[1]}+0000", f"{_TIME}%z")
            if age and age > _ABANDONED:
                await connection.execute(f'drop database if exists "{name}"')
                run.log.info("dropped what a killed run has left", database=name)


@asynccontextmanager
async def _throw_away(run: Run[VerifySettings], found: Sequence[Programs], wanted: Wanted) -> AsyncIterator[Address]:
    """Start a server of its own, which is gone with all it holds when the block or the process ends."""
    try:
        programs = choose([programs for programs in found if programs.can_serve()], wanted.major, "a scratch server")
    except JobError as error:
        raise JobError(error.exit, f"{error}; or name a server by UNIONCORE_SCRATCH_URL") from error
    try:
        server = await asyncio.to_thread(EmbeddedPostgres, programs.major, programs=programs.directory)
        await asyncio.to_thread(server.start)
    except (PostgresError, OSError) as error:
        raise JobError(Exit.FAILED, f"a scratch server can't be started: {one_line(error)}") from error
    try:
        address = parse(server.url("postgres"))
        async with run.connect(address) as connection:
            for role in await missing_roles(connection, wanted.roles):
                await connection.execute(f"create role {quoted(role)}")
        yield address
    finally:
        await asyncio.to_thread(server.close)


async def _create(connection: "Connection[Record]", name: str, wanted: Wanted) -> None:
    provided = _PROVIDED.get(wanted.provider, "")
    if connection.get_server_version().major < _KNOWS_PROVIDERS:
        provided = ""
    # The source's locale, for indexes and generated columns may depend on it; a server that doesn't know it will do.
    for collation, ctype in ((wanted.collation, wanted.ctype), (_ANYWHERE, _ANYWHERE), ("C", "C")):
        try:
            await connection.execute(
                await connection.fetchval(
                    "select format('create database %I template template0 encoding %L lc_collate %L lc_ctype %L"
                    f" {provided}', $1::text, $2::text, $3::text, $4::text, $5::text)",
                    name,
                    wanted.encoding,
                    collation,
                    ctype,
                    wanted.locale,
                )
            )
        except (
            asyncpg.WrongObjectTypeError,
            asyncpg.InvalidParameterValueError,
            asyncpg.UndefinedObjectError,
            asyncpg.FeatureNotSupportedError,
        ):
            continue
        return
    locale = f" and the locale {wanted.locale}" if wanted.locale else ""
    raise JobError(Exit.TOOL, f"the scratch server can't make a database of the encoding {wanted.encoding}{locale}")
