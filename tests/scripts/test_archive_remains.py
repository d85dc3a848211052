"""What is left of a chunk, or seems to be, is removed only if no audit event is lost with it."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import zstandard

from scripts.archive.restore import Wanted
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog, expand, first_id


@pytest.fixture
def deleted(live_log: AuditLog, archives: Archives) -> AuditLog:
    """An audit log of which old rows are in the archive only."""
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert archives.delete().rows
    return live_log


def chunk_of(archives: Archives, log: AuditLog, *, in_database: bool) -> str:
    """The key of a chunk whose rows are still in the database, or no longer."""
    ids = log.ids()
    return next(key for key in archives.files() if key.endswith(CHUNK) and (first_id(key) in ids) is in_database)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_that_lost_its_manifest_is_kept_if_its_rows_are_nowhere_else(
    deleted: AuditLog, archives: Archives, damaged: bool
) -> None:
    held = archives.rows()
    key = chunk_of(archives, deleted, in_database=False)
    manifest = archives.directory / f"{key}.json"
    text, content = manifest.read_bytes(), (archives.directory / key).read_bytes()
    manifest.unlink()
    if damaged:
        (archives.directory / key).write_bytes(content[:-50])
    deleted.add(3, days=60)
    for rows in (3, 0):
        ended = archives.archive()
        assert ended.code == Exit.NOT_VERIFIED
        assert f"{key} has no manifest, and its audit events were deleted from the database" in ended.error
        # All else was done.
        assert ended.details["rows"] == rows
        assert (archives.directory / key).exists()
    # As the message says.
    (archives.directory / key).write_bytes(content)
    manifest.write_bytes(text)
    assert archives.archive().code == 0
    assert held.items() <= archives.rows().items()


def test_a_file_without_a_manifest_is_kept_if_its_ids_were_given_to_other_rows(
    deleted: AuditLog, archives: Archives
) -> None:
    key = chunk_of(archives, deleted, in_database=False)
    ids = expand(json.loads((archives.directory / f"{key}.json").read_text())["ids"])
    (archives.directory / f"{key}.json").unlink()
    for number in ids:
        deleted.add(1, days=1, first=number)
    ended = archives.archive()
    assert (ended.code, ended.details["orphans_removed"]) == (Exit.NOT_VERIFIED, 0)
    assert f"{key} has no manifest, and its audit events were deleted from the database" in ended.error
    assert (archives.directory / key).exists()


def without_manifest(archives: Archives, log: AuditLog) -> Path:
    """Take the last chunk's manifest away, and see to it that its rows go into another chunk."""
    last = archives.directory / archives.last()
    last.with_name(f"{last.name}.json").unlink()
    log.add(3, days=11)
    return last


@pytest.mark.parametrize("change", ["damaged", "cut off", "a row differs", "a row is gone", "a column is gone"])
def test_a_file_without_a_manifest_is_kept_if_it_cannot_be_shown_to_hold_nothing_more(
    live_log: AuditLog, archives: Archives, change: str
) -> None:
    archives.archive()
    file = without_manifest(archives, live_log)
    live_log.execute("set session_replication_role = replica")
    why = "it can't be compared"
    match change:
        case "damaged":
            file.write_bytes(b"half")
        case "cut off":
            # A piece that can be unpacked, and all whose rows are elsewhere.
            piece = zstandard.ZstdDecompressor().stream_reader(file.read_bytes(), read_across_frames=True).read()
            file.write_bytes(zstandard.ZstdCompressor().compress(b"".join(piece.splitlines(keepends=True)[:3])))
        case "a row differs":
            live_log.execute("update audit_logs set notes = 'another' where id = $1", first_id(file.name))
            why = "1 of its audit events is neither in the database nor in another file"
        case "a row is gone":
            live_log.execute("delete from audit_logs where id = $1", first_id(file.name))
            why = "1 of its audit events is neither in the database nor in another file"
        case _:
            live_log.execute("alter table audit_logs drop column notes")
            why = "of its audit events can't be compared, for it has columns that public.audit_logs lacks by now"
    for _ in range(2):
        ended = archives.archive()
        assert (ended.code, ended.details["orphans_removed"]) == (Exit.NOT_VERIFIED, 0)
        assert f"{file.name} has no manifest, and " in ended.error
        assert why in ended.error
        assert file.exists()


def test_a_file_without_a_manifest_goes_if_other_files_hold_its_rows(live_log: AuditLog, archives: Archives) -> None:
    # What a value holds may look like the beginning of a row.
    live_log.add(50, days=11, notes='\n"5","2020-01-01 00:00:00"\n7,"x')
    archives.archive()
    file = without_manifest(archives, live_log)
    content = file.read_bytes()
    file.unlink()
    archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="30")
    file.write_bytes(content)
    live_log.execute("set session_replication_role = replica")
    live_log.execute(f"delete from audit_logs where {live_log.time} < now() - interval '10 days'")
    held = archives.rows()
    ended = archives.archive()
    assert (ended.code, ended.details["orphans_removed"]) == (0, 1), ended.error
    assert not file.exists()
    assert archives.rows() == held


