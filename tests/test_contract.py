"""What is published is what the contract says."""

import platform
from pathlib import Path

import pytest

from exporter import __version__
from exporter.assembly import assemble
from exporter.board import Snapshot
from exporter.collectors.backups import BackupsSource
from exporter.contract import COLLECTORS, CONTRACT
from exporter.settings import load
from exporter.storage import LocalStore
from scripts.embedded.postgres import psql


async def look(url: str, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    monkeypatch.setenv("DATABASE_URL", url)
    parts = assemble(load())
    try:
        return await parts.scraper.scrape(5)
    finally:
        await parts.close()


def series(snapshot: Snapshot, family: str) -> set[tuple[str, ...]]:
    return {sample.labels for sample in snapshot.samples() if sample.family.name == family}


async def test_nothing_is_published_that_is_not_in_the_contract(
    shape_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    snapshot = await look(shape_url, monkeypatch)
    assert {sample.family for sample in snapshot.samples()} <= set(CONTRACT)
    assert set(COLLECTORS) - set(snapshot.outcomes) == {"backups"}
    assert set(snapshot.outcomes) - set(COLLECTORS) == {"backups_local"}
    assert COLLECTORS["backups"] == BackupsSource(LocalStore(tmp_path), database="").families


async def test_the_schema_is_told_column_by_column(
    live_url: str, documented_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = series(await look(live_url, monkeypatch), "unioncore_schema_info")
    documented = series(await look(documented_url, monkeypatch), "unioncore_schema_info")
    assert ("audit.time", "audit_logs", "changed_at") in live
    assert ("audit.time", "audit_logs", "created_at") in documented
    assert ("dues.paid", "dues_payments", "amount_paid") in live
    assert ("dues.paid", "dues_payments", "amount") in documented
    assert ("users.deleted", "users", "is_deleted") in live
    assert not {fact for fact, *_ in documented if fact.endswith(".deleted")}


async def test_a_fact_that_is_missing_has_no_series(live_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    psql(live_url, "alter table audit_logs rename changed_at to happened")
    snapshot = await look(live_url, monkeypatch)
    assert "audit.time" not in {fact for fact, *_ in series(snapshot, "unioncore_schema_info")}
    assert snapshot.outcomes["schema"].error is None


async def test_without_the_database_the_schema_is_not_told_but_what_runs_is(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = await look("postgresql://reader@127.0.0.1:1/unioncore", monkeypatch)
    assert series(snapshot, "unioncore_schema_info") == set()
    assert series(snapshot, "unioncore_exporter_build_info") == {(__version__, platform.python_version())}
    assert series(snapshot, "unioncore_up") == {()}
