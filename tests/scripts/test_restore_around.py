"""A restore brings back what is in no dump: the database's own settings and grants; and is told of roles beforehand."""

import asyncio
import re
from typing import Any

import pyrage  # type: ignore[import-untyped] # it has no stubs
import pytest

from scripts import restore_database
from scripts.backup import restoring
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs
from tests.scripts.restoring import GRANTS, SETTINGS, restorer


def set_up(postgres: EmbeddedPostgres, source: str) -> None:
    postgres.psql(
        f"""
        alter database "{source}" set timezone = 'America/Los_Angeles';
        alter database "{source}" set search_path = "$user", public, "A, b";
        alter database "{source}" set app.local_name = 'O''Brien = 7';
        alter role app in database "{source}" set search_path = public, "C""d";
        alter role app in database "{source}" set role = 'Odd ''role';
        alter role "Odd 'role" in database "{source}" set statement_timeout = '30s';
        alter role "Odd 'role" in database "{source}" set search_path = '';
        alter role "Odd 'role" in database "{source}" set temp_tablespaces = pg_default, '';
        alter role "Odd 'role" in database "{source}" set datestyle = 'ISO, DMY';
        revoke all on database "{source}" from public;
        grant temporary on database "{source}" to public;
        grant connect on database "{source}" to app with grant option;
        grant connect, create on database "{source}" to "Odd 'role";
        """
    )


def test_the_databases_own_settings_and_grants_come_back(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    set_up(postgres, source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    assert jobs.verify().code == Exit.OK
    ended = jobs.restore(url=postgres.url(target), owners=True)
    assert ended.code == Exit.OK, ended.error
    for what in (SETTINGS, GRANTS):
        assert postgres.psql(what, target) == postgres.psql(what, source) != ""
    assert postgres.psql("show timezone", target) == "America/Los_Angeles"
    # It may be a secret.
    assert "local_name" in jobs.log
    assert "Brien" not in jobs.log


def test_what_a_platform_has_put_into_a_new_database_is_no_difference(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    set_up(postgres, source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    postgres.psql("create schema heroku_ext; create extension hstore schema heroku_ext", target)
    ended = jobs.restore(url=postgres.url(target), owners=True)
    assert ended.code == Exit.OK, ended.error
    assert postgres.psql(SETTINGS, target) == postgres.psql(SETTINGS, source) != ""


def test_the_databases_settings_are_given_even_if_something_else_differs(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = names
    set_up(postgres, source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK

    async def pg_restore(*args: Any, **options: Any) -> None:
        await restoring.pg_restore(*args, **options)
        await asyncio.to_thread(postgres.psql, "create table surplus ()", target)

    monkeypatch.setattr(restore_database, "pg_restore", pg_restore)
    ended = jobs.restore(url=postgres.url(target), owners=True)
    assert (ended.code, "table public.surplus is not in the backup" in ended.error) == (Exit.NOT_VERIFIED, True)
    assert postgres.psql(SETTINGS, target) == postgres.psql(SETTINGS, source) != ""


def test_a_target_that_has_a_large_object_is_not_empty(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    postgres.psql("select lo_create(0)", target)
    ended = jobs.restore(url=postgres.url(target))
    assert (ended.code, "is not empty: it has a large object" in ended.error) == (Exit.REFUSED, True)


def test_an_encrypted_backups_manifest_has_no_secret_and_the_settings_come_back(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    set_up(postgres, source)
    postgres.psql("create function secret() returns text language sql as $$ select 'sesame' $$", source)
    identity = pyrage.x25519.Identity.generate()
    jobs.use(UNIONCORE_AGE_RECIPIENTS=str(identity.to_public()), UNIONCORE_AGE_IDENTITY=str(identity))
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    (manifest,) = jobs.backups.glob("*.json")
    assert not re.search("Brien|sesame", manifest.read_text())
    assert jobs.verify().code == Exit.OK
    ended = jobs.restore(url=postgres.url(target), owners=True)
    assert ended.code == Exit.OK, ended.error
    assert postgres.psql(SETTINGS, target) == postgres.psql(SETTINGS, source) != ""
    assert not re.search("Brien|sesame", jobs.log)


def test_without_owners_the_databases_settings_come_back_and_those_of_roles_are_told(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    set_up(postgres, source)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    assert jobs.restore(url=postgres.url(target)).code == Exit.OK
    ours = [line for line in postgres.psql(SETTINGS, source).splitlines() if line.startswith("-")]
    assert postgres.psql(SETTINGS, target).splitlines() == ours
    assert len(ours) == 3
    assert 'alter role \\"app\\" in database' in jobs.log or 'alter role "app" in database' in jobs.log


def test_what_only_a_superuser_could_set_is_left_out_and_said(
    jobs: Jobs, names: tuple[str, str], postgres: EmbeddedPostgres
) -> None:
    source, target = names
    # The second is not shown to ordinary roles.
    postgres.psql(
        f"""
        alter database "{source}" set log_statement = 'all';
        alter database "{source}" set session_preload_libraries = plpgsql;
        alter role app in database "{source}" set statement_timeout = '30s';
        """
    )
    restorer(postgres, source, target)
    assert jobs.backup(postgres.url(source)).code == Exit.OK
    ended = jobs.restore(url=postgres.url(target, user="app", password="app"), owners=True)
    assert ended.code == Exit.OK, ended.error
    assert jobs.log.count("only a superuser may set it") == 2
    assert postgres.psql(SETTINGS, target) == "app|statement_timeout=30s"
