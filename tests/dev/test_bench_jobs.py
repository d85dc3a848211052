"""The benchmark of the jobs measures what they really do, beside what they replace."""

from click.testing import CliRunner

from scripts.dev.bench import jobs
from scripts.dev.bench.jobs import Found, Way, main


def test_it_measures_every_way_and_names_every_target() -> None:
    ended = CliRunner().invoke(main, ["--audit-rows", "300", "--runs", "1"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    ways = ("pg_dump | gzip", "COPY | gzip", "without the manifest's digests", "zstd level 6")
    for words in (*ways, "peak memory", "at least 1.8 x"):
        assert words in ended.output


def test_a_target_that_is_missed_is_said() -> None:
    way = Way(seconds=10, size=100, resident=50_000_000)
    found = Found(way, way._replace(seconds=4), way, way, way, way._replace(seconds=6), way)
    assert [target.met for target in jobs.targets(found)] == [True, True, False, True, True, True]
