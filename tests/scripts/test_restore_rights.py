"""Whose all is and who may do what comes back, as far as the user of the restore may give it; what is not is told."""

from itertools import count
from pathlib import Path

import pytest

from scripts.backup.around import ROLES
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, opened
from tests.scripts.restoring import SETTINGS, restorer

_numbers = count(1)


@pytest.mark.parametrize("owners", [True, False])
def test_who_is_no_superuser_restores_all_but_what_only_a_superuser_may_make(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, *, owners: bool
) -> None:
    source, target = names
    postgres.psql(
        """
        create extension hstore;
        create publication everything for all tables;
        create function on_ddl() returns event_trigger language plpgsql as 'begin end';
        create event trigger watch on ddl_command_end execute function on_ddl();
        comment on event trigger watch is 'It watches';
        """,
        source,
    )
    postgres.psql("create extension hstore", target)
    restorer(postgres, source, target)
    postgres.psql("reassign owned by app to postgres; grant select on members to app", source) if not owners else ""
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=owners)
    assert ended.code == Exit.OK, ended.error
    left = ended.details["left_out"]
    assert len(left) == 4, left
    for words in ("COMMENT - EXTENSION hstore", "PUBLICATION - everything", "EVENT TRIGGER - watch"):
        assert words in jobs.log
        assert words in " ".join(left)
    assert postgres.psql("select count(*) from pg_event_trigger", target) == "0"


@pytest.mark.parametrize("force", [False, True])
def test_a_publication_of_tables_comes_back_though_its_owner_is_no_superuser(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, *, force: bool
) -> None:
    source, target = names
    restorer(postgres, source, target)
    postgres.psql("create publication of_members for table members; alter publication of_members owner to app", source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    for _ in range(1 + force):
        ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=True, force=force)
        assert (ended.code, ended.details["left_out"]) == (Exit.OK, []), ended
    published = "select pubname, tablename from pg_publication_tables"
    assert postgres.psql(published, target) == postgres.psql(published, source) == "of_members|members"
    assert "left out" not in jobs.log


GRANTED = """
revoke usage on schema public from public;
grant usage on schema public to "Odd 'role" with grant option;
grant select, update on members to "Odd 'role";
grant select (id) on users to "Odd 'role";
create function ours() returns integer language sql as 'select 1';
alter function ours() owner to app;
revoke execute on function ours() from public;
alter default privileges for role app in schema public grant select on tables to "Odd 'role";
"""


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ("", ""),
        (
            "alter schema public owner to pg_database_owner; grant create, usage on schema public to app",
            "rights public is",
        ),
        ("alter default privileges for role app grant delete on tables to public", "rights public.audit_logs is"),
        ("alter default privileges for role app grant execute on functions to public", ""),
    ],
)
def test_who_may_do_what_is_as_it_was_or_the_restore_has_failed(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, there: str, told: str
) -> None:
    source, target = names
    restorer(postgres, source, target)
    postgres.psql(GRANTED, source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    assert jobs.verify().code == Exit.OK
    postgres.psql(there, target)
    ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=True)
    assert (ended.code, told in str(ended)) == (Exit.NOT_VERIFIED if told else Exit.OK, True), ended


@pytest.mark.parametrize(
    ("there", "right"),
    [
        ("grant create, usage on schema public to app", True),
        ('grant create, usage on schema public to app; grant usage on schema public to "Odd \'role"', True),
        ("grant create, usage on schema public to app, public", False),
    ],
)
@pytest.mark.parametrize("long", [False, True])
def test_a_role_may_keep_what_it_might_do_with_a_schema_of_the_target_before(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, there: str, *, right: bool, long: bool
) -> None:
    source, target = names
    restorer(postgres, source, target)
    # A manifest has no more than the hash of what is long.
    readers = [f"reader_of_many_things_{number}" for number in range(6)] if long else []
    for reader in readers:
        postgres.psql(f"create role {reader}; grant usage on schema public to {reader}", source)
    postgres.psql(
        f"alter schema public owner to pg_database_owner; {there};"
        + "".join(f"grant usage on schema public to {reader};" for reader in readers),
        target,
    )
    try:
        assert jobs.backup(postgres.url(source)).code == Exit.OK
        ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=True)
    finally:
        for reader in readers:
            for database in names:
                postgres.psql(f"drop owned by {reader}", database)
            postgres.psql(f"drop role {reader}")
    assert ended.code == (Exit.OK if right else Exit.NOT_VERIFIED), ended.error
    assert ("a role may still do what it might before" in jobs.log) is right


