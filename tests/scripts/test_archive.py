"""Old audit events go into the archive once: all of them, none twice, and nothing is lost or overwritten."""

import json

import pytest

from scripts.archive import extract
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog, expand

NASTY = (
    "",
    "\\N",
    "\\.",
    'one "quoted" word',
    '"',
    '\n"1","2"\n',
    "ends with a line end\n",
    "\r\n,;\t",
    "ünïcødé 組合 \U0001f5f3",
    "NULL",
    "a\\nb",
)


def ids_of(archives: Archives) -> list[str]:
    """The ids of each chunk, in the order of their keys."""
    return [json.loads(text)["ids"] for key, text in archives.files().items() if key.endswith(MANIFEST)]


def test_every_old_row_goes_out_once_and_stays_in_the_database(audit_log: AuditLog, archives: Archives) -> None:
    for note in NASTY:
        audit_log.add(1, days=11, notes=note)
    old, everything = audit_log.rows(days=10), audit_log.ids()
    ended = archives.archive()
    assert (ended.code, ended.rows, ended.error) == (0, len(old), "")
    assert archives.rows() == old
    assert audit_log.ids() == everything
    files = archives.files()
    assert ended.details["chunks"] == len(files) // 2 == -(-len(old) // 400)
    assert ended.details["bytes"] == sum(len(text) for key, text in files.items() if key.endswith(CHUNK))


@pytest.mark.usefixtures("audit_log")
def test_the_next_run_archives_nothing_again(archives: Archives) -> None:
    archives.archive()
    files = archives.files()
    for _ in range(2):
        ended = archives.archive()
        assert (ended.code, ended.rows) == (0, 0)
        assert archives.files() == files


def test_what_was_archived_without_a_bucket_is_kept(live_log: AuditLog, archives: Archives) -> None:
    assert archives.archive().details["location"] == str(archives.directory)
    assert archives.rows() == live_log.rows(days=10)


def test_the_next_run_takes_what_has_grown_old_since(audit_log: AuditLog, archives: Archives) -> None:
    first = archives.archive(ARCHIVE_THRESHOLD_DAYS="20")
    files = archives.files()
    second = archives.archive(ARCHIVE_THRESHOLD_DAYS="10")
    assert first.rows
    assert second.rows
    assert archives.rows() == audit_log.rows(days=10)
    assert files.items() <= archives.files().items()


def test_rows_that_are_committed_late_go_out_alone(audit_log: AuditLog, archives: Archives, shape_url: str) -> None:
    late = AuditLog(shape_url)
    late.execute("begin")
    first = late.add(3, days=12, step=2)
    audit_log.add(500, days=11)
    archives.archive()
    before = ids_of(archives)
    assert not {first, first + 2, first + 4} & archives.rows().keys()
    late.execute("commit")
    late.close()
    assert archives.archive().rows == 3
    assert f"{first},{first + 2},{first + 4}" in ids_of(archives)
    assert len(ids_of(archives)) == len(before) + 1
    assert archives.rows() == audit_log.rows(days=10)
    assert archives.archive().rows == 0


def test_gaps_that_fill_later_are_not_missed(live_log: AuditLog, archives: Archives) -> None:
    live_log.add(10, days=30, first=1_000_000, step=10)
    live_log.add(10, days=30, first=2_000_000, step=10)
    archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="10")
    # Before, between and in the chunks, and after them.
    for first in (999_999, 1_000_005, 1_500_000, 2_000_003, 3_000_000):
        live_log.add(1, days=30, first=first)
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="10").rows == 5
    assert archives.rows() == live_log.rows(days=10)
    live_log.add(35, days=30, first=1_500_001)
    assert archives.archive(UNIONCORE_ARCHIVE_CHUNK_ROWS="10").rows == 35
    assert archives.archive().rows == 0
    assert archives.rows() == live_log.rows(days=10)


def test_a_young_row_with_a_low_id_goes_out_when_it_is_old(live_log: AuditLog, archives: Archives) -> None:
    first = live_log.add(1, days=9)
    live_log.add(50, days=11)
    archives.archive()
    assert first not in archives.rows()
    archives.archive(ARCHIVE_THRESHOLD_DAYS="8")
    assert archives.rows() == live_log.rows(days=8)


