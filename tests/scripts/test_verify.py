"""A backup is proven by a restore that brought back everything, and by nothing less."""

import resource
import shutil
import signal
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Proof
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql
from scripts.job.exits import Exit, JobError
from tests.scripts.backing import CRITICAL, Jobs, assert_not_verified, close, opened
from tests.scripts.fakes import programs
from tests.scripts.forking import Forked
from tests.scripts.running import end, environment, wait_for


def test_a_good_backup_is_proven_and_the_proof_is_seen(jobs: Jobs, shape_url: str) -> None:
    jobs.backup(shape_url)
    ended = jobs.verify()
    assert ended.code == Exit.OK
    assert ended.details["critical"] == CRITICAL
    assert ended.details["tables"] == 18
    assert ended.details["compared"] > 300
    assert jobs.scratch_databases() == ""
    assert jobs.listing().backups[-1].verified_at is not None
    assert jobs.listing().rejected == ()


def test_without_a_server_to_use_one_is_started_and_thrown_away(
    jobs: Jobs, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNIONCORE_SCRATCH_URL")
    assert jobs.verify(backup).code == Exit.OK


def test_without_any_server_it_says_what_to_do(
    jobs: Jobs, backup: Path, monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    monkeypatch.delenv("UNIONCORE_SCRATCH_URL")
    ended = jobs.verify(backup, UNIONCORE_PG_BIN=str(programs(tmp_path, postgres)))
    assert ended.code == Exit.TOOL
    assert ended.error.startswith(
        "a scratch server needs the programs of PostgreSQL 18 or newer, and none is installed"
    )
    assert ended.error.endswith("or name a server by UNIONCORE_SCRATCH_URL")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("drop table students cascade", "table public.students is missing"),
        ("delete from students", "table public.students has 0 rows, not 60"),
        ("update dues_payments set amount_paid = amount_paid + 0.01 where id = 1", "but not the same content"),
        ("update members set notes = '' where notes is null and id < 3", "but not the same content"),
        ("drop index ix_audit_logs_table_name", "index public.ix_audit_logs_table_name is missing"),
        ("drop trigger audit_logs_prevent_delete on audit_logs", "trigger public.audit_logs.audit_logs_prevent_delete"),
        ("alter table audit_logs disable trigger all", "trigger public.audit_logs.audit_logs_prevent_delete is"),
        ("alter table users drop constraint users_email_key", "constraint public.users.users_email_key is missing"),
        ("select setval('members_id_seq', 1)", "sequence public.members_id_seq goes on with 2, not with 201"),
        ("create table more (id integer)", "table public.more is not in the backup"),
    ],
)
def test_a_dump_that_lacks_anything_is_not_verified(
    jobs: Jobs, backup: Path, live_url: str, change: str, told: str
) -> None:
    # The dump of the changed database, with the manifest of what it was before.
    manifest, facts = opened(backup)
    jobs.server.psql(change, live_url.rpartition("/")[2])
    subprocess.run([jobs.server.bin("pg_dump"), "-Fc", "-f", backup, "-d", live_url], check=True)
    close(backup, manifest, facts)
    assert_not_verified(jobs, backup, told)


def test_a_manifest_that_names_nothing_verifies_nothing(jobs: Jobs, backup: Path) -> None:
    manifest, facts = opened(backup)
    nothing = replace(facts.contents, tables={}, objects={}, sequences={})
    close(backup, manifest, replace(facts, contents=nothing))
    assert_not_verified(jobs, backup, "the manifest names nothing to compare with")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", "table public.alembic_version is missing"),
        ("exit 1", "pg_restore ended with status 1"),
        ('exec $REAL "$@" --schema-only', "has 0 rows, not"),
        ('exec $REAL "$@" --exclude-schema=x --section=pre-data --section=data', "is missing"),
    ],
)
def test_a_pg_restore_that_says_yes_is_not_believed(
    jobs: Jobs, backup: Path, tmp_path: Path, script: str, told: str
) -> None:
    jobs.use(UNIONCORE_PG_BIN=str(programs(tmp_path, jobs.server, pg_restore=script)))
    assert_not_verified(jobs, backup, told)


