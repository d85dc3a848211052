"""What befalls the scratch server takes no backup's proof away; what is wrong with the backup takes all of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.manifests import PROOF_SUFFIX, Proof
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs
from tests.scripts.fakes import programs


@pytest.fixture
def proven(jobs: Jobs, backup: Path) -> Path:
    """A good backup that is proven; its proof."""
    assert jobs.verify().code == Exit.OK
    return Path(f"{backup}{PROOF_SUFFIX}")


@pytest.fixture
def limited(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The scratch server's URL for a role that may make databases, and nothing else."""
    postgres.psql("create role limited login createdb password 'sesame'")
    yield postgres.url("postgres", user="limited", password="sesame")
    postgres.psql("drop role limited")


def test_a_scratch_server_that_refuses_a_second_connection_says_nothing_of_the_backup(
    jobs: Jobs, proven: Path, limited: str, postgres: EmbeddedPostgres
) -> None:
    postgres.psql("alter role limited connection limit 1")
    ended = jobs.verify(UNIONCORE_SCRATCH_URL=limited)
    assert (ended.code, "too many connections" in ended.error) == (Exit.UNREACHABLE, True), ended.error
    assert proven.exists()


@pytest.fixture
def builtin() -> Iterator[str]:
    """The URL of a server whose databases have PostgreSQL's own locale C, unless they are told another one."""
    with EmbeddedPostgres() as server:
        # What initdb makes of --locale-provider=builtin.
        server.psql(
            "update pg_database set datlocprovider = 'b', datlocale = 'C' where datname in ('template0', 'template1')"
        )
        yield server.url("postgres")


def test_a_database_of_the_c_librarys_locale_is_verified_on_a_server_of_another_kind(
    jobs: Jobs, live_url: str, builtin: str
) -> None:
    psql(
        live_url,
        "create table t (x text, low text generated always as (lower(x)) stored); insert into t values ('ÉÄ')",
    )
    assert psql(live_url, "select low from t") == "éä"
    assert jobs.backup(live_url).code == Exit.OK
    ended = jobs.verify(UNIONCORE_SCRATCH_URL=builtin)
    assert ended.code == Exit.OK, ended.error


def test_a_role_that_may_not_make_what_is_in_the_backup_says_nothing_of_it(
    jobs: Jobs, limited: str, live_url: str
) -> None:
    psql(
        live_url,
        "create function on_ddl() returns event_trigger language plpgsql as 'begin end';"
        " create event trigger watch on ddl_command_end execute function on_ddl()",
    )
    assert jobs.backup(live_url).code == Exit.OK
    assert jobs.verify().code == Exit.OK
    ended = jobs.verify(UNIONCORE_SCRATCH_URL=limited)
    assert ended.code == Exit.FAILED, ended.error
    assert ended.error.startswith("the scratch server can't take the backup, which says nothing of the backup itself: ")
    assert "permission denied to create event trigger" in ended.error
    assert jobs.listing().backups[-1].verified_at is not None


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_pg_restore_that_somebody_has_ended_says_nothing_of_the_backup(
    jobs: Jobs, proven: Path, tmp_path: Path, signal: str
) -> None:
    ended = jobs.verify(UNIONCORE_PG_BIN=str(programs(tmp_path, jobs.server, pg_restore=f"kill -{signal} $$")))
    assert (ended.code, "was ended by signal" in ended.error) == (Exit.FAILED, True), ended.error
    assert proven.exists()


@pytest.fixture
def copied(jobs: Jobs, proven: Path, tmp_path: Path) -> Path:
    """The same backup in another place, as proven as it is in the first."""
    place = tmp_path / "copied"
    place.mkdir()
    name = proven.name.removesuffix(PROOF_SUFFIX)
    for file in jobs.backups.glob(f"{name}*"):
        shutil.copy(file, place)
    return place / name


def test_what_a_restore_does_not_bring_back_is_wrong_with_every_copy(
    jobs: Jobs, copied: Path, proven: Path, tmp_path: Path
) -> None:
    lacking = programs(tmp_path, jobs.server, pg_restore='exec $REAL "$@" --schema-only')
    ended = jobs.verify(copied, UNIONCORE_PG_BIN=str(lacking))
    assert (ended.code, "rows, not" in ended.error) == (Exit.NOT_VERIFIED, True), ended.error
    assert not Path(f"{copied}{PROOF_SUFFIX}").exists()
    assert not proven.exists()


def test_a_copy_that_has_decayed_takes_no_proof_from_the_others(jobs: Jobs, copied: Path, proven: Path) -> None:
    copied.write_bytes(copied.read_bytes()[:-1] + b"?")
    assert jobs.verify(copied).code == Exit.NOT_VERIFIED
    assert not Path(f"{copied}{PROOF_SUFFIX}").exists()
    assert proven.exists()
    assert jobs.verify().code == Exit.OK


def test_a_proof_of_another_backup_by_that_name_stays(jobs: Jobs, copied: Path, proven: Path, tmp_path: Path) -> None:
    kept = Proof("b" * 64, Proof.parse(proven.read_bytes()).verified_at).render()
    proven.write_bytes(kept)
    lacking = programs(tmp_path, jobs.server, pg_restore='exec $REAL "$@" --schema-only')
    assert jobs.verify(copied, UNIONCORE_PG_BIN=str(lacking)).code == Exit.NOT_VERIFIED
    assert proven.read_bytes() == kept