@pytest.mark.parametrize(
    "setting", ["timezone = 'Asia/Kolkata'", "app.password = 'Tell nobody'"], ids=["a setting", "a setting of its own"]
)
def test_a_user_who_may_not_set_up_the_database_is_told_all_that_is_left_to_run(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, setting: str
) -> None:
    source, target = names
    postgres.psql(
        f"""
        alter database "{source}" set {setting};
        alter role app in database "{source}" set statement_timeout = '30s';
        revoke temporary on database "{source}" from public;
        grant create on database "{source}" to "Odd 'role" with grant option;
        """
    )
    restorer(postgres, source, target)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=True)
    assert ended.code == Exit.FAILED, ended.error
    assert "every row is in " in ended.error
    for left in (
        f'alter database "{target}" set ',
        f'grant CREATE on database "{target}" to "Odd \'role" with grant option (it had no effect',
        f'revoke TEMPORARY on database "{target}" from public (it had no effect',
    ):
        assert left in ended.error
    assert "nobody" not in ended.error + jobs.log
    # What its user may set is set.
    assert postgres.psql(SETTINGS, target) == "app|statement_timeout=30s"
    assert jobs.log.count("is set up as it was") == 1
    assert postgres.psql("select count(*) from audit_logs", target) == "2000"


def test_a_role_that_only_temporary_tables_name_is_not_needed(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("temporary")
    postgres.psql("create role app; create role analyst; grant create on database temporary to app")
    try:
        made = postgres.psql(
            """
            alter schema public owner to app;
            set role app;
            create table ours (id int);
            set role analyst;
            create temp table scratch (id int primary key, words text);
            create type pg_temp.pair as (a int, b int);
            grant select (id) on scratch to app;
            reset role;
            create temp table of_the_first (id serial primary key, words text);
            """
            + ROLES,
            "temporary",
        )
        assert made == "app|f"
        # The schemas of temporary tables stay for ever.
        assert postgres.psql(ROLES, "temporary") == "app|f"
        postgres.psql("create table of_the_first ()", "temporary")
        assert postgres.psql(ROLES, "temporary") == "app|f\npostgres|f"
    finally:
        postgres.drop_database("temporary")
        postgres.psql("drop role app; drop role analyst")


def test_the_role_that_owns_an_extension_is_not_needed_but_one_that_was_granted_its_parts(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.create_database("extended")
    postgres.psql("create role installer superuser; create role analyst")
    try:
        postgres.psql(
            "set role installer; create extension hstore; grant execute on function skeys(hstore) to analyst",
            "extended",
        )
        assert postgres.psql(ROLES, "extended") == "analyst|f"
        postgres.psql("set role installer; create table ours (pairs hstore)", "extended")
        assert postgres.psql(ROLES, "extended") == "analyst|f\ninstaller|f"
    finally:
        postgres.drop_database("extended")
        postgres.psql("drop role installer; drop role analyst")


def test_the_role_that_initdb_made_is_among_those_that_a_restore_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres: EmbeddedPostgres
) -> None:
    with EmbeddedPostgres() as server:
        server.create_database("live")
        create(server.url("live"), "live", SCALES["small"], seed=1)
        # As where POSTGRES_USER was given to the image of PostgreSQL.
        server.psql("create role boss superuser login password 'boss'")
        psql(
            server.url("live", user="boss", password="boss"),
            "alter role postgres rename to unioncore;"
            f" create role postgres superuser login password '{server.password}';"
            " alter table students enable row level security; create policy own on students to unioncore using (true)",
        )
        jobs = Jobs(server, tmp_path, monkeypatch, capsys)
        assert jobs.backup(server.url("live")).code == Exit.OK
        assert opened(jobs.backups / jobs.names()[0])[1].contents.roles == ["unioncore"]
        assert jobs.verify().code == Exit.OK
    target = f"into_{next(_numbers)}"
    postgres.create_database(target)
    try:
        for owners in (True, False):
            ended = jobs.restore(url=postgres.url(target), owners=owners)
            assert (ended.code, "lacks the roles unioncore" in ended.error) == (Exit.REFUSED, True)
        postgres.psql("create role unioncore")
        assert jobs.restore(url=postgres.url(target)).code == Exit.OK
    finally:
        postgres.drop_database(target)
        postgres.psql("drop role if exists unioncore")