def test_rows_that_come_in_meanwhile_are_in_the_way_of_nothing(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = extract.Extractor.next

    async def next_while_rows_come(self: extract.Extractor, stretch: extract.Stretch) -> extract.Draft | None:
        live_log.add(7, days=15)
        live_log.add(7, days=0)
        return await taken(self, stretch)

    with monkeypatch.context() as patch:
        patch.setattr(extract.Extractor, "next", next_while_rows_come)
        archives.archive()
    archives.archive()
    assert archives.rows() == live_log.rows(days=10)


def test_the_time_zone_of_a_session_changes_nothing(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute(
        "do $$ begin execute format('alter database %I set timezone = %L', current_database(), 'Asia/Kolkata'); end $$"
    )
    live_log.add(5, days=10.1)
    live_log.add(5, days=9.9)
    archives.archive()
    assert archives.rows() == live_log.rows(days=10)


def test_a_chunk_of_large_rows_is_cut_smaller(
    live_log: AuditLog, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "CHUNK_BYTES", 50_000)
    live_log.add(60, days=20, notes="x" * 3_000)
    live_log.add(2, days=20, notes="x" * 60_000)
    archives.archive()
    assert archives.rows() == live_log.rows(days=10)
    manifests = [json.loads(text) for key, text in archives.files().items() if key.endswith(MANIFEST)]
    assert all(manifest["plain_size"] < 50_000 or manifest["rows"] == 1 for manifest in manifests)


def test_a_dry_run_counts_and_writes_nothing(audit_log: AuditLog, archives: Archives) -> None:
    ended = archives.archive(dry_run=True)
    assert (ended.code, ended.rows) == (0, len(audit_log.rows(days=10)))
    assert archives.files() == {}
    archives.archive(ARCHIVE_THRESHOLD_DAYS="20")
    left = archives.archive(dry_run=True, ARCHIVE_THRESHOLD_DAYS="10").rows
    assert left == archives.archive().rows


def test_an_empty_audit_log_is_no_failure(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("truncate audit_logs")
    ended = archives.archive()
    assert (ended.code, ended.rows) == (0, 0)


def test_the_archive_of_another_database_is_not_taken_for_this_ones(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    live_log.execute("set session_replication_role = replica")
    live_log.execute("update audit_logs set changed_at = changed_at - interval '100 days'")
    ended = archives.archive()
    assert ended.code == Exit.REFUSED
    assert "the archive is of another database" in ended.error


def test_a_chunk_whose_file_is_gone_is_told(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    key = next(key for key in archives.files() if key.endswith(CHUNK))
    (archives.directory / key).unlink()
    for ended in (archives.archive(), archives.show()):
        assert ended.code == Exit.NOT_VERIFIED
        assert f"{key} is gone" in ended.error
    # As the message says.
    (archives.directory / f"{key}.json").unlink()
    archives.archive()
    assert archives.rows() == live_log.rows(days=10)


@pytest.mark.usefixtures("live_log")
@pytest.mark.parametrize("damage", ["half", "not JSON", "another's", "fewer ids"])
def test_a_manifest_that_is_none_is_told(archives: Archives, damage: str) -> None:
    archives.archive()
    one, other = [archives.directory / key for key in archives.files() if key.endswith(MANIFEST)][:2]
    text = one.read_text()
    ids = expand(json.loads(text)["ids"])
    damaged = {
        "half": text[: len(text) // 2],
        "not JSON": "no",
        "another's": other.read_text(),
        "fewer ids": json.dumps(json.loads(text) | {"ids": f"{ids[0]},{ids[-1]}"}),
    }
    one.write_text(damaged[damage])
    ended = archives.archive()
    assert ended.code == Exit.NOT_VERIFIED
    assert f"{one} is damaged" in ended.error


def test_what_is_archived_can_be_listed(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    (archives.directory / "2020/01").mkdir(parents=True)
    (archives.directory / "2020/01/1-2-01234567.csv.zst").touch()
    ended = archives.show()
    assert ended.code == 0
    assert sum(chunk["rows"] for chunk in ended.details["chunks"]) == len(live_log.rows(days=10))
    assert "this file has no manifest" in archives.log
    assert "1-2-01234567.csv.zst" in archives.log


def test_a_database_without_an_audit_log_is_told(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("drop table audit_logs")
    ended = archives.archive()
    assert ended.code == Exit.FAILED
    assert "there is no table audit_logs" in ended.error


def test_a_wrong_password_is_told(archives: Archives, live_url: str) -> None:
    ended = archives.archive(DATABASE_URL=live_url.replace("postgres:", "postgres:x"))
    assert ended.code == Exit.UNREACHABLE


def test_a_file_that_a_killed_run_has_left_is_completed_if_it_is_the_same(
    live_log: AuditLog, archives: Archives
) -> None:
    archives.archive()
    files = archives.files()
    for key in files:
        if key.endswith(MANIFEST):
            (archives.directory / key).unlink()
    ended = archives.archive()
    assert (ended.code, ended.details["orphans_removed"]) == (0, 0)
    assert archives.files().keys() == files.keys()
    assert archives.rows() == live_log.rows(days=10)


def test_a_file_that_a_killed_run_has_left_is_removed_if_another_one_has_its_rows(
    live_log: AuditLog, archives: Archives
) -> None:
    archives.archive()
    last = f"{archives.last()}.json"
    (archives.directory / last).unlink()
    (archives.directory / f"2020/01/.{last[8:]}.01234567.partial").parent.mkdir(parents=True)
    (archives.directory / f"2020/01/.{last[8:]}.01234567.partial").write_bytes(b"half")
    live_log.add(3, days=11)
    ended = archives.archive()
    assert (ended.code, ended.details["orphans_removed"]) == (0, 2)
    assert len(archives.files()) == 2 * len(ids_of(archives))
    assert archives.rows() == live_log.rows(days=10)


def test_a_damaged_file_that_a_killed_run_has_left_is_replaced(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    manifest = next(key for key in archives.files() if key.endswith(MANIFEST))
    (archives.directory / manifest).unlink()
    (archives.directory / manifest.removesuffix(".json")).write_bytes(b"half")
    assert archives.archive().code == 0
    assert archives.rows() == live_log.rows(days=10)


def test_a_file_in_the_way_of_a_chunk_is_not_overwritten(live_log: AuditLog, archives: Archives) -> None:
    """A key is used once: a chunk has its own content's hash in its name, so even the same ids get another one."""
    archives.archive(ARCHIVE_THRESHOLD_DAYS="20")
    before = archives.files()
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs where changed_at >= (now() at time zone 'UTC') - interval '20 days'")
    for round_ in range(2):
        live_log.add(100, days=15, notes=f"round {round_}")
        assert archives.archive(ARCHIVE_THRESHOLD_DAYS="10").rows == 100
    assert before.items() <= archives.files().items()
    assert archives.rows() == live_log.rows(days=10)