def test_a_chunk_that_is_gone_with_its_manifest_is_told_if_its_rows_were_deleted(
    deleted: AuditLog, archives: Archives
) -> None:
    key = chunk_of(archives, deleted, in_database=False)
    for suffix in ("", ".json"):
        (archives.directory / f"{key}{suffix}").unlink()
    deleted.add(3, days=60)
    ended = archives.archive()
    assert ended.code == Exit.NOT_VERIFIED
    assert f"{key} is gone, whose audit events were deleted from the database" in ended.error
    assert ended.details["rows"] == 3


@pytest.mark.parametrize("lost", [[".json"], ["", ".json"]])
def test_nothing_is_restored_as_if_it_were_all_when_a_manifest_is_lost(
    deleted: AuditLog, archives: Archives, lost: list[str]
) -> None:
    held = archives.rows()
    key = chunk_of(archives, deleted, in_database=False)
    content = {path: path.read_bytes() for path in (archives.directory / f"{key}{suffix}" for suffix in lost)}
    for path in content:
        path.unlink()
    for dry_run in (True, False):
        ended = archives.restore(Wanted("restored"), dry_run=dry_run)
        assert ended.code == Exit.NOT_VERIFIED
        assert f"{key} {'is gone' if '' in lost else 'has no manifest'}" in ended.error
        assert "back from a copy of the archive" in ended.error
    assert deleted.value("select to_regclass('restored') is null")
    # What was asked for may be whole all the same.
    others = {number for number in held if number > max(held.keys() - deleted.ids())}
    assert archives.restore(Wanted("others", first=min(others))).rows == len(others)
    # As the message says.
    for path, text in content.items():
        path.write_bytes(text)
    assert archives.restore(Wanted("restored")).rows == len(held)


def test_what_a_killed_run_has_left_is_in_the_way_of_restoring_until_the_next_run(
    live_log: AuditLog, archives: Archives
) -> None:
    archives.archive()
    key = archives.last()
    (archives.directory / f"{key}.json").unlink()
    ended = archives.restore(Wanted("restored"))
    assert ended.code == Exit.NOT_VERIFIED
    assert f"{key} has no manifest" in ended.error
    assert "run `unioncore-ops archive`" in ended.error
    archives.archive()
    assert archives.restore(Wanted("restored")).rows == len(live_log.rows(days=10))


def test_a_year_that_was_moved_to_another_disk_and_linked_is_still_part_of_the_archive(
    live_log: AuditLog, archives: Archives
) -> None:
    archives.archive()
    held, files = archives.rows(), archives.files()
    year = next(path for path in archives.directory.iterdir() if path.is_dir())
    elsewhere = archives.directory.with_name("elsewhere")
    shutil.move(year, elsewhere)
    year.symlink_to(elsewhere)
    (archives.directory / "here").symlink_to(".")
    assert (archives.archive().rows, archives.show().details["chunks"][0]["rows"]) == (0, 400)
    assert sum(chunk["rows"] for chunk in archives.show().details["chunks"]) == len(held)
    (archives.directory / "here").unlink()
    year.unlink()
    shutil.move(elsewhere, year)
    assert archives.files() == files
    assert held == live_log.rows(days=10)


def test_the_time_of_grace_counts_from_the_later_of_two_clocks(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    for key in archives.files():
        if key.endswith(MANIFEST):
            path = archives.directory / key
            path.write_text(json.dumps(json.loads(path.read_text()) | {"finished_at": "2001-01-01T00:00:00Z"}))
    before = live_log.ids()
    ended = archives.delete(UNIONCORE_ARCHIVE_GRACE_DAYS="1")
    assert (ended.code, ended.rows) == (0, 0)
    assert ended.details["chunks_in_grace"]
    assert live_log.ids() == before


@pytest.mark.parametrize("limit", [100, 6_000])
def test_a_disk_that_is_full_is_told_and_the_next_run_goes_on(
    live_log: AuditLog, archives: Archives, limit: int
) -> None:
    archives.archive(ARCHIVE_THRESHOLD_DAYS="20", UNIONCORE_ARCHIVE_CHUNK_ROWS="100")
    before = archives.files()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        ended = archives.archive(ARCHIVE_THRESHOLD_DAYS="10", UNIONCORE_ARCHIVE_CHUNK_ROWS="1000")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (ended.code, ended.rows) == (Exit.NO_SPACE, None)
    assert archives.files() == before
    assert archives.archive().code == 0
    assert archives.rows() == live_log.rows(days=10)
