"""Whatever becomes of a backup in its store, `verify` notices."""

import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyrage  # type: ignore[import-untyped] # it has no stubs
import pytest

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX
from scripts.job.exits import Exit
from tests.scripts.backing import Jobs, close, opened
from tests.scripts.running import Found

if TYPE_CHECKING:
    from scripts.embedded.postgres import EmbeddedPostgres

Spoil = Callable[[random.Random, bytes, bytes], bytes]
"""Content to other content; the third is what another backup of the same database has there."""
ROWS = """
insert into audit_logs (table_name, record_id, action, new_values)
select 'members', i, 'UPDATE', jsonb_build_object('n', i, 'x', md5(i::text)) from generate_series(1, :'rows'::integer) i
"""
KEY = pyrage.x25519.Identity.generate()


def _flip(rng: random.Random, content: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _truncate(rng: random.Random, content: bytes, _: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def _extend(rng: random.Random, content: bytes, _: bytes) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 5000))


def _blank(rng: random.Random, content: bytes, _: bytes) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((1, 512, 4096))
    # A byte that was 0 before would be no corruption.
    piece = bytes(0 if byte else 1 for byte in content[at : at + size])
    return content[:at] + piece + content[at + size :]


def _swap(rng: random.Random, content: bytes, _: bytes) -> bytes:
    size = rng.choice((16, 512, 4096))
    while True:
        a, b = sorted(rng.randrange(max(1, len(content) - size)) for _ in range(2))
        b = max(b, a + size)
        swapped = (
            content[:a] + content[b : b + size] + content[a + size : b] + content[a : a + size] + content[b + size :]
        )
        if swapped != content:
            return swapped


def _cut(rng: random.Random, content: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice((1, 512, 4096)) :]


