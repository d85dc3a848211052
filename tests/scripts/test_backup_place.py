"""What else lies where backups are kept, and a clock or a document that can't be trusted, cost no backup."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.manifests import PROOF_SUFFIX
from scripts.backup import catalog, sealing
from scripts.dev.generate import SCALES, create
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, close, opened


def test_a_manifest_that_cannot_be_read_counts_as_no_backup_and_stops_nothing(
    jobs: Jobs, backup: Path, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == f"{backup.name}.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        ended = jobs.backup(live_url, RETENTION_DAYS="1", UNIONCORE_MIN_KEEP="1")
        assert jobs.backup(live_url).code == Exit.OK
        assert f'file={backup.name}.json reason="it cannot be read (Permission denied)"' in jobs.log
    assert ended.code == Exit.OK, ended.error
    assert jobs.names()[:2] == [backup.name, ended.details["name"]]
    assert jobs.verify().code == Exit.OK


@pytest.mark.parametrize("hours", [-30, 30])
def test_with_a_clock_that_is_wrong_nothing_is_dated_or_deleted(
    jobs: Jobs, backup: Path, live_url: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    off = f"clock_timestamp() - interval '{hours} h'"
    monkeypatch.setattr(catalog, "DATABASE", catalog.DATABASE.replace("clock_timestamp()", off))
    ended = jobs.backup(live_url)
    assert ended.code == Exit.REFUSED
    assert "this machine's clock and the database's are 30.0 h apart" in ended.error
    assert jobs.names() == [backup.name]


def test_a_dump_whose_manifest_cannot_be_made_is_not_left_behind(
    jobs: Jobs, live_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MAX_DOCUMENT", 1000)
    ended = jobs.backup(live_url)
    assert (ended.code, "the database has too many objects" in ended.error) == (Exit.FAILED, True)
    assert [path.name for path in jobs.backups.iterdir() if path.is_file()] == []


def test_backups_of_another_database_in_the_same_place_are_left_alone_and_not_mistaken(
    jobs: Jobs, backup: Path, live_url: str, documented_url: str
) -> None:
    other = documented_url.rpartition("/")[2]
    assert jobs.backup(documented_url, UNIONCORE_MIN_KEEP="1").code == Exit.OK
    (theirs,) = set(jobs.names()) - {backup.name}
    manifest, facts = opened(jobs.backups / theirs)
    close(jobs.backups / theirs, replace(manifest, finished_at=manifest.finished_at - timedelta(days=90)), facts)
    ended = jobs.backup(live_url, UNIONCORE_MIN_KEEP="1")
    assert (ended.code, ended.details["deleted"]) == (Exit.OK, {"local": []})
    assert other in jobs.log
    assert theirs in jobs.names()
    # The newest is the other one's.
    assert jobs.backup(documented_url).code == Exit.OK
    assert jobs.verify(DATABASE_URL=live_url).details["name"] == ended.details["name"]
    refused = jobs.verify(DATABASE_URL="")
    assert (refused.code, "has backups of several databases" in refused.error) == (Exit.REFUSED, True)


@pytest.fixture
def namesake(postgres17: EmbeddedPostgres, live_url: str) -> Iterator[str]:
    """A database of the live one's name on another server, of which `initdb` made another cluster."""
    name = live_url.rpartition("/")[2]
    postgres17.create_database(name)
    create(postgres17.url(name), "live", SCALES["small"], seed=2)
    yield postgres17.url(name)
    postgres17.drop_database(name)


def aged(jobs: Jobs, name: str, **facts: Any) -> str:
    """Make a backup 90 days older, and say something else of its database."""
    manifest, said = opened(jobs.backups / name)
    older = replace(manifest, finished_at=manifest.finished_at - timedelta(days=90))
    close(jobs.backups / name, older, replace(said, contents=replace(said.contents, **facts)))
    return name


def test_backups_of_a_database_by_the_same_name_on_another_server_are_left_alone_and_not_mistaken(
    jobs: Jobs, live_url: str, namesake: str
) -> None:
    jobs.use(UNIONCORE_MIN_KEEP="1")
    ours = aged(jobs, jobs.backup(live_url).details["name"])
    ended = jobs.backup(namesake)
    assert (ended.code, ended.details["deleted"]) == (Exit.OK, {"local": []})
    theirs = ended.details["name"]
    assert "backups of other databases are left alone" in jobs.log
    assert jobs.verify(DATABASE_URL=live_url).details["name"] == ours
    assert jobs.verify(DATABASE_URL=namesake).details["name"] == theirs
    # Which server it is on, only the server knows.
    for unknown in ("", namesake.replace("127.0.0.1", "127.0.0.2")):
        refused = jobs.verify(DATABASE_URL=unknown)
        assert (refused.code, "has backups of several databases" in refused.error) == (Exit.REFUSED, True), refused
    (jobs.backups / f"{ours}{PROOF_SUFFIX}").unlink()
    assert jobs.backup(live_url).details["deleted"] == {"local": [ours]}
    assert theirs in jobs.names()


def test_where_all_backups_are_of_one_database_its_server_need_not_be_there_to_find_the_latest(
    jobs: Jobs, backup: Path
) -> None:
    assert jobs.verify(DATABASE_URL="postgresql://nobody@127.0.0.1:1/elsewhere").details["name"] == backup.name


def test_a_manifest_that_does_not_say_its_server_counts_by_the_databases_name(
    jobs: Jobs, live_url: str, namesake: str
) -> None:
    jobs.use(UNIONCORE_MIN_KEEP="1")
    old = aged(jobs, jobs.backup(live_url).details["name"], cluster="", oid=0)
    assert jobs.backup(namesake).details["deleted"] == {"local": [old]}


def test_the_backups_of_a_database_that_was_renamed_are_still_its_own(jobs: Jobs, postgres17: EmbeddedPostgres) -> None:
    jobs.use(UNIONCORE_MIN_KEEP="1")
    postgres17.create_database("before")
    create(postgres17.url("before"), "live", SCALES["small"], seed=2)
    old = aged(jobs, jobs.backup(postgres17.url("before")).details["name"])
    postgres17.psql("alter database before rename to since")
    try:
        ended = jobs.backup(postgres17.url("since"))
        assert ended.details["deleted"] == {"local": [old]}
        assert "left alone" not in jobs.log
    finally:
        postgres17.drop_database("since")


def test_who_may_not_ask_for_the_servers_identity_backs_up_by_the_databases_name(
    jobs: Jobs, postgres17: EmbeddedPostgres
) -> None:
    postgres17.create_database("closed")
    create(postgres17.url("closed"), "live", SCALES["small"], seed=2)
    postgres17.psql(
        "create role reader login password 'sesame' in role pg_read_all_data;"
        " revoke execute on function pg_control_system() from public",
        "closed",
    )
    try:
        ended = jobs.backup(postgres17.url("closed", user="reader", password="sesame"))
        assert ended.code == Exit.OK, ended.error
        assert opened(jobs.backups / ended.details["name"])[1].contents.cluster == ""
    finally:
        postgres17.drop_database("closed")
        postgres17.psql("drop role reader")


def test_a_stray_file_beside_the_backups_is_no_newest_backup(jobs: Jobs, backup: Path) -> None:
    del backup
    for name in ("zabbix.json", "unioncore-notes.json", "unioncore-99991231T000000000Z.dump.notes.json"):
        (jobs.backups / name).write_text("{}")
    ended = jobs.verify()
    assert ended.code == Exit.OK, ended.error
