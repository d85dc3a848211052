"""Audit events: bisection finds the right rows, and following the ids misses none and counts none twice."""

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate
from random import Random

import pytest

from exporter.collectors import audit_sql
from exporter.collectors.audit import AuditCollector
from exporter.holding import CountPolicy
from tests.looking import Clock, Exporter, exporting
from tests.recount import Counts
from tests.rows import Writer, writing

TOTAL = ("unioncore_audit_events_total", ("members", "update"))
TODAY = ("unioncore_audit_events", ("today",))
# Each count is believed until the statistics move: the ids are followed.
FOLLOWING = CountPolicy(small_rows=-1)
HALF_A_DAY = timedelta(hours=12)

# Three weeks of rows, each 30 s after the last; one in a hundred up to 90 s late, holes of 1 to 32 ids, and one
# great jump.
DISORDERLY = """
    insert into audit_logs (id, table_name, record_id, action, changed_at)
    select i + i / 97 + i / 1000 * 32 + case when i > 40000 then 1000000 else 0 end, 'members', 1, 'UPDATE',
           timestamp '2026-02-20' + (i * 30 - case when hashint4(i) % 100 = 0 then abs(hashint4(-i) % 90) else 0 end)
                                     * interval '1 second'
      from generate_series(1, 60000) i;
"""


def events(published: Counts) -> tuple[int, int]:
    return tuple(int(published["unioncore_audit_events", (window,)]) for window in ("today", "7d"))  # type: ignore[return-value]


def collector_of(exporter: Exporter) -> AuditCollector:
    (collector,) = (one for one in exporter.reader.collectors if isinstance(one, AuditCollector))
    return collector


@pytest.mark.parametrize("span", [1, 100])
async def test_the_bisected_counts_are_right_at_300_random_instants(
    live_url: str, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sql, "SPAN", span)
    async with writing(live_url) as writer:
        await writer.connection.execute("truncate audit_logs")
        await writer.connection.execute(DISORDERLY)
        rows = await writer.connection.fetch("select changed_at from audit_logs order by id")
    written = [row["changed_at"].replace(tzinfo=UTC) for row in rows]
    times = sorted(written)
    late = [(time, before) for time, before in zip(written, accumulate(written, max), strict=True) if time < before]
    assert len(times) == 60_000
    assert 200 < len(late) < 1000
    random, clock = Random(span), Clock()
    async with exporting(live_url, clock=clock) as exporter:
        for _ in range(150):
            # The windows begin where bisection is most easily led astray: between a late row and its neighbours.
            begin, end = random.choice(late)
            start = begin + (end - begin) * random.random()
            midnight = timedelta(hours=start.hour, minutes=start.minute, seconds=start.second) + timedelta(
                microseconds=start.microsecond
            )
            exporter.reader._zone = timezone(-midnight)  # type: ignore[assignment]
            today = start + timedelta(days=random.choice([0, 7]))
            now = clock.at = today + timedelta(days=random.random())
            expected = tuple(
                bisect_right(times, now) - bisect_left(times, one) for one in (today, today - timedelta(days=7))
            )
            assert events(await exporter.look()) == expected, now


@asynccontextmanager
async def followed(
    url: str, *, clock: Clock | None = None, policy: CountPolicy = FOLLOWING, rows: int = 3
) -> AsyncIterator[tuple[Exporter, Writer, Writer]]:
    """Lend an exporter, a writer and one whose transactions stay open, where there are few rows or none."""
    clock = clock or Clock()
    async with writing(url) as writer, writing(url) as late:
        await writer.connection.execute("truncate audit_logs")
        for _ in range(rows):
            await writer.insert("audit_logs")
        async with exporting(url, clock=clock, policy=policy) as exporter:
            yield exporter, writer, late


async def publish(writer: Writer) -> None:
    """Publish the statistics of what the writer's next statement commits."""
    await writer.connection.execute("select pg_stat_force_next_flush()")


