"""Generated data: a plausible union local, in either shape of the database and at any size.

The same arguments make the same rows. Run `python -m scripts.dev.generate --help` for the command.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from scripts.embedded.postgres import PostgresError, psql

SHAPES = Path(__file__).with_name("shapes")

Shape = Literal["live", "documented"]


@dataclass(frozen=True)
class Scale:
    """How many rows of each kind there are; every number is exact.

    Attributes:
        users: Staff accounts, at least 1.
        members: Members, at least 1.
        students: Apprentices, each one a member, so no more than there are.
        payments: Dues payments, spread over the months from `days` ago to the next one.
        audit_events: Rows of the audit log.
        days: How far back the audit log and the payments reach, in days.
        sessions: Refresh tokens: a third live, the others expired or revoked.
        email_tokens: Tokens that were mailed.
    """

    users: int
    members: int
    students: int
    payments: int
    audit_events: int
    days: int
    sessions: int
    email_tokens: int

    def __post_init__(self) -> None:
        if min(self.users, self.members, self.days) < 1 or min(asdict(self).values()) < 0:
            raise ValueError("users, members and days must be at least 1, and no number negative")
        if self.students > self.members:
            raise ValueError(f"{self.students} students are more than {self.members} members")


SCALES = {
    "small": Scale(20, 200, 60, 800, 2_000, 40, 60, 20),
    "demo": Scale(60, 3_000, 1_000, 13_000, 50_000, 365, 400, 120),
    "large": Scale(2_000, 120_000, 8_000, 2_000_000, 10_000_000, 365, 60_000, 20_000),
}
DEMO = SCALES["demo"]


def create(url: str, shape: Shape, scale: Scale = DEMO, *, seed: int = 1, now: datetime | None = None) -> None:
    """Create every table of a shape in an empty database and fill it, all or nothing.

    Args:
        url: The database, as `postgresql://user:password@host:port/name`.
        shape: The live shape or the documented one.
        scale: The numbers of rows.
        seed: Other seeds make other rows.
        now: The moment that the data leads up to, aware; the present one when left out.

    Raises:
        PostgresError: A statement failed; nothing was created.
        ValueError: `now` has no time zone.
    """
    moment = now or datetime.now(UTC)
    if moment.tzinfo is None:
        raise ValueError("now must have a time zone")
    files = [f"{shape}.sql", "data.sql", "audit.sql", "rest.sql", "constraints.sql"]
    # One transaction: with wal_level=minimal the tables made in it are filled without WAL. The flush keeps
    # the statistics of the load from arriving after those of the vacuum and being counted twice.
    body = [(SHAPES / name).read_text() for name in files]
    script = ["begin;", *body, "commit;", "select pg_stat_force_next_flush();", "vacuum (analyze);"]
    variables = {
        "live": "on" if shape == "live" else "off",
        "seed": str(seed),
        "now": moment.isoformat(),
        **{name: str(number) for name, number in asdict(scale).items()},
    }
    psql(url, "\\o /dev/null\n" + "\n".join(script), variables=variables)


@click.command(
    epilog="""\b
Examples:
  python -m scripts.dev.generate --url postgresql://postgres:secret@127.0.0.1/demo
  python -m scripts.dev.generate --url postgresql:///big --scale large --audit-rows 1000000
  python -m scripts.dev.generate --url postgresql:///old --shape documented --seed 7"""
)
@click.option("--url", envvar="DATABASE_URL", required=True, help="An empty database (or DATABASE_URL).")
@click.option("--shape", type=click.Choice(["live", "documented"]), default="live", show_default=True)
@click.option("--scale", "name", type=click.Choice(list(SCALES)), default="demo", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Other seeds make other rows.")
@click.option("--audit-rows", "audit_events", type=int, help="Rows of the audit log.")
@click.option("--payments", type=int, help="Dues payments.")
@click.option("--members", type=int, help="Members.")
@click.option("--students", type=int, help="Students, no more than members.")
@click.option("--users", type=int, help="Staff accounts.")
@click.option("--sessions", type=int, help="Refresh tokens.")
@click.option("--email-tokens", type=int, help="E-mailed tokens.")
@click.option("--days", type=int, help="Days that the audit log and the payments reach back.")
def main(url: str, shape: Shape, name: str, seed: int, **numbers: int | None) -> None:
    """Create UnionCore's tables in an empty database and fill them with plausible, seeded data."""
    started = time.monotonic()
    try:
        scale = replace(SCALES[name], **{key: number for key, number in numbers.items() if number is not None})
        create(url, shape, scale, seed=seed)
    except (PostgresError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"{shape}: {scale.members:,} members, {scale.payments:,} payments, {scale.audit_events:,}"
        f" audit events in {time.monotonic() - started:.1f} s"
    )


if __name__ == "__main__":
    main()
