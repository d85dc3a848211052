"""Retention never deletes what is needed, and deletes the rest."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from exporter.manifests import Manifest
from exporter.storage import Backup
from scripts.backup.retention import expired

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AGES = st.integers(-5, 200 * 24)
STORES = st.lists(st.tuples(AGES, st.booleans()), max_size=40)


def store(ages: list[tuple[int, bool]]) -> list[Backup]:
    """Backups by their age in hours, and whether a restore has proven them."""
    return [
        Backup(
            Manifest(f"b{number}", "a" * 64, 1, NOW - timedelta(hours=hours), NOW - timedelta(hours=hours)),
            NOW if proven else None,
        )
        for number, (hours, proven) in enumerate(ages)
    ]


def chosen(backups: list[Backup], days: float, keep: int) -> list[Backup]:
    return expired(backups, NOW.timestamp(), days=days, keep=keep)


@given(STORES, st.integers(0, 90), st.integers(-1, 12))
def test_what_goes_is_old_has_enough_newer_ones_and_is_not_the_newest_proven(
    ages: list[tuple[int, bool]], days: int, keep: int
) -> None:
    backups = store(ages)
    gone = chosen(backups, days, keep)
    left = [backup for backup in backups if backup not in gone]
    assert bool(left) == bool(backups)
    assert len(left) >= min(len(backups), keep)
    for backup in gone:
        finished = backup.manifest.finished_at
        assert NOW - finished > timedelta(days=days)
        assert sum(other.manifest.finished_at >= finished for other in left) >= max(1, keep)
    proven = [backup.manifest.finished_at for backup in backups if backup.verified_at]
    if proven:
        assert max(proven) in [backup.manifest.finished_at for backup in left if backup.verified_at]


@given(STORES, st.integers(0, 90), st.integers(1, 12))
def test_what_stays_is_young_or_among_the_newest_or_the_newest_proven(
    ages: list[tuple[int, bool]], days: int, keep: int
) -> None:
    backups = store(ages)
    gone = chosen(backups, days, keep)
    old = [
        backup for backup in backups if backup not in gone and NOW - backup.manifest.finished_at > timedelta(days=days)
    ]
    proven = any(backup.verified_at for backup in backups)
    assert len(old) <= keep + proven


@given(STORES, st.integers(0, 90), st.integers(1, 12))
def test_to_delete_twice_deletes_nothing_more(ages: list[tuple[int, bool]], days: int, keep: int) -> None:
    backups = store(ages)
    gone = chosen(backups, days, keep)
    assert chosen([backup for backup in backups if backup not in gone], days, keep) == []


def test_the_oldest_goes_first() -> None:
    backups = store([(24 * 40, False), (24 * 60, False), (24 * 50, False), (1, False)])
    assert [backup.manifest.name for backup in chosen(backups, 30, 1)] == ["b1", "b2", "b0"]
