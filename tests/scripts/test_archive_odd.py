"""Audit logs of a third shape: ids that are not each row's own, rows without a time."""

from exporter.collectors.immutability import GUARD_ROLE
from scripts.job.exits import Exit
from tests.scripts.archiving import Archives, AuditLog


def test_an_id_that_stands_for_several_rows_is_refused_and_named(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("alter table audit_logs drop constraint audit_logs_pkey")
    live_log.add(2, days=60, first=900_000, step=0)
    ended = archives.archive()
    assert (ended.code, 'several rows with the "id" 900000, of which' in ended.error) == (Exit.REFUSED, True), ended
    assert archives.files() == {}
    live_log.execute("set session_replication_role = replica")
    live_log.execute("delete from audit_logs where id = 900000")
    assert archives.archive().code == Exit.OK
    assert archives.rows() == live_log.rows(days=10)


def test_rows_without_an_id_are_refused_and_not_passed_over(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("alter table audit_logs drop constraint audit_logs_pkey, alter id drop not null")
    live_log.execute("set session_replication_role = replica")
    live_log.execute("update audit_logs set id = null where id = (select min(id) from audit_logs)")
    ended = archives.archive()
    assert (ended.code, "has rows without" in ended.error) == (Exit.REFUSED, True)


def test_an_id_that_a_child_by_inheritance_has_too_is_refused_and_named(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("create table audit_child () inherits (audit_logs)")
    live_log.execute("insert into audit_child select * from audit_logs order by id limit 1")
    ended = archives.archive()
    assert (ended.code, "has several rows with the" in ended.error) == (Exit.REFUSED, True)


def test_a_row_without_a_time_is_never_old_enough(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute("alter table audit_logs alter changed_at drop not null")
    live_log.add(2, days=600, first=900_000)
    live_log.execute("set session_replication_role = replica")
    live_log.execute("update audit_logs set changed_at = null where id = 900001")
    live_log.execute("set session_replication_role = origin")
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    columns = "select array_agg(attname::text) from pg_attribute where attrelid = 'audit_logs'::regclass and attnum > 0"
    assert live_log.value(f"select newest = 'infinity' from {GUARD_ROLE}.measure('{{[900000,900001]}}', ({columns}))")
