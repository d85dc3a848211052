"""The parts of docker-compose's profile `demo` that no real site has: its secrets, its data, the application.

Run `python -m scripts.dev.containers --help` for the commands.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from urllib.parse import quote

import click
import uvicorn

from scripts.dev.generate import create
from scripts.dev.stack import CLOSE_TRUNCATE
from scripts.dev.trickle import trickle
from scripts.dev.unioncore import StandIn
from scripts.embedded.postgres import psql

SECRETS = Path("/run/secrets")
READY = Path("/tmp/ready")

_SINK = "http://sink:9999"
_NOTIFIED = ("page", "slack", "desk", "heartbeat")
"""The services of the sink that alerts go to; each has its URL in a file."""


@click.group()
def main() -> None:
    """Parts of docker-compose's profile demo."""


@main.command("secrets")
@click.option("--directory", type=click.Path(path_type=Path), default=SECRETS, show_default=True)
def make_secrets(directory: Path) -> None:
    """Make what is secret, each in a file of its own; what is there already stays."""
    password = _keep(directory / "database_password", secrets.token_urlsafe(24))
    _keep(directory / "database_url", f"postgresql://unioncore:{quote(password)}@database/unioncore")
    _keep(directory / "push_token", secrets.token_urlsafe(24))
    _keep(directory / "grafana_admin_password", secrets.token_urlsafe(12))
    for service in _NOTIFIED:
        _keep(directory / f"{service}_url", f"{_SINK}/{service}/")


@main.command()
def data() -> None:
    """Make the demo's data if there is none, and let things happen in it."""
    url = _url()
    if psql(url, "select to_regclass('audit_logs') is null") == "t":
        began = time.monotonic()
        create(url, "live")
        psql(url, CLOSE_TRUNCATE)
        click.echo(f"made the data in {time.monotonic() - began:.0f} s")
    READY.touch()
    asyncio.run(trickle(url))


@main.command()
def application() -> None:
    """Answer as UnionCore's health endpoints do."""
    uvicorn.run(StandIn(_url()).app, host="0.0.0.0", port=8000, log_level="warning", timeout_graceful_shutdown=1)


def _keep(path: Path, value: str) -> str:
    """Write a file that is not there yet, whole, readable for the users of all images; return what it holds."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_text(value)
        partial.chmod(0o444)
        partial.rename(path)
    return path.read_text()


def _url() -> str:
    return (SECRETS / "database_url").read_text()


if __name__ == "__main__":
    main()
