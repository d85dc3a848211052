"""Labels that the code does not know, or knows in another case, count as what they mean."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from exporter.holding import CountPolicy
from tests.looking import Clock, Inserts, changed_by, exporting
from tests.rows import Writer, writing

NOW = datetime.now(UTC).replace(hour=12)
TODAY = NOW.date()
SMALL = CountPolicy(small_rows=10**9)
COLLECTED = "unioncore_dues_collected_dollars"


@pytest.fixture
async def live_writer(live_url: str) -> AsyncIterator[Writer]:
    async with writing(live_url) as writer:
        yield writer


NEW_LABELS = {"memberstatus": "EMERITUS", "duespaymentstatus": "In Dispute", "duespaymentmethod": "Zelle"}


@pytest.mark.parametrize("small_rows", [-1, 10**9])
async def test_an_enum_label_that_is_added_while_the_exporter_runs_gets_its_own_series(
    live_url: str, live_writer: Writer, small_rows: int
) -> None:
    async with exporting(live_url, clock=Clock(NOW), policy=CountPolicy(small_rows=small_rows)) as exporter:
        await exporter.check()
        for name, new in NEW_LABELS.items():
            await live_writer.connection.execute(f"alter type {name} add value '{new}'")
        await live_writer.connection.execute("select pg_stat_force_next_flush()")
        await live_writer.insert("members", status="EMERITUS")
        await live_writer.insert("dues_payments", status="In Dispute", amount_due=9)
        await live_writer.insert(
            "dues_payments", status="PAID", payment_date=TODAY, payment_method="Zelle", amount_due=7, amount_paid=7
        )
        await live_writer.connection.execute("select pg_stat_force_next_flush()")
        published = await exporter.look()
    assert not exporter.errors
    assert published["unioncore_members", ("emeritus", "foreman")] == 1
    assert published["unioncore_dues_payments", ("in dispute",)] == 1
    assert published["unioncore_dues_outstanding_dollars", ("in dispute",)] == 9
    assert published["unioncore_dues_collected_dollars", ("today", "zelle")] == 7


async def test_a_label_for_completed_that_is_added_while_the_exporter_runs_counts_as_completed(
    live_url: str, live_writer: Writer
) -> None:
    async with exporting(live_url, clock=Clock(NOW), policy=SMALL) as exporter:
        before = await exporter.check()
        await live_writer.connection.execute("alter type duespaymentstatus add value 'COMPLETED'")
        await live_writer.insert("dues_payments", status="COMPLETED", payment_date=TODAY, amount_due=7, amount_paid=7)
        after = await exporter.look()
    assert after[COLLECTED, ("today", "unknown")] - before[COLLECTED, ("today", "unknown")] == 7


async def test_a_status_that_becomes_lower_case_text_while_the_exporter_runs_still_means_the_same(
    live_url: str, live_writer: Writer
) -> None:
    async with exporting(live_url, clock=Clock(NOW), policy=SMALL) as exporter:
        before = await exporter.check()
        await live_writer.connection.execute(
            "alter table dues_payments alter status type text using lower(status::text)"
        )
        after = await exporter.look()
    collected = {key: value for key, value in before.items() if key[0] == COLLECTED}
    assert any(collected.values())
    assert collected.items() <= after.items()


async def test_text_statuses_are_one_whatever_their_case_and_new_words_are_series(documented_url: str) -> None:
    rows: Inserts = [
        ("members", {"status": status, "classification": word})
        for status, word in (("Active", "Foreman"), ("aCTIVE", "FOREMAn"), ("on strike", "lineman"))
    ]
    rows += [
        ("dues_payments", {"status": status, "payment_date": TODAY, "payment_method": method, "amount_due": 10})
        for status, method in (("Completed", "Check"), ("cOMPLETED", "cHECK"), ("bounced", "check"), ("lost", None))
    ]
    # A status that is new owes nothing, which is a number too.
    rows += [("dues_payments", {"status": "gift", "amount_due": 0})]
    rows += [("students", {"status": "Active"}), ("students", {"status": "visiting"})]
    async with writing(documented_url) as writer:
        published = await changed_by(documented_url, writer, rows, zone="UTC", now=NOW)
    assert published == {
        ("members", "active", "foreman"): "2",
        ("members", "on strike", "lineman"): "1",
        ("dues_payments", "completed"): "2",
        ("dues_payments", "bounced"): "1",
        ("dues_payments", "lost"): "1",
        ("dues_payments", "gift"): "1",
        ("dues_outstanding_dollars", "bounced"): "10.00",
        ("dues_outstanding_dollars", "lost"): "10.00",
        ("dues_collected_dollars", "today", "check"): "20.00",
        ("dues_collected_dollars", "7d", "check"): "20.00",
        ("dues_collected_dollars", "30d", "check"): "20.00",
        ("students", "active"): "1",
        ("students", "visiting"): "1",
    }
