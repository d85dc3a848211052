"""What else lies where backups are kept, and a clock or a document that can't be trusted, cost no backup."""

import errno
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.backup import catalog, sealing
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, close, opened


def test_a_manifest_that_cannot_be_read_counts_as_no_backup_and_stops_nothing(
    jobs: Jobs, backup: Path, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == f"{backup.name}.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        ended = jobs.backup(live_url, RETENTION_DAYS="1", UNIONCORE_MIN_KEEP="1")
        assert jobs.backup(live_url).code == Exit.OK
        assert f'file={backup.name}.json reason="it cannot be read (Permission denied)"' in jobs.log
    assert ended.code == Exit.OK, ended.error
    assert jobs.names()[:2] == [backup.name, ended.details["name"]]
    assert jobs.verify().code == Exit.OK


@pytest.mark.parametrize("hours", [-30, 30])
def test_with_a_clock_that_is_wrong_nothing_is_dated_or_deleted(
    jobs: Jobs, backup: Path, live_url: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    off = f"clock_timestamp() - interval '{hours} h'"
    monkeypatch.setattr(catalog, "DATABASE", catalog.DATABASE.replace("clock_timestamp()", off))
    ended = jobs.backup(live_url)
    assert ended.code == Exit.REFUSED
    assert "this machine's clock and the database's are 30.0 h apart" in ended.error
    assert jobs.names() == [backup.name]


def test_a_dump_whose_manifest_cannot_be_made_is_not_left_behind(
    jobs: Jobs, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MAX_DOCUMENT", 1000)
    ended = jobs.backup(live_url)
    assert (ended.code, "the database has too many objects" in ended.error) == (Exit.FAILED, True)
    assert [path.name for path in jobs.backups.iterdir() if path.is_file()] == []


def test_backups_of_another_database_in_the_same_place_are_left_alone_and_not_mistaken(
    jobs: Jobs, backup: Path, live_url: str, documented_url: str
) -> None:
    other = documented_url.rpartition("/")[2]
    assert jobs.backup(documented_url, UNIONCORE_MIN_KEEP="1").code == Exit.OK
    (theirs,) = set(jobs.names()) - {backup.name}
    manifest, facts = opened(jobs.backups / theirs)
    close(jobs.backups / theirs, replace(manifest, finished_at=manifest.finished_at - timedelta(days=90)), facts)
    ended = jobs.backup(live_url, UNIONCORE_MIN_KEEP="1")
    assert (ended.code, ended.details["deleted"]) == (Exit.OK, {"local": []})
    assert other in jobs.log
    assert theirs in jobs.names()
    # The newest is the other one's.
    assert jobs.backup(documented_url).code == Exit.OK
    assert jobs.verify(DATABASE_URL=live_url).details["name"] == ended.details["name"]
    refused = jobs.verify(DATABASE_URL="")
    assert (refused.code, "has backups of several databases" in refused.error) == (Exit.REFUSED, True)


def test_a_stray_file_beside_the_backups_is_no_newest_backup(jobs: Jobs, backup: Path) -> None:
    del backup
    for name in ("zabbix.json", "unioncore-notes.json", "unioncore-99991231T000000000Z.dump.notes.json"):
        (jobs.backups / name).write_text("{}")
    ended = jobs.verify()
    assert ended.code == Exit.OK, ended.error
