"""With the guard installed nobody can change the audit log by another way than through it."""

import asyncpg
import pytest

from exporter.collectors.immutability import GUARD_ROLE
from scripts.archive.restore import Wanted
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.archiving import Archives, AuditLog, Session

ATTEMPTS = {
    "delete": "delete from audit_logs",
    "update": "update audit_logs set notes = 'x'",
    "truncate": "truncate audit_logs",
    "truncate all": "truncate audit_logs, members cascade",
    "merge": "merge into audit_logs a using (select 1) s on true when matched then delete",
    "a setting by the role's name": f"set unioncore.role = '{GUARD_ROLE}'; delete from audit_logs",
    "become the guard": f"set role {GUARD_ROLE}; delete from audit_logs",
    "become the guard's session": f"set session authorization {GUARD_ROLE}; delete from audit_logs",
    "an own operator": """
        create function evil.yes(name, text) returns boolean language sql as 'select true';
        create operator evil.= (leftarg = name, rightarg = text, function = evil.yes);
        create function evil.yes(name, name) returns boolean language sql as 'select true';
        create operator evil.= (leftarg = name, rightarg = name, function = evil.yes);
        create function evil.yes(text, text) returns boolean language sql as 'select true';
        create operator evil.= (leftarg = text, rightarg = text, function = evil.yes);
        set search_path = evil, pg_catalog, public; delete from audit_logs""",
    "an own table before the log": """
        create table evil.audit_logs (like public.audit_logs); set search_path = evil, public;
        select unioncore_audit_guard.record_archive('x', '{[1,9]}', 9, repeat('0', 64), '{id}', repeat('0', 64))""",
    "the guard's inner function": "select unioncore_audit_guard.measure('{[1,9]}', '{id}')",
    "the guard's record": "insert into unioncore_audit_guard.archive values ('x', '{[1,9]}', 9, '', '{id}', '')",
    "a chunk": "select unioncore_audit_guard.delete_archived('x')",
    "as a replica": "set session_replication_role = replica; delete from audit_logs",
    "without the trigger": "alter table audit_logs disable trigger all; delete from audit_logs",
    "without the function": "drop function prevent_audit_modification() cascade",
    "another function": """
        create or replace function prevent_audit_modification() returns trigger language plpgsql
        as 'begin return old; end'""",
}


@pytest.mark.parametrize("how", ATTEMPTS)
def test_a_role_with_all_privileges_changes_nothing(guarded: AuditLog, somebody: Session, how: str) -> None:
    before = guarded.rows()
    with pytest.raises(asyncpg.PostgresError):
        somebody.execute(ATTEMPTS[how])
    assert guarded.rows() == before


def test_even_the_jobs_role_deletes_no_other_rows_than_it_has_recorded(
    guarded: AuditLog, somebody: Session, archives: Archives, role: str
) -> None:
    assert archives.install_guard(role).code == 0
    before = guarded.rows()
    for statement in (
        "select unioncore_audit_guard.delete_archived('x')",
        "select unioncore_audit_guard.record_archive('x', '{[1,9]}', 9, repeat('0', 64), '{id}', repeat('0', 64))",
        "select unioncore_audit_guard.record_archive('x', '{[1,9]}', null, null, '{id}', repeat('0', 64))",
        "insert into unioncore_audit_guard.archive (key) values ('x')",
        "update unioncore_audit_guard.archive set deleted_at = null",
        "delete from audit_logs",
    ):
        with pytest.raises(asyncpg.PostgresError):
            somebody.execute(statement)
    assert guarded.rows() == before


def test_the_jobs_role_need_be_no_more_than_a_reader(
    guarded: AuditLog, archives: Archives, postgres: EmbeddedPostgres, role: str, shape_url: str
) -> None:
    guarded.execute(f"grant select on audit_logs to {role}")
    url = postgres.url(shape_url.rpartition("/")[2], user=role, password="sesame")
    assert archives.delete(DATABASE_URL=url).code == Exit.REFUSED
    archives.install_guard(role, DATABASE_URL=shape_url)
    ended = archives.delete(DATABASE_URL=url)
    assert ended.code == 0, ended.error
    assert ended.rows
    recorded = guarded.fetch(f"select * from {GUARD_ROLE}.archive")
    assert sum(row["row_count"] for row in recorded) == ended.rows
    assert {(row["recorded_by"], row["deleted_by"]) for row in recorded} == {(role, role)}
    guarded.execute(f"drop owned by {role}")


def test_a_guard_of_an_earlier_version_is_replaced_before_it_deletes_anything(
    guarded: AuditLog, archives: Archives
) -> None:
    guarded.execute(f"drop function {GUARD_ROLE}.refuse_side_effects()")
    before = guarded.rows()
    ended = archives.delete()
    assert ended.code == Exit.REFUSED
    assert "of an earlier version: replace it, by `unioncore-ops archive install-guard`" in ended.error
    assert guarded.rows() == before
    assert archives.install_guard().code == 0
    assert archives.delete().rows


def test_the_exporter_calls_the_log_immutable_as_long_as_nobody_can_become_the_guard(
    live_log: AuditLog, archives: Archives, live_url: str, role: str
) -> None:
    assert live_log.immutable(live_url) == [1, 1, 0]
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert live_log.immutable(live_url) == [1, 1, 1]
    live_log.execute(f"grant {GUARD_ROLE} to {role}")
    assert live_log.immutable(live_url) == [1, 0, 1]
    live_log.execute(f"revoke {GUARD_ROLE} from {role}; alter role {GUARD_ROLE} login")
    assert live_log.immutable(live_url) == [1, 0, 1]
    live_log.execute(f"alter role {GUARD_ROLE} nologin; alter function prevent_audit_modification() security definer")
    assert live_log.immutable(live_url) == [0, 0, 0]
    live_log.execute("alter function prevent_audit_modification() security invoker")
    assert live_log.immutable(live_url) == [1, 1, 1]
    archives.remove_guard()
    assert live_log.immutable(live_url) == [1, 1, 0]


def test_restored_rows_are_free_of_the_guard(guarded: AuditLog, archives: Archives) -> None:
    archives.restore(Wanted('"audit_logs_restored"'))
    guarded.execute("truncate audit_logs_restored")