async def test_the_first_events_of_an_empty_table_are_all_seen(shape_url: str) -> None:
    async with followed(shape_url, rows=0) as (exporter, writer, _):
        published = await exporter.check()
        assert events(published) == (0, 0)
        assert not any(name == TOTAL[0] for name, _ in published)
        await writer.insert("audit_logs")
        await writer.insert("audit_logs")
        published = await exporter.check()
        assert published[TOTAL] == 2


async def test_what_was_there_at_the_start_is_not_counted_as_seen(shape_url: str) -> None:
    async with followed(shape_url, rows=1) as (exporter, writer, _):
        assert (await exporter.check())[TOTAL] == 0
        await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 1


@pytest.mark.parametrize("span", [1, 10_000])
async def test_a_leap_of_the_sequence_to_its_end_loses_nothing(
    live_url: str, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sql, "SPAN", span)
    async with followed(live_url) as (exporter, writer, late):
        await exporter.check()
        transaction = late.connection.transaction()
        await transaction.start()
        await late.insert("audit_logs")
        await writer.connection.execute("select setval('audit_logs_id_seq', 2147483646)")
        await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 1
        await transaction.commit()
        assert (await exporter.check())[TOTAL] == 2
        exporter.reader.forget()
        assert (await exporter.check())[TOTAL] == 2


@pytest.mark.parametrize("policy", [FOLLOWING, CountPolicy(small_rows=10**9)], ids=["follow", "survey"])
async def test_a_row_that_commits_after_rows_with_higher_ids_is_seen(shape_url: str, policy: CountPolicy) -> None:
    async with followed(shape_url, policy=policy) as (exporter, writer, late):
        await exporter.check()
        transaction = late.connection.transaction()
        await transaction.start()
        for _ in range(3):
            await late.insert("audit_logs")
            await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 3
        await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 4
        await transaction.commit()
        assert (await exporter.check())[TOTAL] == 7
        assert (await exporter.check())[TOTAL] == 7


async def test_a_row_that_commits_hours_later_is_seen_whatever_the_order_of_the_transactions(shape_url: str) -> None:
    # The number of the transaction that is late is higher than that of the one that is seen: the snapshot
    # that shows the gap does not list it among those in progress.
    async with followed(shape_url) as (exporter, writer, late):
        await exporter.check()
        early = writer.connection.transaction()
        await early.start()
        await writer.connection.execute("select pg_current_xact_id()")
        transaction = late.connection.transaction()
        await transaction.start()
        await late.connection.execute("select pg_current_xact_id()")
        await late.insert("audit_logs")
        await writer.insert("audit_logs")
        await early.commit()
        assert (await exporter.check())[TOTAL] == 1
        for _ in range(3):
            exporter.clock.offset += timedelta(hours=1)
            await exporter.check()
        await transaction.commit()
        assert (await exporter.check())[TOTAL] == 2


async def test_a_row_is_seen_whose_transaction_had_been_open_for_long_when_the_exporter_started(
    shape_url: str,
) -> None:
    clock = Clock()
    clock.offset = timedelta(hours=3)
    async with followed(shape_url, clock=clock) as (exporter, writer, late):
        transaction = late.connection.transaction()
        await transaction.start()
        await late.insert("audit_logs")
        await writer.insert("audit_logs")
        await exporter.check()
        await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 1
        await transaction.commit()
        assert (await exporter.check())[TOTAL] == 2


async def test_a_row_is_seen_whose_transaction_had_its_id_but_no_number_yet(shape_url: str) -> None:
    async with followed(shape_url) as (exporter, writer, late):
        await exporter.check()
        while True:
            transaction = late.connection.transaction()
            await transaction.start()
            taken = await late.connection.fetchval("select nextval(pg_get_serial_sequence('audit_logs', 'id'))")
            if await late.connection.fetchval("select pg_current_xact_id_if_assigned()") is None:
                break
            # The sequence itself has written: it does so now and then.
            await transaction.rollback()
        for number in range(1, 4):
            await writer.insert("audit_logs")
            assert (await exporter.check())[TOTAL] == number
        exporter.clock.offset = timedelta(minutes=9)
        await exporter.check()
        await late.insert("audit_logs", id=taken)
        exporter.clock.offset = timedelta(hours=9)
        await exporter.check()
        await exporter.check()
        await transaction.commit()
        assert (await exporter.check())[TOTAL] == 4


