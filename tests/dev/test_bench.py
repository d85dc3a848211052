"""The benchmark compares like with like: what is measured side by side says the same numbers."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from exporter.facts import TABLES
from scripts.dev.bench import databases, naive, report, rival
from scripts.dev.bench.__main__ import main
from scripts.dev.bench.databases import DEMO, FULL, TENTH, Life, Session, fill, proportional, server
from scripts.dev.bench.measuring import AtScale, Bench, Cost
from scripts.dev.bench.scraping import ScrapeError, check_complete, differences
from scripts.dev.generate import SCALES
from scripts.embedded.postgres import EmbeddedPostgres

TINY = {
    FULL: proportional(2_000, payments=800, members=200),
    TENTH: proportional(200, payments=800, members=200),
    DEMO: SCALES["small"],
}


def untold(_title: str, steps: int) -> Iterable[int]:
    return range(steps)


@pytest.fixture(scope="module")
def filled() -> Iterator[EmbeddedPostgres]:
    with server(TINY) as postgres:
        fill(postgres, TINY, None)
        yield postgres


@pytest.fixture(scope="module")
def bench(filled: EmbeddedPostgres) -> Iterator[Bench]:
    with ExitStack() as life:
        yield Bench(filled, life, untold, runs=2, scrapes=3)


@pytest.fixture(scope="module")
def scale(bench: Bench) -> AtScale:
    bench.warm()
    return bench.at_scale()


def test_every_state_is_measured_and_says_what_the_naive_queries_say(scale: AtScale) -> None:
    for cost in vars(scale).values():
        assert isinstance(cost, Cost)
        assert cost.wall > 0
        assert cost.database > 0
    assert scale.page.statements == len(naive.QUERIES)
    assert scale.idle.statements < scale.steady.statements <= scale.cold.statements


def test_query_exporter_says_the_same_numbers(bench: Bench, scale: AtScale) -> None:
    try:
        rival.install()
    except rival.InstallError as error:
        pytest.skip(f"query-exporter can't be installed: {error}")
    demo = bench.on_demo(rival=True)
    assert demo.theirs is not None
    assert demo.theirs.cost.statements > demo.ours.cost.statements
    assert demo.theirs.resident > 0
    console = Console(record=True, width=120)
    found = report.targets(scale, demo)
    for table in (report.at_scale(scale, ""), report.on_demo(demo, "", "query-exporter"), report.verdict(found)):
        console.print(table)
    assert all(target.what in console.export_text(clear=False) for target in found)


def test_what_is_not_the_same_is_no_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    off_by_one = naive.QUERIES[0]._replace(sql="select 1 + count(*) from users where not is_deleted")
    monkeypatch.setattr(naive, "QUERIES", (off_by_one, *naive.QUERIES[1:]))
    with pytest.raises(ScrapeError, match=r"users: \d+ and \d+"):
        bench.on_demo(rival=False)


def test_without_query_exporter_the_rest_is_measured(bench: Bench, scale: AtScale) -> None:
    demo = bench.on_demo(rival=False)
    assert demo.theirs is None
    assert not any("query-exporter" in target.what for target in report.targets(scale, demo))
    report.on_demo(demo, "", "")


def test_everything_touches_each_table_and_some_events_only_the_audit_log(filled: EmbeddedPostgres) -> None:
    counters = """select json_object_agg(relname, case relname when 'audit_logs' then n_tup_ins else n_tup_upd end)
        from pg_stat_user_tables"""
    url = filled.url(DEMO)
    with closing(Session(url)) as session, closing(Life(url)) as life:

        def moved(happen: Callable[[], None]) -> set[str]:
            before = json.loads(session.value(counters))
            happen()
            return {table for table, count in json.loads(session.value(counters)).items() if count > before[table]}

        assert moved(life.everything) == set(TABLES)
        logged = session.value("select count(*) from audit_logs")
        assert moved(life.some_events) <= {"audit_logs"}
        assert session.value("select count(*) from audit_logs") > logged


def test_a_scrape_that_lacks_a_collector_is_not_complete() -> None:
    check_complete('unioncore_up 1.0\nunioncore_collector_success{collector="users"} 1.0\n')
    with pytest.raises(ScrapeError, match="dues"):
        check_complete('unioncore_up 1.0\nunioncore_collector_success{collector="dues"} 0.0\n')
    with pytest.raises(ScrapeError, match="down"):
        check_complete("unioncore_up 0.0\n")


def test_what_only_one_side_has_must_be_zero() -> None:
    assert differences({"a": 1, "b": 0}, {"a": 1, "c": 0}) == []
    assert differences({"a": 1}, {"b": 2}) == ["a: 1 and 0", "b: 0 and 2"]


def test_the_large_local_keeps_its_proportions() -> None:
    assert proportional(10_000_000) == SCALES["large"]
    million = proportional(1_000_000)
    assert (million.payments, million.members) == (200_000, 12_000)
    assert proportional(1_000_000, payments=5, members=7).students == 7


def test_help_shows_examples() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "make bench ARGS=" in result.output


def test_a_kept_database_comes_back(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = {DEMO: SCALES["small"]}
    count = "select count(*) from audit_logs"
    with server(scales) as postgres:
        fill(postgres, scales, scratch)
        assert postgres.psql(count, DEMO) == "2000"

    def must_not(*_: object) -> None:
        raise AssertionError("it was generated again")

    monkeypatch.setattr(databases, "create", must_not)
    with server(scales) as postgres:
        fill(postgres, scales, scratch)
        assert postgres.psql(count, DEMO) == "2000"
