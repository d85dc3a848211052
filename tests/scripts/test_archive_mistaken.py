"""Rows that are taken for archived by their ids, and are others."""

from contextlib import closing

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, Archives, AuditLog


@pytest.mark.parametrize("there", [300, 400])
def test_rows_within_the_span_of_another_databases_chunk_are_not_called_archived(
    live_url: str, archives: Archives, postgres: EmbeddedPostgres, there: int
) -> None:
    postgres.create_database("twin", template=live_url.rpartition("/")[2])
    with closing(AuditLog(live_url)) as log, closing(AuditLog(postgres.url("twin"))) as twin:
        log.add(there, days=20)
        twin.add(150, days=20.001)
        twin.add(250, days=19.9)
        assert archives.archive(DATABASE_URL=postgres.url("twin")).code == Exit.OK
        ended = archives.archive(DATABASE_URL=live_url)
    postgres.drop_database("twin")
    assert ended.code == Exit.REFUSED
    assert "the archive is of another database" in ended.error


def test_rows_that_take_the_ids_of_deleted_ones_are_not_called_archived(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    before = live_log.rows()
    assert archives.delete().rows
    (oldest,) = (row["oldest"] for row in archives.show().details["chunks"][:1])
    gone = sorted(before.keys() - live_log.ids())
    live_log.execute(
        f"insert into audit_logs (id, table_name, record_id, action, {live_log.time})"
        " select id, 'members', '1', 'READ', $2::text::timestamptz at time zone 'UTC' + id * interval '1 s'"
        "   from unnest($1::int[]) id",
        gone[:100],
        oldest,
    )
    for _ in range(2):
        ended = archives.archive()
        assert ended.code == Exit.REFUSED
        assert f"has 100 of the 400 ids of {archives.directory}" in ended.error


@pytest.mark.parametrize(
    "change",
    [
        "delete from audit_logs where id = (select min(id) from audit_logs); update audit_logs set notes = 'x'",
        "update audit_logs set changed_at = changed_at - interval '1 us' where id = (select min(id) from audit_logs)",
        "update audit_logs set changed_at = 'infinity' where id = (select min(id) from audit_logs)",
    ],
)
def test_a_database_that_has_other_rows_by_a_chunks_ids_is_refused(
    live_log: AuditLog, archives: Archives, change: str
) -> None:
    archives.archive()
    live_log.execute("set session_replication_role = replica")
    live_log.execute(change)
    assert archives.archive().code == Exit.REFUSED


def test_rows_that_somebody_has_removed_are_told_and_stop_no_archiving(live_log: AuditLog, archives: Archives) -> None:
    archived = archives.archive().rows
    assert archived
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs where id in (select id + 5 from audit_logs order by id limit 3)")
    live_log.add(10, days=20)
    ended = archives.archive()
    assert (ended.code, ended.rows, ended.details["rows_gone"]) == (Exit.OK, 10, 3), ended.error
    assert "the database has lost some of the rows of a file" in archives.log
    assert len(archives.rows()) == archived + 10


def test_a_damaged_file_stops_nothing_but_what_came_late_for_it(live_log: AuditLog, archives: Archives) -> None:
    archives.archive()
    chunks = sorted(key for key in archives.files() if key.endswith(CHUNK))
    (archives.directory / chunks[0]).write_bytes(archives.files()[chunks[0]][:-1])
    live_log.add(10, days=20)
    for rows in (10, 0):
        ended = archives.archive()
        assert (ended.code, ended.details["rows"]) == (Exit.NOT_VERIFIED, rows)
        assert f"{chunks[0]} is damaged: it has" in ended.error
        assert "(1 such stretches of the archive" in ended.error
    shown = archives.show()
    assert (shown.code, f"{chunks[0]} is damaged: it has" in shown.error) == (Exit.NOT_VERIFIED, True)
    assert sorted(chunk["key"] for chunk in shown.details["chunks"]) == sorted(
        key for key in archives.files() if key.endswith(CHUNK) and key != chunks[0]
    )


@pytest.mark.parametrize("times", [["-infinity"], ["0044-03-15 12:00:00 BC"], ["0001-01-01 00:00:00"], ["all"]])
def test_times_before_all_years_are_the_same_in_the_next_run(
    live_log: AuditLog, archives: Archives, times: list[str]
) -> None:
    live_log.execute("set session_replication_role = replica")
    for time in times if times != ["all"] else ("-infinity", "0044-03-15 12:00:00 BC", "0001-01-01 00:00:00"):
        live_log.execute(
            f"update audit_logs set changed_at = '{time}' where id = (select min(id) from audit_logs"
            " where changed_at > '0002-01-01')"
        )
    assert archives.archive().rows
    ended = archives.archive()
    assert (ended.code, ended.rows) == (0, 0), ended.error


def test_rows_whose_ids_are_no_integers_do_not_count_as_none(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("alter table audit_logs alter id drop default, alter id type numeric(12,2)")
    ended = archives.archive()
    assert ended.code == Exit.FAILED
    assert "public.audit_logs can't be archived: it has rows that begin with no id and time" in ended.error
    assert not archives.files()
