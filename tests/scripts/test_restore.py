"""A restore brings back every row, into an empty database only, and tells no password."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.collectors.immutability import GUARD_ROLE
from scripts.backup.settings import RestoreSettings
from scripts.backup.target import target_address
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit, JobError
from scripts.restore_database import command
from tests.scripts.archiving import Archives, AuditLog
from tests.scripts.backing import Jobs

_numbers = count(1)
TABLES = """
select string_agg(format('select %L, (select md5(string_agg(t::text, E''\\n'' order by t::text))
                                     from %s t)', name, name),
                  ' union all ' order by name)
from (select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public') named \\gexec
"""
"""Every table's whole content by a way that has nothing to do with the manifest's."""


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = f"restored_{next(_numbers)}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def contents(server: EmbeddedPostgres, url: str) -> str:
    return server.psql(TABLES, url.rpartition("/")[2])


def test_after_backup_and_restore_every_table_is_equal(
    jobs: Jobs, shape_url: str, empty_url: str, postgres: EmbeddedPostgres
) -> None:
    assert jobs.backup(shape_url).code == Exit.OK
    ended = jobs.restore(url=empty_url, owners=True)
    assert ended.code == Exit.OK, ended
    assert contents(postgres, empty_url) == contents(postgres, shape_url)
    assert contents(postgres, empty_url).count("\n") == 17
    assert 0 < ended.details["restore_seconds"] < ended.details["total_seconds"]
    with pytest.raises(Exception, match="Audit logs are immutable"):
        postgres.psql("delete from audit_logs", empty_url.rpartition("/")[2])


@pytest.mark.parametrize("shape", ["live", "documented"])
def test_after_backup_and_restore_every_table_is_equal_on_15(
    shape: str,
    postgres15: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = Jobs(postgres15, tmp_path, monkeypatch, capsys)
    target = f"restored_{shape}"
    postgres15.create_database(target)
    assert jobs.backup(postgres15.url(shape)).code == Exit.OK
    assert jobs.verify().code == Exit.OK
    assert jobs.restore(url=postgres15.url(target)).code == Exit.OK
    assert contents(postgres15, target) == contents(postgres15, shape)


def test_a_target_that_is_not_empty_is_refused_and_overwritten_only_by_force(
    jobs: Jobs, backup: Path, live_url: str, postgres: EmbeddedPostgres
) -> None:
    database = live_url.rpartition("/")[2]
    before = contents(postgres, live_url)
    postgres.psql("delete from students; create table ours (id integer)", database)
    refused = jobs.restore(backup, url=live_url)
    assert refused.code == Exit.REFUSED
    assert "is not empty: it has public." in refused.error
    assert postgres.psql("select count(*) from students", database) == "0"
    assert jobs.restore(backup, url=live_url, force=True).code == Exit.OK
    assert postgres.psql("select count(*) from ours", database) == "0"
    postgres.psql("drop table ours", database)
    assert contents(postgres, live_url) == before


def test_an_overwriting_that_fails_leaves_all_as_it_was(
    jobs: Jobs, backup: Path, live_url: str, postgres: EmbeddedPostgres
) -> None:
    # A migration has added it since: the keys of a table that it refers to can't be dropped.
    postgres.psql("create table since (id integer primary key references members)", live_url.rpartition("/")[2])
    before = contents(postgres, live_url)
    ended = jobs.restore(backup, url=live_url, force=True)
    assert ended.code == Exit.FAILED
    assert "is as it was before: pg_restore ended with status 1" in ended.error
    assert contents(postgres, live_url) == before


def test_to_overwrite_its_name_must_be_typed(
    jobs: Jobs, backup: Path, live_url: str, postgres: EmbeddedPostgres
) -> None:
    del backup
    database = live_url.rpartition("/")[2]
    postgres.psql("delete from students", database)
    jobs.use(UNIONCORE_RESTORE_URL=live_url)
    for typed in ("", f"{database}x\n"):
        ended = CliRunner().invoke(command, ["--force-into-non-empty"], input=typed)
        assert ended.exit_code in {1, Exit.REFUSED}
    assert postgres.psql("select count(*) from students", database) == "0"
    assert CliRunner().invoke(command, ["--force-into-non-empty"], input=f"{database}\n").exit_code == Exit.OK
    assert postgres.psql("select count(*) from students", database) == "60"


def test_a_damaged_backup_touches_no_target(
    jobs: Jobs, backup: Path, empty_url: str, postgres: EmbeddedPostgres
) -> None:
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    backup.write_bytes(content)
    ended = jobs.restore(backup, url=empty_url)
    assert (ended.code, "is not what was written there" in ended.error) == (Exit.NOT_VERIFIED, True)
    assert (
        postgres.psql("select count(*) from pg_tables where schemaname = 'public'", empty_url.rpartition("/")[2]) == "0"
    )


def test_a_server_that_is_older_is_refused(jobs: Jobs, backup: Path, postgres17: EmbeddedPostgres) -> None:
    ended = jobs.restore(backup, url=postgres17.url("postgres"))
    assert ended.code == Exit.REFUSED
    assert "is PostgreSQL 17, and the backup was made of PostgreSQL 18" in ended.error


def test_roles_that_are_missing_are_told_before_anything_is_restored(
    jobs: Jobs, live_url: str, empty_url: str, postgres: EmbeddedPostgres
) -> None:
    database = live_url.rpartition("/")[2]
    postgres.psql("create role reader; grant select on members to reader", database)
    assert jobs.backup(live_url).code == Exit.OK
    postgres.psql("drop owned by reader; drop role reader", database)
    refused = jobs.restore(url=empty_url, owners=True)
    assert refused.code == Exit.REFUSED
    assert "lacks the roles reader" in refused.error
    assert jobs.restore(url=empty_url, owners=False).code == Exit.OK


def test_the_guard_of_the_audit_log_comes_back_with_its_role(
    jobs: Jobs, live_log: AuditLog, archives: Archives, empty_url: str, postgres: EmbeddedPostgres
) -> None:
    archives.archive()
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == Exit.OK
    assert archives.delete().rows
    live_log.add(5, days=50)
    source = os.environ["DATABASE_URL"]
    try:
        assert jobs.backup(source).code == Exit.OK
        assert jobs.verify().code == Exit.OK
        expected = contents(postgres, source)
        # Another server has no such role yet.
        archives.use(DATABASE_URL=source)
        assert archives.remove_guard().code == Exit.OK
        refused = jobs.restore(url=empty_url, owners=True)
        assert refused.code == Exit.REFUSED
        assert f"lacks the roles {GUARD_ROLE}" in refused.error
        postgres.psql(f"create role {GUARD_ROLE} nologin noinherit")
        assert jobs.restore(url=empty_url, owners=True).code == Exit.OK
        assert contents(postgres, empty_url) == expected
        # It deletes what is archived, and refuses everything else.
        archives.use(DATABASE_URL=empty_url)
        assert archives.archive().rows == 5
        assert archives.delete().rows == 5
        with pytest.raises(Exception, match="Audit logs are immutable"):
            postgres.psql("truncate audit_logs", empty_url.rpartition("/")[2])
    finally:
        postgres.psql(f"drop owned by {GUARD_ROLE}", empty_url.rpartition("/")[2])
        postgres.psql(f"drop role if exists {GUARD_ROLE}")


def test_a_restore_that_fails_says_that_the_target_is_of_no_use(
    jobs: Jobs, backup: Path, postgres: EmbeddedPostgres
) -> None:
    postgres.create_database("latin", template="template0")
    try:
        postgres.psql("alter database latin set default_transaction_read_only = on", "latin")
        ended = jobs.restore(backup, url=postgres.url("latin"))
    finally:
        postgres.drop_database("latin")
    assert ended.code == Exit.FAILED
    assert "/latin is not as it was backed up: pg_restore ended with status 1" in ended.error


def settings(**values: str) -> RestoreSettings:
    return RestoreSettings(**values)  # type: ignore[arg-type] # by its variables, as from the environment


@pytest.mark.parametrize("to", ["postgresql://u:secret@h/d", "postgresql://u@h/d?password=secret"])
def test_a_password_in_the_command_line_is_refused(to: str) -> None:
    with pytest.raises(JobError, match="UNIONCORE_RESTORE_URL_FILE") as caught:
        target_address(settings(), to)
    assert caught.value.exit == Exit.CONFIGURATION
    assert "secret" not in str(caught.value)


def test_the_target_comes_from_the_command_line_the_environment_or_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services"
    services.write_text(
        "[new]\nhost=db\nuser=u\npassword=se%cret\ndbname=d\nport=5433\n[broken]\nhost=h\nport=x\nuser=u\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert str(target_address(settings(), "postgresql://u@h:1/d")) == "u@h:1/d"
    address = target_address(settings(), "service=new")
    assert (str(address), address.password) == ("u@db:5433/d", "se%cret")
    environment = settings(UNIONCORE_RESTORE_URL="postgresql://u:p@h/d")
    assert target_address(environment, None).password == "p"
    for to, words in {
        None: "no database to restore to: give --to",
        "nonsense": "--to must begin with postgres://",
        "service=broken": "has no service broken with a host",
        "service=none": "has no service none with a host",
    }.items():
        with pytest.raises(JobError, match=words):
            target_address(settings(), to)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "none"))
    with pytest.raises(JobError, match="No such file or directory: set PGSERVICEFILE"):
        target_address(settings(), "service=new")
