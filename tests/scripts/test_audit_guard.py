"""With the guard installed nobody can change the audit log by another way than through it."""

import re

import asyncpg
import pytest

from exporter.collectors.immutability import GUARD_ROLE
from scripts.archive.restore import Wanted
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.looking import exporting
from tests.scripts.archiving import Archives, AuditLog, Session

# All that hangs on the audit log, and the role. What was never granted is the owner's default: revoking writes it out.
INVENTORY = """
select p.prosrc || p.prosecdef || coalesce(p.proconfig::text, '') || coalesce(p.proacl::text, '') as what
  from pg_proc p where p.proname = 'prevent_audit_modification'
union all
select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 'audit_logs'::regclass and not tgisinternal
union all
select coalesce(relacl, acldefault('r', relowner))::text from pg_class where oid = 'audit_logs'::regclass
union all
select coalesce(nspacl::text, '') || nspname from pg_namespace where nspname !~ '^pg_temp|^pg_toast'
union all
select rolname from pg_roles
order by 1
"""


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
    guarded.execute(f"drop function {GUARD_ROLE}.refuse_triggers()")
    before = guarded.rows()
    ended = archives.delete()
    assert ended.code == Exit.REFUSED
    assert "of an earlier version: replace it, by `unioncore-ops archive install-guard`" in ended.error
    assert guarded.rows() == before
    assert archives.install_guard().code == 0
    assert archives.delete().rows


def test_installing_it_for_another_role_takes_the_rights_of_the_first_away(
    guarded: AuditLog, archives: Archives, postgres: EmbeddedPostgres, role: str, shape_url: str
) -> None:
    guarded.execute(f"grant select on audit_logs to {role}")
    archives.install_guard(role)
    before = guarded.rows()
    for others in (["somebody"], []):
        ended = archives.install_guard()
        assert (ended.code, ended.details["taken_from"]) == (0, others)
    ended = archives.delete(DATABASE_URL=postgres.url(shape_url.rpartition("/")[2], user=role, password="sesame"))
    assert ended.code == Exit.REFUSED
    assert "the guard is not for this role" in ended.error
    assert guarded.rows() == before
    guarded.execute(f"grant execute on all functions in schema {GUARD_ROLE} to public")
    assert archives.install_guard(DATABASE_URL=shape_url).details["taken_from"] == ["public"]
    assert archives.delete().rows
    guarded.execute(f"drop owned by {role}")


def gauge(log: AuditLog, url: str) -> list[int]:
    """What the exporter says of update, delete and truncate."""

    async def look() -> list[int]:
        async with exporting(url) as exporter:
            found = await exporter.look()
        assert not exporter.errors
        return [int(found["unioncore_audit_immutable", (name,)]) for name in ("update", "delete", "truncate")]

    return log.wait(look())


def test_the_exporter_calls_the_log_immutable_as_long_as_nobody_can_become_the_guard(
    live_log: AuditLog, archives: Archives, live_url: str, role: str
) -> None:
    assert gauge(live_log, live_url) == [1, 1, 0]
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert gauge(live_log, live_url) == [1, 1, 1]
    live_log.execute(f"grant {GUARD_ROLE} to {role}")
    assert gauge(live_log, live_url) == [1, 0, 1]
    live_log.execute(f"revoke {GUARD_ROLE} from {role}; alter role {GUARD_ROLE} login")
    assert gauge(live_log, live_url) == [1, 0, 1]
    live_log.execute(f"alter role {GUARD_ROLE} nologin; alter function prevent_audit_modification() security definer")
    assert gauge(live_log, live_url) == [0, 0, 0]
    live_log.execute("alter function prevent_audit_modification() security invoker")
    assert gauge(live_log, live_url) == [1, 1, 1]
    archives.remove_guard()
    assert gauge(live_log, live_url) == [1, 1, 0]


def test_removing_the_guard_leaves_everything_as_it_was(audit_log: AuditLog, archives: Archives) -> None:
    audit_log.execute(f"drop role if exists {GUARD_ROLE}")  # of another test's database
    before = audit_log.fetch(INVENTORY)
    for _ in range(2):
        assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    assert audit_log.fetch(INVENTORY) != before
    archives.archive()
    assert archives.delete().rows
    for _ in range(2):
        assert archives.remove_guard().code == 0
    assert audit_log.fetch(INVENTORY) == before
    with pytest.raises(asyncpg.PostgresError, match="Audit logs are immutable"):
        audit_log.execute("delete from audit_logs")