async def test_a_late_row_is_seen_though_the_newest_ones_have_been_removed(shape_url: str) -> None:
    async with followed(shape_url) as (exporter, writer, late):
        transaction = late.connection.transaction()
        await transaction.start()
        await late.insert("audit_logs")
        await writer.insert("audit_logs")
        newest = await writer.insert("audit_logs")
        await exporter.check()
        async with writer.connection.transaction():
            await writer.connection.execute("set local session_replication_role = replica")
            await writer.connection.execute("delete from audit_logs where id = $1", newest)
            await publish(writer)
        before = await exporter.check()
        await transaction.commit()
        after = await exporter.check()
        assert after[TOTAL] - before[TOTAL] == 1
        assert events(after)[0] - events(before)[0] == 1


async def test_a_table_that_begins_anew_is_followed_from_its_new_beginning(shape_url: str) -> None:
    async with followed(shape_url, rows=50) as (exporter, writer, late):
        await exporter.check()
        await writer.connection.execute("truncate audit_logs restart identity")
        transaction = late.connection.transaction()
        await transaction.start()
        await late.insert("audit_logs")
        await writer.insert("audit_logs")
        before = await exporter.look()
        assert events(before) == (1, 1)
        await writer.insert("audit_logs")
        await transaction.commit()
        after = await exporter.look()
        assert events(after) == (3, 3)
        assert after[TOTAL] - before[TOTAL] == 2


async def test_an_event_is_not_counted_before_its_time_though_the_clock_is_set_back(shape_url: str) -> None:
    async with followed(shape_url) as (exporter, writer, _):
        exporter.clock.at = datetime.now(UTC)
        await exporter.check()
        exporter.clock.at += timedelta(seconds=2)
        await writer.insert("audit_logs", changed_at=exporter.clock.at)
        later = events(await exporter.check())
        exporter.clock.at -= timedelta(seconds=1)
        assert events(await exporter.check())[0] == later[0] - 1


async def test_events_that_a_failed_look_did_not_see_are_seen_by_the_next(shape_url: str) -> None:
    async with followed(shape_url) as (exporter, writer, _):
        await exporter.check()
        await writer.insert("audit_logs")
        await writer.connection.execute("alter table audit_logs rename to elsewhere")
        await exporter.look()
        assert "audit" in exporter.errors
        await writer.connection.execute("alter table elsewhere rename to audit_logs")
        await writer.insert("audit_logs")
        assert (await exporter.check())[TOTAL] == 2


async def test_a_gap_is_forgotten_once_no_transaction_can_fill_it(live_url: str) -> None:
    async with followed(live_url) as (exporter, writer, late):
        collector = collector_of(exporter)
        await exporter.check()
        for _ in range(20):
            transaction = late.connection.transaction()
            await transaction.start()
            await late.insert("audit_logs")
            await transaction.rollback()
            await writer.insert("audit_logs")
        await exporter.check()
        assert len(collector._gaps) >= 20
        exporter.clock.offset = HALF_A_DAY
        for _ in range(20):
            # The server's own vacuum may be in progress.
            await writer.insert("audit_logs")
            await exporter.check()
            if not collector._gaps:
                break
        assert collector._gaps == []


async def test_beyond_some_hundred_tables_their_events_are_counted_together_and_none_is_lost(live_url: str) -> None:
    async with writing(live_url) as writer, exporting(live_url) as exporter:
        await exporter.look()
        for batch in range(2):
            await writer.connection.execute(
                "insert into audit_logs (table_name, record_id, action) select 'made_' || number, '1', action"
                " from generate_series($1::int, $1 + 599) number, unnest(array['UPDATE', 'DELETE']) action",
                batch * 600,
            )
            published = await exporter.look()
        totals = {labels: count for (name, labels), count in published.items() if name == TOTAL[0]}
        assert len(totals) <= 520
        assert sum(totals.values()) == 2400
        assert sum(count for (_, action), count in totals.items() if action == "delete") == 1200
        assert totals["other", "delete"] > 800
