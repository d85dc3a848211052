"""Whatever happens between two scrapes, each one publishes exactly what a full recount finds."""

from dataclasses import dataclass

import pytest

from exporter.collectors import audit_sql
from exporter.holding import CountPolicy
from tests.happenings import living
from tests.looking import Clock, exporting
from tests.rows import writing

STEPS = 60


@dataclass(frozen=True)
class Way:
    """A way of counting, and what it relies on.

    Attributes:
        policy: What is believed, and how long.
        flush: Whether the writers publish their statistics at once.
        span: At how many ids the bisection of the audit log stops; its order is then relied on.
        track_counts: Whether the server keeps the statistics.
    """

    policy: CountPolicy
    flush: bool
    span: int | None = None
    track_counts: bool = True


WAYS = {
    "all tables are small": Way(CountPolicy(small_rows=10**9), flush=False),
    "all tables are large": Way(CountPolicy(small_rows=-1), flush=True),
    "the audit log is small, but long": Way(CountPolicy(small_rows=10**9), flush=False, span=20),
    "the audit log is large and long": Way(CountPolicy(small_rows=-1), flush=True, span=20),
    "the server keeps no statistics": Way(CountPolicy(small_rows=-1), flush=False, track_counts=False),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("way", WAYS)
async def test_every_scrape_equals_a_full_recount_whatever_has_happened(
    shape_url: str, way: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, clock = WAYS[way], Clock()
    monkeypatch.setattr(audit_sql, "SPAN", chosen.span or 10**9)
    if not chosen.track_counts:
        async with writing(shape_url) as writer:
            name = await writer.connection.fetchval("select current_database()")
            await writer.connection.execute(f"alter database {name} set track_counts = off")
    async with (
        living(shape_url, seed, clock, flush=chosen.flush, orderly=chosen.span is not None) as life,
        exporting(shape_url, zone="America/Los_Angeles", clock=clock, policy=chosen.policy) as exporter,
    ):
        await exporter.check()
        for step in range(STEPS):
            await life.go_on()
            try:
                await exporter.check()
            except AssertionError as error:
                story = "\n".join(life.story[-40:])
                raise AssertionError(f"after step {step}:\n{story}\n{error}") from None
