"""`archive --delete` takes out only what is archived, verified and old enough; whatever goes wrong, nothing is lost."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from scripts.archive.restore import Wanted
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog


@pytest.fixture
def guarded_live(live_log: AuditLog, archives: Archives) -> AuditLog:
    """The same of the live shape."""
    archives.archive()
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    return live_log


def test_with_the_triggers_on_and_no_guard_it_ends_at_once(audit_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    everything = audit_log.ids()
    ended = archives.delete(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert "install it, by `unioncore-ops archive install-guard`" in ended.error
    assert audit_log.ids() == everything


def test_archived_rows_that_are_old_enough_are_deleted_and_no_others(guarded: AuditLog, archives: Archives) -> None:
    everything, old = guarded.ids(), guarded.rows(days=30)
    held = archives.rows()
    ended = archives.delete()
    assert ended.code == 0, ended.error
    gone = everything - guarded.ids()
    assert ended.rows == len(gone) > 0
    assert gone <= old.keys()
    # Only whole chunks go, and they are of 400 rows.
    assert len(old) - len(gone) < 400
    assert archives.rows() == held
    assert gone <= held.keys()
    again = archives.delete()
    assert (again.code, again.rows) == (0, 0)


def test_the_triggers_stay_on(guarded_live: AuditLog, archives: Archives) -> None:
    archives.delete()
    one = max(guarded_live.ids())
    for statement in (
        f"delete from audit_logs where id = {one}",
        f"update audit_logs set notes = 'x' where id = {one}",
        "truncate audit_logs",
    ):
        with pytest.raises(Exception, match="Audit logs are immutable"):
            guarded_live.execute(statement)


def test_archiving_goes_on_after_deleting_and_nothing_is_archived_again(guarded: AuditLog, archives: Archives) -> None:
    everything = guarded.rows()
    archives.delete()
    held = archives.rows()
    late = guarded.add(2, days=60)
    ended = archives.archive()
    assert (ended.code, ended.rows) == (0, 2)
    assert archives.rows() == held | {number: guarded.rows()[number] for number in (late, late + 1)}
    assert everything.items() <= (archives.rows() | guarded.rows()).items()


def test_two_runs_in_a_month_lose_nothing(live_log: AuditLog, archives: Archives) -> None:
    """The naive job lost 100 of 500 rows so: it paged by OFFSET while it deleted, and overwrote the month's file."""
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs")
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    live_log.add(400, days=50)
    everything = live_log.rows()
    for rows in (400, 100):
        assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="100").rows == rows
        assert archives.delete().rows == rows
        assert live_log.ids() == set()
        if rows == 400:
            live_log.add(100, days=50)
            everything |= live_log.rows()
    assert len(everything) == 500
    assert archives.rows() == everything
    assert archives.restore(Wanted('"audit_logs_restored"')).rows == 500


@pytest.mark.parametrize("damage", ["a bit is flipped", "it is cut off", "it is another chunk's", "it is gone"])
def test_nothing_of_a_chunk_whose_file_is_damaged_is_deleted(
    guarded_live: AuditLog, archives: Archives, damage: str
) -> None:
    one, other = [archives.directory / key for key in archives.files() if key.endswith(CHUNK)][:2]
    content = bytearray(one.read_bytes())
    content[len(content) // 2] ^= 8
    if damage == "it is gone":
        one.unlink()
    else:
        new = {"a bit is flipped": content, "it is cut off": content[:-9]}
        one.write_bytes(new.get(damage) or other.read_bytes())
    everything = guarded_live.ids()
    ended = archives.delete()
    assert ended.code == Exit.NOT_VERIFIED
    assert str(one) in ended.error
    assert guarded_live.ids() == everything


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("update audit_logs set notes = 'changed' where id = 7", "their digest is another"),
        ("delete from audit_logs where id = 7", "399 of 400 rows are there"),
        (
            "alter table audit_logs add reviewed text; update audit_logs set reviewed = 'x' where id = 7",
            "a column that",
        ),
        ("alter table audit_logs rename notes to remarks", "columns that public.audit_logs lacks by now (notes)"),
    ],
)
def test_rows_that_are_not_those_of_the_archive_are_not_deleted(
    guarded_live: AuditLog, archives: Archives, change: str, says: str
) -> None:
    guarded_live.execute(f"set session_replication_role = replica; {change}")
    everything = guarded_live.ids()
    ended = archives.delete()
    assert ended.code == Exit.NOT_VERIFIED
    assert says in ended.error
    assert guarded_live.ids() == everything


