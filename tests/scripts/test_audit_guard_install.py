"""Installing and removing the guard: who can, beside what it is not installed, and what is left."""

import re

import asyncpg
import pytest

from exporter.collectors.immutability import GUARD_ROLE
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
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
        assert live_log.immutable(live_url) == [1, 1, 1]
        assert archives.delete().rows
        landlord = Session(postgres.url(database, user="landlord", password="sesame"))
        with pytest.raises(asyncpg.PostgresError, match="permission denied to set role"):
            landlord.execute(f"set role {GUARD_ROLE}")
        landlord.close()
        ended = archives.remove_guard()
        assert ended.code == 0, ended.error
        assert live_log.immutable(live_url) == [1, 1, 0]
    finally:
        live_log.execute("drop owned by landlord cascade; drop role landlord")


def test_an_owner_can_change_what_one_of_its_members_has_installed(
    live_log: AuditLog, archives: Archives, postgres: EmbeddedPostgres, live_url: str
) -> None:
    database = live_url.rpartition("/")[2]
    live_log.execute(f"drop role if exists {GUARD_ROLE}")
    live_log.execute(
        "create role landlord; create role steward login createrole password 'sesame' in role landlord;"
        f" grant create on database {database} to landlord; grant create on schema public to landlord;"
        " alter table audit_logs owner to landlord; alter function prevent_audit_modification() owner to landlord"
    )
    try:
        # Since 16 the steward administers the role that he has made.
        steward = postgres.url(database, user="steward", password="sesame")
        for url, days in ((steward, "60"), (live_url, "30"), (steward, "40")):
            ended = archives.install_guard(DATABASE_URL=url, UNIONCORE_AUDIT_RETENTION_DAYS=days)
            assert ended.code == 0, ended.error
        assert archives.remove_guard().code == 0
    finally:
        live_log.execute(f"drop owned by landlord, steward, {GUARD_ROLE} cascade; drop role steward, landlord")


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


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize(
    ("made", "unmade", "says"),
    [
        (
            f"create role {GUARD_ROLE} nologin; grant {GUARD_ROLE} to somebody",
            f"drop role {GUARD_ROLE}",
            "is a member of another one, or another one of it: somebody",
        ),
        (
            f"create role {GUARD_ROLE} nologin; grant somebody to {GUARD_ROLE}",
            f"drop role {GUARD_ROLE}",
            "is a member of another one, or another one of it: somebody",
        ),
        (
            f"create schema {GUARD_ROLE} authorization somebody",
            f"drop schema {GUARD_ROLE}",
            "is not the guard's, or something in it: the schema (somebody)",
        ),
        (
            f"""create role {GUARD_ROLE} nologin; create schema {GUARD_ROLE} authorization {GUARD_ROLE};
            create table {GUARD_ROLE}.archive (); alter table {GUARD_ROLE}.archive owner to somebody""",
            f"drop schema {GUARD_ROLE} cascade; drop role {GUARD_ROLE}",
            f"or something in it: {GUARD_ROLE}.archive (somebody)",
        ),
    ],
)
def test_what_others_have_made_in_its_name_is_not_taken_over(
    live_log: AuditLog, archives: Archives, made: str, unmade: str, says: str
) -> None:
    live_log.execute(f"drop role if exists {GUARD_ROLE}; {made}")
    try:
        before = live_log.fetch(INVENTORY)
        ended = archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
        assert (ended.code, says in ended.error) == (Exit.REFUSED, True), ended.error
        assert live_log.fetch(INVENTORY) == before
    finally:
        live_log.execute(unmade)
    assert archives.install_guard().code == Exit.OK


def test_the_owner_can_still_read_everything_when_another_role_deletes(
    live_log: AuditLog, archives: Archives, postgres: EmbeddedPostgres, role: str, live_url: str
) -> None:
    archives.install_guard(role, UNIONCORE_AUDIT_RETENTION_DAYS="30")
    live_log.execute("create role landlord login password 'sesame'; alter table audit_logs owner to landlord")
    try:
        assert archives.install_guard(role).code == Exit.OK
        landlord = Session(postgres.url(live_url.rpartition("/")[2], user="landlord", password="sesame"))
        assert landlord.value(f"select count(*) from {GUARD_ROLE}.archive") == 0
        with pytest.raises(asyncpg.PostgresError, match="permission denied for function"):
            landlord.execute(f"select {GUARD_ROLE}.delete_archived('x')")
        landlord.close()
    finally:
        archives.remove_guard()
        live_log.execute("drop owned by landlord cascade; drop role landlord")


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


def test_a_function_whose_text_was_changed_since_is_not_left_open(
    live_log: AuditLog, archives: Archives, live_url: str
) -> None:
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    body = live_log.value("select prosrc from pg_proc where proname = 'prevent_audit_modification'")
    replaced = "create or replace function prevent_audit_modification() returns trigger language plpgsql as $${}$$"
    live_log.execute(replaced.format(re.sub(r"\n\s+", "\n\t", body)))
    ended = archives.remove_guard()
    assert (ended.code, "was changed since: take out of it" in ended.error) == (Exit.REFUSED, True)
    assert live_log.immutable(live_url) == [1, 1, 1]
    live_log.execute(replaced.format(body))
    assert archives.remove_guard().code == Exit.OK


def test_a_dry_run_prints_the_sql(live_log: AuditLog, archives: Archives) -> None:
    before = live_log.fetch(INVENTORY)
    assert archives.install_guard(dry_run=True, UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    assert "create trigger audit_logs_prevent_truncate before truncate on public.audit_logs" in archives.printed
    assert not re.search(r"@\w+@", archives.printed)
    assert live_log.fetch(INVENTORY) == before