def test_a_backup_without_its_manifest_or_without_its_dump_is_none(jobs: Jobs, backup: Path) -> None:
    manifest = Path(f"{backup}{MANIFEST_SUFFIX}")
    text = manifest.read_bytes()
    manifest.unlink()
    assert_not_verified(jobs, backup, "without its manifest a dump is no backup")
    assert_not_verified(jobs, "latest", "there is no complete backup in")
    manifest.write_bytes(text)
    backup.unlink()
    assert_not_verified(jobs, backup.name, "there is no such dump")
    assert_not_verified(jobs, "latest", "is no backup: there is no dump beside it")
    assert_not_verified(jobs, "/no/such/file", "there is no such file")


def test_the_latest_backup_does_not_hide_behind_an_older_one(jobs: Jobs, backup: Path, live_url: str) -> None:
    assert jobs.backup(live_url).code == Exit.OK
    newest = jobs.backups / jobs.names()[-1]
    assert newest != backup
    newest.write_bytes(newest.read_bytes()[:-1])
    assert_not_verified(jobs, "latest", f"{newest.name}{MANIFEST_SUFFIX} is no backup: the dump has")


def test_a_proof_is_written_once_and_a_wrong_one_is_replaced(jobs: Jobs, backup: Path) -> None:
    proof = Path(f"{backup}{PROOF_SUFFIX}")
    proof.write_bytes(b"rubbish")
    assert jobs.verify().details["proven"] == [str(jobs.backups)]
    first = proof.read_bytes()
    assert Proof.parse(first).extra["critical"] == CRITICAL
    assert jobs.verify().code == Exit.OK
    assert proof.read_bytes() == first


def test_a_backup_that_has_decayed_since_it_was_proven_is_proven_no_longer(
    jobs: Jobs, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = Path(f"{backup}{PROOF_SUFFIX}")
    assert jobs.verify().code == Exit.OK
    with monkeypatch.context() as patch:
        patch.setattr("scripts.verify_backup.pg_restore", unreachable)
        assert jobs.verify().code == Exit.UNREACHABLE
    assert proof.exists()
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    backup.write_bytes(content)
    assert_not_verified(jobs, "latest", "is not what was written there")
    assert not proof.exists()


async def unreachable(*_: object, **__: object) -> None:
    raise JobError(Exit.UNREACHABLE, "the server is gone")


def test_unioncores_own_database_is_never_the_scratch_server(jobs: Jobs, backup: Path, live_url: str) -> None:
    ended = jobs.verify(backup, DATABASE_URL=live_url, UNIONCORE_SCRATCH_URL=live_url)
    assert ended.code == Exit.REFUSED
    assert "UNIONCORE_SCRATCH_URL names UnionCore's own database" in ended.error


def test_a_scratch_server_without_the_roles_of_policies_is_refused_and_calls_no_backup_bad(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres
) -> None:
    psql(live_url, "create role visitor; create policy own on members to visitor using (true)")
    try:
        assert jobs.backup(live_url).code == Exit.OK
    finally:
        psql(live_url, "drop policy own on members; drop role visitor")
    elsewhere = {"UNIONCORE_SCRATCH_URL": postgres.url("postgres")}
    ended = jobs.verify(**elsewhere)
    assert (ended.code, "lacks the roles visitor, which" in ended.error) == (Exit.REFUSED, True)
    psql(live_url, "create role visitor")
    try:
        assert jobs.verify(**elsewhere).code == Exit.OK
    finally:
        psql(live_url, "drop role visitor")


def test_a_database_whose_locale_is_postgresqls_own_is_verified_in_one_like_it(
    jobs: Jobs, postgres: EmbeddedPostgres
) -> None:
    locale = "locale_provider builtin builtin_locale 'C.UTF-8' lc_collate 'C' lc_ctype 'C'"
    postgres.psql(f"create database accented template template0 encoding 'UTF8' {locale}")
    try:
        create(postgres.url("accented"), "live", SCALES["small"], seed=1)
        postgres.psql(
            "create table t (x text, low text generated always as (lower(x)) stored); insert into t values ('ÉÄ')",
            "accented",
        )
        assert jobs.backup(postgres.url("accented")).code == Exit.OK
        assert postgres.psql("select low from t", "accented") == "éä"
    finally:
        postgres.drop_database("accented")
    ended = jobs.verify()
    assert ended.code == Exit.OK, ended.error


def test_a_scratch_server_whose_disk_is_full_says_nothing_of_the_backup(jobs: Jobs, live_url: str) -> None:
    psql(live_url, "create table wide as select repeat(md5(id::text), 50) as words from generate_series(1, 20000) id")
    assert jobs.backup(live_url).code == Exit.OK
    assert jobs.verify().code == Exit.OK
    (name,) = jobs.names()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As large as a file of the server's log.
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, limits[1]))
    try:
        small = EmbeddedPostgres()
        small.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with closing(small):
        ended = jobs.verify(UNIONCORE_SCRATCH_URL=small.url("postgres"))
    assert (ended.code, "File too large" in ended.error) == (Exit.NO_SPACE, True), ended.error
    assert (jobs.backups / (name + PROOF_SUFFIX)).exists()


