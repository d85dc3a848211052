"""Audit events in no good order: imported with old dates, or with times that no calendar has."""

from datetime import UTC, datetime, timedelta

import pytest

from exporter.collectors.audit import AuditCollector
from exporter.counting import Row
from exporter.holding import CountPolicy, Taken
from tests.looking import Clock, exporting
from tests.rows import writing

# Each count is believed until the statistics move: the ids are followed.
FOLLOWING = CountPolicy(small_rows=-1)
MINUTE = timedelta(minutes=1)
EVENTS, NEWEST = "unioncore_audit_events", "unioncore_audit_last_event_timestamp_seconds"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


# A log of months, of which the last week has 1,100 rows at its end; ids are in the order of time.
ORDERLY = """
    insert into audit_logs (table_name, record_id, action, changed_at)
    select 'members', 1, 'UPDATE', timestamp '2026-03-04 12:00' - (20000 - i) * interval '9 minutes'
      from generate_series(1, 20000) i;
"""
ROWS_READ = """
    select (seq_tup_read + idx_tup_fetch)::bigint from pg_stat_user_tables where relid = 'audit_logs'::regclass
"""
ENDED = """
    do $$ begin
      while exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
                                                   and backend_type = 'client backend') loop
        perform pg_sleep(0.01), pg_stat_clear_snapshot();
      end loop;
    end $$
"""
IMPORTED = """
    insert into audit_logs (table_name, record_id, action, changed_at)
    select 'students', 1, 'INSERT', timestamp {begin} + i * interval '1 second' from generate_series(1, {rows}) i;
"""


@pytest.mark.parametrize("begin", ["'2019-01-01'", "'2026-02-20'", "'2025-12-24'"])
@pytest.mark.parametrize("rows", [200, 25_000])
async def test_events_that_are_imported_with_dates_of_long_ago_hide_none(live_url: str, begin: str, rows: int) -> None:
    clock = Clock(NOON + 30 * MINUTE)
    async with writing(live_url) as writer:
        await writer.connection.execute("truncate audit_logs")
        await writer.connection.execute(ORDERLY)
        async with exporting(live_url, clock=clock, policy=FOLLOWING) as exporter:
            await exporter.check()
            await writer.connection.execute(IMPORTED.format(begin=begin, rows=rows))
            for minutes in range(100):
                await writer.insert("audit_logs", changed_at=NOON + minutes * MINUTE / 5)
            await writer.connection.execute("select pg_stat_force_next_flush()")
            await exporter.check()
            exporter.reader.forget()
            await exporter.check()
        async with exporting(live_url, clock=clock, policy=FOLLOWING) as exporter:
            await exporter.check()


# Years of orderly events, with an import of old ones amid them.
OLD_IMPORT = """
    insert into audit_logs (table_name, record_id, action, changed_at)
    select 'members', 1, 'UPDATE', at
      from (select i, timestamp '2026-03-04 12:00' - (100000 - i) * interval '9 minutes' as at
              from generate_series(1, 100000) i
            union all
            select 50000.5, timestamp '2019-01-01' + i * interval '1 minute' from generate_series(1, 5000) i) event
     order by i, at;
"""


async def test_an_import_of_long_ago_does_not_make_every_survey_read_the_whole_table(live_url: str) -> None:
    async with writing(live_url) as writer:
        await writer.connection.execute("truncate audit_logs")
        await writer.connection.execute(OLD_IMPORT)
        await writer.connection.execute("select pg_stat_force_next_flush()")
        await writer.connection.execute("analyze audit_logs")
        before = await writer.connection.fetchval(ROWS_READ)
        async with exporting(live_url, clock=Clock(NOON + 30 * MINUTE), policy=FOLLOWING) as exporter:
            await exporter.look()
            assert exporter.errors == {}
        # The session has told its statistics before it ends.
        await writer.connection.execute(ENDED)
        read = await writer.connection.fetchval(ROWS_READ) - before
        # The window, both ends of the table, the probes, and the import itself.
        assert 0 < read < 50_000
        async with exporting(live_url, clock=Clock(NOON + 30 * MINUTE), policy=FOLLOWING) as exporter:
            await exporter.check()


async def test_events_that_came_in_amid_an_import_are_counted(live_url: str) -> None:
    async with writing(live_url) as writer:
        await writer.connection.execute("truncate audit_logs")
        await writer.connection.execute(ORDERLY.replace("12:00'", "12:00' - interval '8 days'"))
        await writer.connection.execute(
            """
            insert into audit_logs (table_name, record_id, action, changed_at)
            select 'students', 1, 'INSERT', case when i % 499 = 0 then timestamp '2026-02-26' + i * interval '1 second'
                                                 else timestamp '2019-01-01' + i * interval '1 second' end
              from generate_series(1, 30000) i;
            """
        )
        await writer.insert("audit_logs", changed_at=NOON)
        async with exporting(live_url, clock=Clock(NOON + 30 * MINUTE), policy=FOLLOWING) as exporter:
            await exporter.check()


ODD_TIMES = ["10000-01-01", "infinity", "-infinity", "0044-03-15 BC", "294276-12-31 23:59:59"]


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("rows", [3, 15_000])
async def test_an_event_with_a_time_beyond_any_calendar_costs_no_other_count(
    live_url: str, odd: str, rows: int
) -> None:
    async with writing(live_url) as writer:
        await writer.connection.execute("truncate audit_logs")
        await writer.connection.execute(
            "insert into audit_logs (table_name, record_id, action, changed_at)"
            f" select 'members', 1, 'UPDATE', now() - i * interval '1 minute' from generate_series({rows}, 1, -1) i"
        )
        for _ in range(2):
            async with exporting(live_url, policy=FOLLOWING) as exporter:
                before = await exporter.look()
                assert exporter.errors == {}
                # The id below it is missing.
                await writer.connection.execute(
                    "select nextval('audit_logs_id_seq');"
                    " insert into audit_logs (table_name, record_id, action, changed_at)"
                    f" values ('members', 1, 'UPDATE', '{odd}')"
                )
                await writer.insert("audit_logs")
                after = await exporter.look()
                assert exporter.errors == {}
                assert all(after[EVENTS, (window,)] == before[EVENTS, (window,)] + 1 for window in ("today", "7d"))
                newest = after[NEWEST, ()]
                assert 0 < newest <= exporter.clock.now.timestamp()


async def test_an_event_that_was_written_ahead_of_its_time_is_the_newest_when_that_has_come(shape_url: str) -> None:
    clock = Clock(NOON)
    async with writing(shape_url) as writer, exporting(shape_url, clock=clock, policy=FOLLOWING) as exporter:
        await writer.connection.execute("truncate audit_logs")
        for minutes in range(3):
            clock.at = NOON + minutes * MINUTE
            await exporter.check()
            await writer.insert("audit_logs", changed_at=clock.at + MINUTE)
            await exporter.check()


async def test_what_a_collector_cannot_take_in_costs_only_its_own_families(
    live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: AuditCollector, __: list[Row], ___: Taken) -> None:
        raise OverflowError

    async with exporting(live_url) as exporter:
        with monkeypatch.context() as patch:
            patch.setattr(AuditCollector, "absorb", fail)
            published = await exporter.look()
        assert exporter.errors == {"audit": "unexpected OverflowError: see the log"}
        assert "unioncore_members" in {family for family, _ in published}
        await exporter.check()
