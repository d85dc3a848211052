"""The programs that are used are those of the server's own version, or else the next newer ones."""

import stat
from pathlib import Path

import pytest

from scripts.backup.programs import Programs, choose, choose_reader, installed, start
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import find_programs
from scripts.job.exits import Exit, JobError


def programs(*majors: int) -> list[Programs]:
    return [Programs(Path(f"/{number}"), major, str(major)) for number, major in enumerate(majors)]


@pytest.mark.parametrize(
    ("found", "server", "chosen"), [((18, 15, 17, 15), 15, 1), ((18, 15, 17), 16, 2), ((18, 17, 18), 18, 0)]
)
def test_the_nearest_that_is_not_older_is_taken(found: tuple[int, ...], server: int, chosen: int) -> None:
    assert choose(programs(*found), server, "a backup").directory == Path(f"/{chosen}")


@pytest.mark.parametrize(
    ("found", "words"),
    [((), "none is installed: install postgresql-client-18"), ((15, 17), "the newest that is installed is 17")],
)
def test_older_ones_are_refused(found: tuple[int, ...], words: str) -> None:
    with pytest.raises(JobError, match=words) as caught:
        choose(programs(*found), 18, "a backup")
    assert caught.value.exit == Exit.TOOL


def test_what_a_build_can_do_is_tried(
    postgres: EmbeddedPostgres, postgres17: EmbeddedPostgres, postgres15: EmbeddedPostgres
) -> None:
    found = [installed(server.bin("pg_dump").parent)[0] for server in (postgres15, postgres17, postgres)]
    assert [(one.major, one.has_zstd()) for one in found] == [(15, False), (17, True), (18, False)]
    assert all(one.can_serve() for one in found)


def fake(directory: Path, script: str) -> Path:
    directory.mkdir()
    path = directory / "pg_dump"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return directory


def test_path_comes_before_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fake(tmp_path / "first", "echo 'pg_dump (PostgreSQL) 15.1 (Somebody 15.1-1)'")
    odd = fake(tmp_path / "odd", "echo nonsense")
    beta = fake(tmp_path / "beta", "echo 'pg_dump (PostgreSQL) 19beta2'")
    monkeypatch.setenv("PATH", f"{first}:{odd}:{tmp_path / 'none'}:{beta}:/usr/bin:/bin")
    found = installed(None)
    assert found[:2] == [Programs(first, 15, "15.1"), Programs(beta, 19, "19beta2")]
    assert choose(found, 15, "a backup").directory == first
    assert installed(beta) == [Programs(beta, 19, "19beta2")]
    with pytest.raises(JobError, match="pg_restore is missing: install PostgreSQL 19's client"):
        found[1].path("pg_restore")


def test_a_program_that_another_thread_has_seen_end_is_ended_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with start(["/bin/true"], {}) as child:
        assert child.process.wait() == 0
        # What it answers while a thread that waits for the program has not yet told of its end.
        monkeypatch.setattr(child.process, "poll", lambda: None)
        child.end()


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ('could not execute query: ERROR:  could not create unique index "a: B"', Exit.NOT_VERIFIED),
        ("could not execute query: ERROR:  function lower_of(text) does not exist", Exit.NOT_VERIFIED),
        ("error returned by PQputCopyData: ERROR:  invalid input syntax for type json", Exit.NOT_VERIFIED),
        ("could not read from input file: end of file", Exit.NOT_VERIFIED),
        ("could not uncompress data: invalid code lengths set", Exit.NOT_VERIFIED),
        ("could not decompress data: Data corruption detected", Exit.NOT_VERIFIED),
        ("could not decompress data: Unknown frame descriptor", Exit.NOT_VERIFIED),
        ('could not reconnect to database: FATAL:  too many connections for role "x"', Exit.UNREACHABLE),
        ("could not execute query: FATAL:  terminating connection due to administrator command", Exit.UNREACHABLE),
        ("could not execute query: ERROR:  cannot execute CREATE TABLE in a read-only transaction", Exit.FAILED),
        ('could not execute query: ERROR:  could not extend file "a": No space left on device', Exit.NO_SPACE),
        ('could not execute query: ERROR:  temporary file size exceeds "temp_file_limit" (1kB)', Exit.NO_SPACE),
        ('could not execute query: ERROR:  permission denied to create extension "pageinspect"', Exit.FAILED),
        ("could not execute query: ERROR:  must be owner of table a", Exit.FAILED),
        ('could not execute query: ERROR:  must be able to SET ROLE "x"', Exit.FAILED),
        ('could not execute query: ERROR:  extension "postgis" is not available', Exit.FAILED),
        ('could not execute query: ERROR:  could not create locale "xx": No such file or directory', Exit.FAILED),
        ("could not execute query: ERROR:  out of shared memory", Exit.FAILED),
        ("could not execute query: ERROR:  canceling statement due to statement timeout", Exit.FAILED),
        ("could not execute query: ERROR:  ICU is not supported in this build", Exit.FAILED),
        ("could not create worker process: Resource temporarily unavailable", Exit.FAILED),
        ("could not read from input file: Input/output error", Exit.FAILED),
    ],
)
def test_what_a_restore_fails_of_is_told_from_what_is_wrong_with_the_dump(said: str, meaning: Exit) -> None:
    with start(["/bin/sh", "-c", 'echo "pg_restore: error: $0" >&2; exit 1', said], {}) as child:
        child.process.wait()
        assert child.failure(Exit.NOT_VERIFIED).exit is meaning


def test_a_build_without_zstd_is_not_chosen_for_a_dump_that_is_compressed_with_it() -> None:
    wheels = [Programs(find_programs(major), major, str(major)) for major in (18, 17)]
    assert [programs.has_zstd() for programs in wheels] == [False, True]
    assert choose_reader(wheels, 17, "zstd:1") == wheels[1]
    assert choose_reader(wheels, 17, "gzip:6") == wheels[1]
    assert choose_reader(wheels, 18, "gzip:6") == wheels[0]
    with pytest.raises(JobError, match=r"is compressed with zstd, which .*pg_restore was built without") as caught:
        choose_reader(wheels[:1], 17, "zstd:1")
    assert caught.value.exit is Exit.TOOL
