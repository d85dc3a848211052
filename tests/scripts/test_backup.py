"""A backup says what is in it, counts only when it is whole, and costs no older one that is needed."""

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pyrage  # type: ignore[import-untyped] # it has no stubs
import pytest

from exporter.manifests import MANIFEST_SUFFIX, name_at
from exporter.settings import ConfigurationError
from scripts.backup.sealing import unseal
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, opened
from tests.scripts.fakes import programs


def test_a_backup_is_a_dump_and_a_manifest_that_says_what_is_in_it(jobs: Jobs, shape_url: str) -> None:
    ended = jobs.backup(shape_url)
    assert ended.code == Exit.OK
    (name,) = jobs.names()
    dump = jobs.backups / name
    assert dump.stat().st_mode & 0o777 == 0o600
    assert (jobs.backups / (name + MANIFEST_SUFFIX)).stat().st_mode & 0o777 == 0o644
    assert jobs.files() == {name, name + MANIFEST_SUFFIX}
    manifest, facts = unseal((jobs.backups / (name + MANIFEST_SUFFIX)).read_bytes(), name)
    assert (manifest.sha256, manifest.size) == (ended.details["sha256"], dump.stat().st_size)
    assert facts.compression == "gzip:6"  # the wheel's pg_dump 18 is built without zstd
    contents = facts.contents
    assert contents.critical() == {
        "members": 200, "users": 20, "audit_logs": 2000, "dues_payments": 800, "students": 60,
    }  # fmt: skip
    assert {"public.audit_logs.audit_logs_prevent_update", "public.audit_logs.audit_logs_prevent_delete"} == set(
        contents.objects["trigger"]
    )
    assert len(contents.objects["index"]) > 20
    assert (contents.major, facts.client_major) == (18, 18)


