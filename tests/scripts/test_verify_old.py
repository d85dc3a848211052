"""Dumps of the script before this, which have no manifest, are verified as far as that goes."""

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from tests.scripts.backing import CRITICAL, Jobs, assert_not_verified
from tests.scripts.fakes import programs


def naive(jobs: Jobs, url: str, *options: str) -> Path:
    """A dump as the script before made it."""
    path = jobs.backups / "unioncore_20260101_020000.sql.gz"
    plain = subprocess.run([jobs.server.bin("pg_dump"), "-d", url, *options], check=True, capture_output=True).stdout
    path.write_bytes(gzip.compress(plain))
    return path


def test_an_old_dump_without_a_manifest_is_verified_as_far_as_that_goes(
    jobs: Jobs, shape_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.server.psql("create role somebody; alter table members owner to somebody", shape_url.rpartition("/")[2])
    try:
        path = naive(jobs, shape_url)
    finally:
        jobs.server.psql("reassign owned by somebody to postgres; drop role somebody", shape_url.rpartition("/")[2])
    monkeypatch.delenv("UNIONCORE_SCRATCH_URL")  # a server of its own, on which its roles can be made
    ended = jobs.verify(path)
    assert ended.code == Exit.OK, ended
    assert ended.details["critical"] == CRITICAL
    assert jobs.names() == []  # it is still no backup that counts
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    assert jobs.verify(plain).code == Exit.OK


OLD_DUMPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda dump: dump[: len(dump) // 2], "is damaged"),
    "without its last byte": (lambda dump: dump[:-1], "is damaged"),
    "with a flipped bit": (lambda dump: dump[:5000] + bytes([dump[5000] ^ 1]) + dump[5001:], "is damaged"),
    "with a wrong CRC": (lambda dump: dump[:-8] + bytes([dump[-8] ^ 1]) + dump[-7:], "is damaged"),
    "cut off before it was packed": (
        lambda dump: gzip.compress(gzip.decompress(dump)[:-3000]), "its last line is missing"),
    "empty": (lambda _: gzip.compress(b""), "its last line is missing"),
    "of no bytes": (lambda _: b"", "its last line is missing"),
    "that is rubbish": (lambda dump: b"x" * len(dump), "is damaged"),
    "with an error in it": (
        lambda dump: gzip.compress(gzip.decompress(dump).replace(b"CREATE TABLE public.grants", b"CREATE TABEL x", 1)),
        "psql ended with status"),
    "with a row left out": (
        lambda dump: gzip.compress(gzip.decompress(dump).replace(b"\n2\t", b"\nrubbish\t", 1)), "psql ended"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OLD_DUMPS)
def test_an_old_dump(kind: str, jobs: Jobs, live_url: str) -> None:
    path = naive(jobs, live_url)
    spoil, words = OLD_DUMPS[kind]
    path.write_bytes(spoil(path.read_bytes()))
    assert_not_verified(jobs, path, words)


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """Put something into a dump in place of its first words like these."""
    plain = gzip.decompress(path.read_bytes())
    assert old in plain
    path.write_bytes(gzip.compress(plain.replace(old, new, 1)))
    return path


@pytest.fixture
def older(jobs: Jobs, live_url: str) -> Path:
    """A dump by a pg_dump of before CVE-2025-8714, which did not keep psql from its commands."""
    path = naive(jobs, live_url)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    plain = [line for line in lines if not line.startswith((b"\\restrict", b"\\unrestrict"))]
    assert len(plain) == len(lines) - 2
    path.write_bytes(gzip.compress(b"".join(plain)))
    return path


SET = b"SET statement_timeout = 0;"


@pytest.mark.parametrize(
    "words",
    [
        b"\\connect postgres\n",
        b" \\! touch %b\n",
        b"\\restrict a; \\! touch %b\n",
        b"\\unrestrict a\n\\! touch %b\n",
        b"select 1; \\! touch %b\n",
        b"select 1 \\g |touch %b\n",
        b"\\if true \\! touch %b\n\\endif\n",
    ],
)
def test_an_old_dump_that_would_have_psql_do_something_else_is_refused_before_it_does(
    words: bytes, jobs: Jobs, older: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    ended = jobs.verify(changed(older, SET, SET + b"\n" + words.replace(b"%b", bytes(made))))
    assert (ended.code, "may lead out of the scratch database" in ended.error) == (Exit.REFUSED, True), ended
    assert not made.exists()


def test_an_old_dump_may_have_backslashes_wherever_they_are_no_commands(jobs: Jobs, older: Path) -> None:
    comment = b"\nCOMMENT ON SCHEMA public IS 'see\n\\\\server\\share\n\\restrict me';\n"
    ended = jobs.verify(changed(older, SET, SET + comment))
    assert ended.code == Exit.OK, ended.error


def test_a_psql_that_does_not_know_how_to_keep_from_commands_is_not_used(
    jobs: Jobs, older: Path, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    # What one of before that release says to the first line, and does.
    old = programs(tmp_path, postgres, psql="echo 'psql:<stdin>:1: error: invalid command \\\\restrict' >&2; exit 3")
    ended = jobs.verify(older, UNIONCORE_PG_BIN=str(old))
    assert (ended.code, "install a release of August 2025" in ended.error) == (Exit.TOOL, True), ended


def test_an_old_dump_without_a_table_that_matters_is_not_verified(jobs: Jobs, live_url: str) -> None:
    assert_not_verified(jobs, naive(jobs, live_url, "--exclude-table=students"), "it has no table students")


def test_an_old_dump_that_psql_only_claims_to_restore_is_not_verified(
    jobs: Jobs, live_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    jobs.use(
        UNIONCORE_PG_BIN=str(
            programs(tmp_path, postgres, psql='sed "/^COPY public.students/,/^\\\\\\\\\\./d" | $REAL "$@"')
        )
    )
    assert_not_verified(jobs, naive(jobs, live_url), "table public.students has 0 rows, not 60")
