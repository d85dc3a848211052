"""The command `unioncore-exporter`.

Exit codes: 0 all is well; 1 something is missing or does not work; 2 the configuration can't be used.
"""

import signal
import sys

import click

from exporter import __version__
from exporter.settings import ConfigurationError, load


class _Configured(click.Group):
    """A group whose commands are given the settings, and end with 2 if there are none to be had."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            click.echo(f"unioncore-exporter: the configuration can't be used:\n{error}", err=True)
            sys.exit(2)


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


@main.command()
def serve() -> None:
    """Serve /metrics until SIGTERM or Ctrl-C."""
    settings = load()
    import uvicorn  # noqa: PLC0415 - the other commands need no server

    from exporter import logs  # noqa: PLC0415 - likewise
    from exporter.assembly import serving  # noqa: PLC0415 - likewise

    logs.configure(settings.log_format, settings.log_level)
    host, port = settings.listen_address()
    # After its own orderly end uvicorn raises the signal again: being told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.run(
        serving(settings),
        host=host,
        port=port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