def test_a_scratch_server_that_dies_says_nothing_of_the_backup(jobs: Jobs, backup: Path, tmp_path: Path) -> None:
    assert jobs.verify().code == Exit.OK
    with EmbeddedPostgres() as server:
        stop = f'kill -9 $(head -1 {server.data}/postmaster.pid); sleep 1; exec $REAL "$@"'
        ended = jobs.verify(
            UNIONCORE_SCRATCH_URL=server.url("postgres"),
            UNIONCORE_PG_BIN=str(programs(tmp_path, server, pg_restore=stop)),
        )
    assert ended.code == Exit.UNREACHABLE, ended.error
    assert Path(f"{backup}{PROOF_SUFFIX}").exists()


def test_a_scratch_server_that_is_too_old_is_refused(jobs: Jobs, backup: Path, postgres17: EmbeddedPostgres) -> None:
    ended = jobs.verify(backup, UNIONCORE_SCRATCH_URL=postgres17.url("postgres"))
    assert ended.code == Exit.TOOL
    assert "is PostgreSQL 17: the backup needs 18 or newer" in ended.error


def test_what_a_killed_run_has_left_on_the_scratch_server_is_dropped(
    jobs: Jobs, backup: Path, postgres: EmbeddedPostgres
) -> None:
    for name in ("unioncore_scratch_20200101000000_0123abcd", "unioncore_scratch_mine"):
        postgres.create_database(name)
    try:
        assert jobs.verify(backup).code == Exit.OK
        assert jobs.scratch_databases() == "unioncore_scratch_mine"
    finally:
        postgres.drop_database("unioncore_scratch_mine")


def test_a_run_that_is_told_to_end_drops_its_scratch_database(
    jobs: Jobs, backup: Path, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    slow = programs(tmp_path, postgres, pg_restore='$REAL "$@"; exec sleep 60')
    env = environment(
        jobs.backups, live_url, UNIONCORE_PG_BIN=str(slow), UNIONCORE_SCRATCH_URL=postgres.url("postgres")
    )
    running = Forked(("scripts.ops", "verify", str(backup)), env)
    wait_for(lambda: jobs.scratch_databases() or running.poll() is not None)
    running.signal(signal.SIGTERM)
    ended = end(running)
    assert ended.code == Exit.TERMINATED
    assert jobs.scratch_databases() == ""


def test_a_name_is_that_of_a_backup_not_of_a_file_that_lies_about(
    jobs: Jobs, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / backup.name).write_bytes(b"a copy that was cut off")
    monkeypatch.chdir(tmp_path)
    ended = jobs.verify(backup.name)
    assert (ended.code, ended.details["location"]) == (Exit.OK, str(jobs.backups))


def test_a_backup_elsewhere_is_verified_by_its_path(jobs: Jobs, backup: Path, tmp_path: Path) -> None:
    place = tmp_path / "copied"
    place.mkdir()
    for file in jobs.backups.glob(f"{backup.name}*"):
        shutil.copy(file, place)
    assert jobs.verify(place / backup.name).details["proven"] == [str(place), str(jobs.backups)]
