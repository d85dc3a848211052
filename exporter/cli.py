"""The command `unioncore-exporter`.

Exit codes: 0 all is well; 1 something is missing or does not work; 2 the configuration can't be used.
"""

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from exporter import __version__
from exporter.settings import ConfigurationError, Settings, load

if TYPE_CHECKING:
    from exporter.database import Database


# Longer than the usual scrape intervals, so that Prometheus need not connect anew for each scrape.
_KEEP_ALIVE_SECONDS = 75


class _Configured(click.Group):
    """A group whose commands are given the settings, and end with 2 if there are none to be had."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            click.echo(f"unioncore-exporter: the configuration can't be used:\n{error}", err=True)
            sys.exit(2)


def _role_name(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", name) or name.startswith("pg_"):
        raise click.BadParameter("must be of letters, digits, _ and -, 63 at most, and not begin with pg_")
    return name


@click.group(
    cls=_Configured,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-exporter check
  DATABASE_URL=postgresql://... unioncore-exporter serve
  unioncore-exporter grants | psql "$ADMIN_DATABASE_URL"

Every setting is an environment variable: see docs/configuration.md.""",
)
@click.version_option(__version__)
def main() -> None:
    """UnionCore's Prometheus exporter."""


@main.command(
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-exporter serve
  UNIONCORE_LISTEN=0.0.0.0:9741 UNIONCORE_METRICS_TOKEN_FILE=/run/secrets/token unioncore-exporter serve"""
)
def serve() -> None:
    """Serve /metrics until SIGTERM or Ctrl-C."""
    settings = load()
    settings.check_certificates()
    import uvicorn  # noqa: PLC0415 - the other commands need no server

    from exporter import logs  # noqa: PLC0415 - likewise
    from exporter.assembly import serving  # noqa: PLC0415 - likewise
    from exporter.connections import PunctualProtocol  # noqa: PLC0415 - likewise

    logs.configure(settings.log_format, settings.log_level)
    host, port = settings.listen_address()
    # After its own orderly end uvicorn raises the signal again: being told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.run(
        serving(settings),
        host=host,
        port=port,
        http=PunctualProtocol,
        # asyncio logs a line for each of these when no more files can be opened.
        backlog=128,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


@main.command(
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-exporter check
  DATABASE_URL_FILE=/run/secrets/database unioncore-exporter check > report.txt"""
)
def check() -> None:
    """Try everything once, and say all that is wrong.

    Connects as `serve` does, shows in which column each fact was found, runs every collector and prints its values.
    Ends with 1 if a fact is missing or a collector fails.
    """
    settings = load()
    settings.check_certificates()
    from exporter.check import check as dry_run  # noqa: PLC0415 - the tables' library is for this command only

    if problems := asyncio.run(dry_run(settings, sys.stdout)):
        _fail(problems)


@main.command(
    epilog="""\b
Examples:
  unioncore-exporter grants | psql -v ON_ERROR_STOP=1 "$ADMIN_DATABASE_URL"
  DATABASE_URL=postgresql://... unioncore-exporter grants --role metrics_reader > role.sql"""
)
@click.option(
    "--role", default="unioncore_exporter", show_default=True, metavar="NAME", callback=_role_name, help="Its name."
)
def grants(role: str) -> None:
    """Print SQL for a role that may read what is counted, and nothing else.

    With a database that answers, the SQL names the columns that are there; without one, it looks for them when it
    is run. It sets no password, and tells how to.
    """
    from exporter import grants as sql  # noqa: PLC0415 - `serve` needs none of it
    from exporter.database import DatabaseDownError, StatementError  # noqa: PLC0415 - likewise

    try:
        script = _ask(load(), lambda database: sql.online(database, role))
    except (ConfigurationError, DatabaseDownError, StatementError) as error:
        click.echo(
            f"unioncore-exporter: with no database to look into, this SQL finds the columns when it is run:\n{error}",
            err=True,
        )
        script = sql.offline(role)
    except LookupError as error:
        _fail([str(error)])
    click.echo(script, nl=False)


@main.command(
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-exporter indexes
  DATABASE_URL=postgresql://... unioncore-exporter indexes | psql "$ADMIN_DATABASE_URL\""""
)
def indexes() -> None:
    """Print SQL for indexes that would save time, and that the database lacks."""
    settings = load()
    from exporter.database import DatabaseDownError, StatementError  # noqa: PLC0415 - `serve` needs none of it
    from exporter.indexes import advise  # noqa: PLC0415 - likewise

    try:
        click.echo(_ask(settings, advise))
    except (DatabaseDownError, StatementError) as error:
        _fail([f"the database {settings.address()} does not answer: {error}"])


def _ask(settings: Settings, question: "Callable[[Database], Awaitable[str]]") -> str:
    """Return a database's answer."""
    from exporter.assembly import assemble  # noqa: PLC0415 - `serve` comes by it on its own way

    async def ask() -> str:
        parts = assemble(settings)
        try:
            return await question(parts.database)
        finally:
            await parts.close()

    return asyncio.run(ask())


def _fail(problems: Sequence[str]) -> NoReturn:
    for problem in problems:
        click.echo(f"unioncore-exporter: {problem}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