def test_an_owner_who_is_no_superuser_can_install_and_remove_it(
    live_log: AuditLog, archives: Archives, postgres: EmbeddedPostgres, live_url: str
) -> None:
    database = live_url.rpartition("/")[2]
    live_log.execute(
        "create role landlord login createrole password 'sesame';"
        f" grant create on database {database} to landlord; grant create on schema public to landlord;"
        " alter table audit_logs owner to landlord; alter function prevent_audit_modification() owner to landlord"
    )
    try:
        archives.use(DATABASE_URL=postgres.url(database, user="landlord", password="sesame"))
        archives.archive()
        for days in ("60", "30"):
            ended = archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS=days)
            assert ended.code == 0, ended.error
        assert gauge(live_log, live_url) == [1, 1, 1]
        assert archives.delete().rows
        landlord = Session(postgres.url(database, user="landlord", password="sesame"))
        with pytest.raises(asyncpg.PostgresError, match="permission denied to set role"):
            landlord.execute(f"set role {GUARD_ROLE}")
        landlord.close()
        ended = archives.remove_guard()
        assert ended.code == 0, ended.error
        assert gauge(live_log, live_url) == [1, 1, 0]
    finally:
        live_log.execute("drop owned by landlord cascade; drop role landlord")


def test_who_may_not_install_it_is_told(
    live_log: AuditLog, archives: Archives, postgres: EmbeddedPostgres, role: str, live_url: str
) -> None:
    del live_log
    url = postgres.url(live_url.rpartition("/")[2], user=role, password="sesame")
    ended = archives.install_guard(DATABASE_URL=url, UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert "does not own audit_logs: set DATABASE_URL to its owner, postgres" in ended.error


def test_an_owner_who_may_not_create_roles_is_told(
    live_log: AuditLog, archives: Archives, postgres: EmbeddedPostgres, role: str, live_url: str
) -> None:
    live_log.execute(f"drop role if exists {GUARD_ROLE}; grant create on schema public to {role}")
    live_log.execute(f"alter table audit_logs owner to {role}")
    url = postgres.url(live_url.rpartition("/")[2], user=role, password="sesame")
    ended = archives.install_guard(DATABASE_URL=url, UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert "must be allowed to create roles" in ended.error
    live_log.execute(f"reassign owned by {role} to postgres; drop owned by {role}")


def test_a_trigger_function_of_another_shape_is_left_alone(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute(
        "create or replace function prevent_audit_modification() returns trigger language plpgsql"
        " as $$ begin if old.id > 5 then raise exception 'no'; end if; return old; end $$"
    )
    before = live_log.fetch(INVENTORY)
    ended = archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert "does not begin with RAISE EXCEPTION: it is left alone" in ended.error
    assert live_log.fetch(INVENTORY) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "alter table audit_logs disable trigger audit_logs_prevent_delete",
            "DELETE: audit_logs_prevent_delete is off",
        ),
        (
            "alter table audit_logs enable replica trigger audit_logs_prevent_update",
            "UPDATE: audit_logs_prevent_update is off",
        ),
        (
            "alter table audit_logs disable trigger audit_logs_prevent_truncate",
            "TRUNCATE: audit_logs_prevent_truncate is off",
        ),
        ("drop trigger audit_logs_prevent_delete on audit_logs", "DELETE: no trigger comes before it"),
        (
            """create or replace trigger audit_logs_prevent_delete before delete on audit_logs for each row
            when (old.id > 5) execute function prevent_audit_modification()""",
            "DELETE: audit_logs_prevent_delete is not for every row and column",
        ),
        (
            """create or replace trigger audit_logs_prevent_update before update of notes on audit_logs for each row
            execute function prevent_audit_modification()""",
            "UPDATE: audit_logs_prevent_update is not for every row and column",
        ),
        (
            """create or replace trigger audit_logs_prevent_update before update on audit_logs for each row
            execute function suppress_redundant_updates_trigger()""",
            "UPDATE: audit_logs_prevent_update executes another function",
        ),
    ],
)
def test_it_is_not_installed_beside_triggers_that_protect_nothing(
    live_log: AuditLog, archives: Archives, change: str, says: str
) -> None:
    live_log.execute(
        "create trigger audit_logs_prevent_truncate before truncate on audit_logs"
        f" execute function prevent_audit_modification(); {change}"
    )
    before = live_log.fetch(INVENTORY)
    ended = archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == Exit.REFUSED
    assert f"public.audit_logs is not protected from {says}" in ended.error
    assert live_log.fetch(INVENTORY) == before
    assert not live_log.fetch("select from pg_namespace where nspname = $1", GUARD_ROLE)
    if says.endswith("is off"):
        assert "by `alter table public.audit_logs enable trigger ...`" in ended.error
        live_log.execute("alter table audit_logs enable trigger user")
        assert archives.install_guard().code == 0


def test_a_dry_run_prints_the_sql(live_log: AuditLog, archives: Archives) -> None:
    before = live_log.fetch(INVENTORY)
    assert archives.install_guard(dry_run=True, UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    assert "create trigger audit_logs_prevent_truncate before truncate on public.audit_logs" in archives.printed
    assert not re.search(r"@\w+@", archives.printed)
    assert live_log.fetch(INVENTORY) == before


def test_restored_rows_are_free_of_the_guard(guarded: AuditLog, archives: Archives) -> None:
    archives.restore(Wanted('"audit_logs_restored"'))
    guarded.execute("truncate audit_logs_restored")