def test_a_client_that_can_compresses_with_zstd_as_hard_as_is_asked(
    postgres17: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = Jobs(postgres17, tmp_path, monkeypatch, capsys)
    fast = jobs.backup(postgres17.url("live"))
    assert (fast.details["compression"], jobs.verify().code) == ("zstd:1", Exit.OK)
    small = jobs.backup(postgres17.url("live"), UNIONCORE_BACKUP_ZSTD_LEVEL="6")
    assert (small.details["compression"], jobs.verify().code) == ("zstd:6", Exit.OK)
    assert small.details["size"] < fast.details["size"]


def test_what_is_written_while_the_backup_runs_does_not_disturb_it(jobs: Jobs, live_url: str) -> None:
    stop = threading.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        connection = await asyncpg.connect(live_url)
        while not stop.is_set():
            await connection.execute(
                "insert into audit_logs (table_name, record_id, action) select 'members', i, 'READ'"
                " from generate_series(1, 50) i"
            )
            await connection.execute("update members set notes = random()::text where id % 7 = 0")
            await connection.execute("delete from refresh_tokens where id in (select id from refresh_tokens limit 1)")
            written += 1
        await connection.close()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    try:
        for _ in range(3):
            assert jobs.backup(live_url).code == Exit.OK
    finally:
        stop.set()
        writer.join()
    assert written > 10
    for name in jobs.names():
        assert jobs.verify(name).code == Exit.OK


def test_a_backup_is_encrypted_before_it_is_stored(jobs: Jobs, live_url: str) -> None:
    ours, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    assert jobs.backup(live_url, UNIONCORE_AGE_RECIPIENTS=str(ours.to_public())).code == Exit.OK
    (name,) = jobs.names()
    assert name.endswith(".dump.age")
    assert (jobs.backups / name).read_bytes().startswith(b"age-encryption.org/v1\n")
    unreadable = jobs.verify()
    assert unreadable.code == Exit.CONFIGURATION
    assert "set UNIONCORE_AGE_IDENTITY_FILE" in unreadable.error
    assert "for another key" in jobs.verify(UNIONCORE_AGE_IDENTITY=str(other)).error
    assert str(other) not in jobs.log
    # As age-keygen writes it.
    assert jobs.verify(UNIONCORE_AGE_IDENTITY=f"# created: today\n# public key: x\n{ours}\n").code == Exit.OK


@pytest.mark.parametrize("recipients", ["age1nonsense", " ", ","])
def test_a_recipient_that_is_none_stops_the_backup_before_it_begins(jobs: Jobs, live_url: str, recipients: str) -> None:
    with pytest.raises(ConfigurationError, match="UNIONCORE_AGE_RECIPIENTS: must be public keys of age"):
        jobs.backup(live_url, UNIONCORE_AGE_RECIPIENTS=recipients)


def test_old_backups_go_when_there_are_enough_newer_ones_and_not_before(jobs: Jobs, live_url: str) -> None:
    for days in (60, 50, 45, 40, 35, 3, 2):
        jobs.add(name_at(datetime.now(UTC) - timedelta(days=days), encrypted=False), days=days, proven=days == 50)
    before = jobs.names()
    shown = jobs.backup(live_url, dry_run=True, UNIONCORE_MIN_KEEP="3")
    assert shown.code == Exit.OK
    assert jobs.names() == before
    ended = jobs.backup(live_url)
    # 60 and 45 go; 50 is the newest that is proven, 40 has... three newer ones are those of 35, 3, 2 days and today.
    assert jobs.names()[-1] == ended.details["name"]
    assert ended.details["deleted"]["local"] == shown.details["would_delete"]["local"]
    assert jobs.names()[:-1] == [name for name in before if name not in shown.details["would_delete"]["local"]]
    assert [before.index(name) for name in ended.details["deleted"]["local"]] == [0, 2, 3, 4]
    assert jobs.files() == {file for name in jobs.names() for file in _files_of(jobs, name)}


def _files_of(jobs: Jobs, name: str) -> list[str]:
    return [path.name for path in jobs.backups.glob(f"{name}*")]


def test_what_killed_backups_have_left_goes_with_the_next_success(jobs: Jobs, live_url: str) -> None:
    partial = jobs.backups / f".{name_at(datetime.now(UTC), encrypted=False)}.0123abcd.partial"
    partial.write_bytes(b"half a dump")
    an_hour_ago = time.time() - 3600
    os.utime(partial, (an_hour_ago, an_hour_ago))
    foreign = jobs.backups / "notes.txt"
    foreign.write_text("mine")
    old, young = (name_at(datetime.now(UTC) - timedelta(days=days), encrypted=False) for days in (40, 10))
    for orphan in (old, young):
        (jobs.backups / orphan).write_bytes(b"a dump without a manifest")
    assert jobs.backup(live_url, UNIONCORE_MIN_KEEP="1").code == Exit.OK
    assert old in jobs.files()  # there is no other complete backup yet
    assert jobs.backup(live_url).code == Exit.OK
    assert not partial.exists()
    assert {young, "notes.txt"} < jobs.files()
    assert old not in jobs.files()


def test_the_password_is_neither_in_the_arguments_nor_in_what_is_said(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    seen = tmp_path / "arguments"
    fakes = programs(
        tmp_path,
        postgres,
        **dict.fromkeys(("pg_dump", "pg_restore"), f'echo "$0 $@" >> {seen}; env >> {seen}.env; exec $REAL "$@"'),
    )
    assert jobs.backup(live_url, UNIONCORE_PG_BIN=str(fakes)).code == Exit.OK
    log = jobs.log
    assert jobs.verify().code == Exit.OK
    arguments = seen.read_text()
    assert "--snapshot=" in arguments
    assert "--exit-on-error" in arguments
    for text in (arguments, log, jobs.log, *(path.read_text() for path in jobs.backups.glob("*.json"))):
        assert postgres.password not in text
    assert f"PGPASSWORD={postgres.password}" in Path(f"{seen}.env").read_text()


def test_a_dry_run_writes_nothing(jobs: Jobs, live_url: str) -> None:
    ended = jobs.backup(live_url, dry_run=True)
    assert ended.code == Exit.OK
    assert ended.details["compression"] == "gzip:6"
    assert jobs.files() == set()


def test_the_manifest_is_json_that_other_programs_can_read(jobs: Jobs, live_url: str) -> None:
    jobs.backup(live_url)
    manifest = json.loads((jobs.backups / f"{jobs.names()[0]}.json").read_bytes())
    assert manifest["format"] == 1
    assert manifest["contents"]["tables"]["public.members"]["rows"] == 200
    assert manifest["contents"]["migration"] == "3f0166296a87"


def test_a_database_in_another_encoding_is_backed_up_with_its_odd_names_and_restored_into_its_own_encoding_only(
    jobs: Jobs, postgres: EmbeddedPostgres
) -> None:
    latin = "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    postgres.psql(f"create database latin {latin}; create database latin_too {latin}")
    postgres.create_database("utf8", template="template0")
    try:
        create(postgres.url("latin"), "live", SCALES["small"], seed=1)
        postgres.psql(
            """create table "größe" (id integer primary key, "maß" text); insert into "größe" values (1, 'é')""",
            "latin",
        )
        ended = jobs.backup(postgres.url("latin"))
        assert ended.code == Exit.OK, ended.error
        assert jobs.verify().code == Exit.OK
        refused = jobs.restore(url=postgres.url("utf8"))
        assert refused.code == Exit.REFUSED
        assert "has the encoding UTF8, and the backup was made of LATIN1" in refused.error
        assert jobs.restore(url=postgres.url("latin_too")).code == Exit.OK
        assert postgres.psql('select "maß" from "größe"', "latin_too") == "é"
    finally:
        for name in ("latin", "latin_too", "utf8"):
            postgres.drop_database(name)


@pytest.mark.parametrize(("encoding", "byte"), [("WIN1252", "81"), ("SQL_ASCII", "fe")])
def test_a_text_that_has_no_equivalent_in_utf8_is_backed_up_and_restored(
    jobs: Jobs, postgres: EmbeddedPostgres, encoding: str, byte: str
) -> None:
    for name in ("odd", "odd_too"):
        postgres.psql(f"create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0")
    try:
        create(postgres.url("odd"), "live", SCALES["small"], seed=1)
        postgres.psql(
            f"create table odd (word text); insert into odd values (convert_from('\\x{byte}', '{encoding}'))", "odd"
        )
        # What its sessions get by default is not what a dump is to be in.
        postgres.psql("alter database odd set client_encoding = 'UTF8'")
        ended = jobs.backup(postgres.url("odd"))
        assert ended.code == Exit.OK, ended.error
        assert jobs.verify().code == Exit.OK
        assert jobs.restore(url=postgres.url("odd_too")).code == Exit.OK
        assert postgres.psql("select encode(word::bytea, 'hex') from odd", "odd_too") == byte
    finally:
        for name in ("odd", "odd_too"):
            postgres.drop_database(name)


def test_a_database_without_the_schema_public_and_with_a_sequence_at_its_end_is_verified_and_restored(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres
) -> None:
    database = live_url.rpartition("/")[2]
    postgres.psql(
        "create sequence ended; select setval('ended', 9223372036854775807); alter schema public rename to local;"
        " create sequence local.back increment -1; select setval('local.back', -9223372036854775808)",
        database,
    )
    postgres.create_database("again", template="template0")
    try:
        ended = jobs.backup(live_url)
        assert ended.code == Exit.OK, ended.error
        verified = jobs.verify()
        assert verified.code == Exit.OK, verified.error
        restored = jobs.restore(url=postgres.url("again"))
        assert restored.code == Exit.OK, restored.error
    finally:
        postgres.drop_database("again")


def test_a_sequence_that_goes_down_may_be_used_while_the_backup_runs(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    psql(live_url, "create sequence down increment -2 maxvalue 100 start 100; select nextval('down')")
    use = f"{postgres.bin('psql')} -qXc \"select nextval('down') from generate_series(1, 3)\" >/dev/null"
    fake = programs(tmp_path, postgres, pg_dump=f'sleep 0.5; {use}; $REAL "$@"; status=$?; {use}; exit $status')
    assert jobs.backup(live_url, UNIONCORE_PG_BIN=str(fake)).code == Exit.OK
    _, facts = opened(jobs.backups / jobs.names()[0])
    assert facts.contents.sequences["public.down"] == (86, 98)
    verified = jobs.verify()
    assert verified.code == Exit.OK, verified.error


def test_what_pg_dump_warns_of_is_told(jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    words = "pg_dump: warning: subscriptions not dumped because current user is not a superuser"
    fake = programs(tmp_path, postgres, pg_dump=f'echo "{words}" >&2; exec $REAL "$@"')
    ended = jobs.backup(live_url, UNIONCORE_PG_BIN=str(fake))
    assert (ended.code, ended.details["warnings"], words in jobs.log) == (Exit.OK, [words], True)