def test_a_column_that_came_later_and_is_empty_is_in_the_way_of_nothing(
    guarded_live: AuditLog, archives: Archives
) -> None:
    guarded_live.execute("alter table audit_logs add reviewed text")
    assert archives.delete().rows


def test_rows_stay_for_as_long_as_the_operator_wants(guarded_live: AuditLog, archives: Archives) -> None:
    everything = guarded_live.ids()
    ended = archives.delete(UNIONCORE_AUDIT_RETENTION_DAYS="2500")
    assert (ended.code, ended.rows, ended.details["chunks_too_young"]) == (0, 0, len(archives.files()) // 2)
    ended = archives.delete(UNIONCORE_AUDIT_RETENTION_DAYS="30", UNIONCORE_ARCHIVE_GRACE_DAYS="1")
    assert (ended.code, ended.rows) == (0, 0)
    assert ended.details["chunks_in_grace"] > 0
    archives.use(UNIONCORE_AUDIT_RETENTION_DAYS="")
    ended = archives.delete()
    assert ended.code == Exit.REFUSED
    assert "set UNIONCORE_AUDIT_RETENTION_DAYS" in ended.error
    assert guarded_live.ids() == everything


def test_the_guard_itself_knows_how_old_rows_must_be(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="2557")
    everything = live_log.ids()
    ended = archives.delete(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert "younger than 2557 days, which the guard never deletes" in ended.error
    assert live_log.ids() == everything


def test_a_dry_run_deletes_nothing(guarded_live: AuditLog, archives: Archives) -> None:
    everything = guarded_live.ids()
    would = archives.delete(dry_run=True)
    assert would.code == 0
    assert guarded_live.ids() == everything
    assert archives.delete().rows == would.rows


def test_rows_that_come_late_into_an_archived_range_stay(guarded_live: AuditLog, archives: Archives) -> None:
    # The generated ids have gaps: this is one.
    late = min(set(range(1, 400)) - guarded_live.ids())
    guarded_live.add(1, days=45, first=late)
    assert archives.delete().rows
    assert late in guarded_live.ids()
    assert archives.archive().rows == 1
    assert archives.delete().rows
    assert late not in guarded_live.ids()
    assert late in archives.rows()


def test_inserts_go_on_while_rows_are_being_deleted(guarded_live: AuditLog, archives: Archives, live_url: str) -> None:
    other = AuditLog(live_url)
    other.execute("begin")
    first = other.add(3, days=0)
    assert archives.delete().rows
    other.execute("commit")
    other.close()
    assert {first, first + 1, first + 2} <= guarded_live.ids()


def test_rows_that_another_session_holds_are_not_waited_for_long(
    guarded_live: AuditLog, archives: Archives, live_url: str
) -> None:
    other = AuditLog(live_url)
    other.execute("begin")
    other.execute("select from audit_logs where id = 7 for update")
    everything = guarded_live.ids()
    began = datetime.now(UTC)
    ended = archives.delete()
    assert datetime.now(UTC) - began < timedelta(seconds=20)
    assert ended.code == Exit.FAILED
    assert "another session holds the table" in ended.error
    other.execute("rollback")
    other.close()
    assert guarded_live.ids() == everything


def test_a_manifest_that_was_made_up_deletes_nothing(guarded_live: AuditLog, archives: Archives) -> None:
    path = next(archives.directory / key for key in archives.files() if key.endswith(MANIFEST))
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"digest": "0" * 64}))
    everything = guarded_live.ids()
    ended = archives.delete()
    assert ended.code == Exit.NOT_VERIFIED
    assert "its digest is not what its manifest says" in ended.error
    assert guarded_live.ids() == everything