def _repeat(rng: random.Random, content: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[: at + 512] + content[at:]


def _empty(_: random.Random, __: bytes, ___: bytes) -> bytes:
    return b""


def _other(_: random.Random, __: bytes, other: bytes) -> bytes:
    return other


def _mix(rng: random.Random, content: bytes, other: bytes) -> bytes:
    at = rng.randrange(max(1, min(len(content), len(other)) - 4096))
    mixed = content[:at] + other[at : at + 4096] + content[at + 4096 :]
    return mixed if mixed != content else other


SPOILERS: tuple[Spoil, ...] = (_flip, _truncate, _extend, _blank, _swap, _cut, _repeat, _empty, _other, _mix)


FORMATS = ("gzip", "zstd", "age")


class Sample(NamedTuple):
    """A kind of backup: the jobs of its server, and two backups of one database."""

    jobs: Jobs
    dumps: tuple[Path, Path]


@pytest.fixture
def make(
    request: pytest.FixtureRequest,
    templates: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[[str, int], Sample]]:
    """Makes a sample of a format, with so many further audit rows."""
    made: list[EmbeddedPostgres] = []

    def sample(form: str, rows: int) -> Sample:
        # The wheel of 17 has zstd, that of 18 has not.
        server = request.getfixturevalue("postgres17" if form == "zstd" else "postgres")
        made.append(server)
        server.create_database("corrupted", template="live" if form == "zstd" else templates["live"])
        url = server.url("corrupted")
        server.psql(ROWS, "corrupted", rows=str(rows))
        jobs = Jobs(server, tmp_path, monkeypatch, capsys)
        if form == "age":
            jobs.use(UNIONCORE_AGE_IDENTITY=str(KEY), UNIONCORE_AGE_RECIPIENTS=str(KEY.to_public()))
        for _ in range(2):
            assert jobs.backup(url).code == Exit.OK
            server.psql("update members set notes = random()::text where id = 1", "corrupted")
        one, two = (jobs.backups / name for name in jobs.names())
        assert jobs.verify(one).code == Exit.OK
        Path(f"{one}{PROOF_SUFFIX}").unlink()
        return Sample(jobs, (one, two))

    yield sample
    for server in made:
        server.drop_database("corrupted")


def spoil(sample: Sample, rng: random.Random, times: int) -> Mapping[str, int]:
    """Spoil the dump, the manifest or both, verify each time, and return how often what was spoiled."""
    one, two = sample.dumps
    files = [Path(f"{one}{suffix}") for suffix in ("", MANIFEST_SUFFIX)]
    others = [Path(f"{two}{suffix}").read_bytes() for suffix in ("", MANIFEST_SUFFIX)]
    whole = [file.read_bytes() for file in files]
    done: dict[str, int] = {}
    for number in range(times):
        which = (0, 1, 0, 1, 2)[number % 5]
        spoiler = SPOILERS[number // 5 % len(SPOILERS)]
        what = f"{('dump', 'manifest', 'pair')[which]} {spoiler.__name__}"
        for index, file in enumerate(files):
            file.write_bytes(spoiler(rng, whole[index], others[index]) if which in {index, 2} else whole[index])
        if rng.random() < 0.05:
            files[which % 2].unlink()
        ended = sample.jobs.verify(one)
        assert ended.code == Exit.NOT_VERIFIED, (what, ended)
        assert not Path(f"{one}{PROOF_SUFFIX}").exists(), what
        done[what] = done.get(what, 0) + 1
    for file, content in zip(files, whole, strict=True):
        file.write_bytes(content)
    assert sample.jobs.verify(one).code == Exit.OK
    return done


@pytest.mark.parametrize("form", FORMATS)
def test_every_corruption_is_noticed(make: Callable[[str, int], Sample], form: str) -> None:
    assert len(spoil(make(form, 0), random.Random(form), 50)) == 30


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rows", [0, 100, 30_000])
@pytest.mark.parametrize("form", FORMATS)
def test_hundreds_of_corruptions_are_noticed(
    make: Callable[[str, int], Sample], form: str, rows: int, found: Found
) -> None:
    sample = make(form, rows)
    done = spoil(sample, random.Random(), 300)
    assert len(done) == 30
    size = sample.dumps[0].stat().st_size
    found(f"{sum(done.values())} corruptions of {len(done)} kinds, of a dump of {size:,} bytes; every one was told")


def wrong_from_the_start(sample: Sample, rng: random.Random, times: int) -> Mapping[str, int]:
    """Spoil the dump and let the manifest fit it, so that only the restore can tell."""
    jobs, (dump, _) = sample
    manifest, facts = opened(dump)
    whole = dump.read_bytes()
    expected = restored(jobs, dump)
    told = {"by pg_restore": 0, "by the comparison": 0, "nothing is wrong": 0}
    for _ in range(times):
        dump.write_bytes(_flip(rng, whole, b""))
        close(dump, manifest, facts)
        ended = jobs.verify(dump)
        Path(f"{dump}{PROOF_SUFFIX}").unlink(missing_ok=True)
        if ended.code == Exit.OK:
            # A bit of no importance, as the case of a name that is not quoted.
            assert restored(jobs, dump) == expected
            told["nothing is wrong"] += 1
        else:
            assert ended.code == Exit.NOT_VERIFIED, ended
            told["by pg_restore" if "pg_restore" in ended.error else "by the comparison"] += 1
    return told


def restored(jobs: Jobs, dump: Path) -> list[str]:
    """What PostgreSQL's own programs make of a dump: it is restored, and dumped again as text."""
    server = jobs.server
    server.create_database("restored", template="template0")
    try:
        options = ["--exit-on-error", "--no-owner", "--no-privileges", "-d", server.url("restored")]
        subprocess.run([server.bin("pg_restore"), *options, dump], check=True)
        made = subprocess.run([server.bin("pg_dump"), "-d", server.url("restored")], check=True, capture_output=True)
    finally:
        server.drop_database("restored")
    return [line for line in made.stdout.decode().splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_dump_that_was_written_wrong_is_told_by_its_restore(make: Callable[[str, int], Sample], form: str) -> None:
    assert sum(wrong_from_the_start(make(form, 0), random.Random(form), 5).values()) == 5


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_many_dumps_that_were_written_wrong_are_told_by_their_restore(
    make: Callable[[str, int], Sample], form: str, found: Found
) -> None:
    told = wrong_from_the_start(make(form, 1_000), random.Random(), 40)
    found(f"40 bit flips under a manifest that fits: {', '.join(f'{number} {how}' for how, number in told.items())}")
