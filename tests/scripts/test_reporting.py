"""What the exporter is told of a job's end, by a real job to a real exporter, whatever state that is in."""

import asyncio
import errno
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from exporter.jobs import JobStore, labels_of
from exporter.settings import load
from scripts.dev.servers import Exporter
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.processes import free_port
from scripts.job import reporting
from scripts.job.exits import Exit
from scripts.job.reporting import Reporter, Result
from scripts.job.settings import CleanupSettings
from tests.pushing import ITEMS, RUN, SUCCESS, published
from tests.scripts.forking import Forked
from tests.scripts.odd_job import FULL, NAME
from tests.scripts.running import ODD, Ended, environment, kept, run, wait_for
from tests.storing import hung_server

SUCCEEDED = "unioncore_job_last_run_succeeded"
DURATION = "unioncore_job_last_run_duration_seconds"
TOKEN = "push-sesame"


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[str]:
    postgres.create_database("reported", template=templates["live"])
    yield postgres.url("reported")
    postgres.drop_database("reported")


@pytest.fixture
def exporter(database: str) -> Iterator[Exporter]:
    with Exporter(database, env={"UNIONCORE_PUSH_TOKEN": TOKEN}) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, database: str, exporter: Exporter) -> dict[str, str]:
    return environment(tmp_path, database, exporter=exporter.url, UNIONCORE_PUSH_TOKEN=TOKEN)


def of_job(exporter: Exporter, job: str = "cleanup") -> dict[str, float]:
    """What the exporter publishes of a job, by family."""
    return {name: value for (name, labels), value in published(exporter.port).items() if ("job_name", job) in labels}


def succeed(env: dict[str, str]) -> Ended:
    ended = run((ODD, "count"), env)
    assert ended.code == Exit.OK
    return ended


def fail(env: dict[str, str]) -> Ended:
    ended = run((ODD, "fail", "FAILED"), env)
    assert ended.code == Exit.FAILED
    return ended


@contextmanager
def answering(*answers: int) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, the last one for ever; its URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_success_is_delivered_with_all_five_families(env: dict[str, str], exporter: Exporter, tmp_path: Path) -> None:
    began = time.time()
    ended = succeed(env)
    assert ended.result["report"] == "delivered"
    pushed = of_job(exporter)
    assert pushed.keys() == {ITEMS, RUN, SUCCESS, SUCCEEDED, DURATION}
    assert (pushed[ITEMS], pushed[SUCCEEDED]) == (7, 1)
    assert began < pushed[RUN] == pushed[SUCCESS] < time.time()
    assert pushed[DURATION] == pytest.approx(ended.result["seconds"], abs=0.001)
    assert not kept(tmp_path)


def test_a_failure_does_not_erase_the_last_success(env: dict[str, str], exporter: Exporter) -> None:
    succeed(env)
    before = of_job(exporter)
    assert fail(env).result["report"] == "delivered"
    after = of_job(exporter)
    assert (after[SUCCESS], after[ITEMS]) == (before[SUCCESS], before[ITEMS])
    assert after[SUCCEEDED] == 0
    assert after[RUN] > before[RUN]


def test_results_wait_for_an_exporter_that_is_down_and_come_in_order_with_any_jobs_next_run(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    exporter.stop()
    first = succeed(env)
    second = fail(env)
    for ended in (first, second):
        assert ended.result["report"] == "kept"
        assert "the result is kept, and delivered by the next run" in ended.log
        assert "can't be reached" in ended.log
    success, failure = kept(tmp_path)
    assert (success["items"], failure["items"]) == (7, None)
    exporter.start()
    # Another job's run delivers them, before its own end.
    succeed(env | {"UNIONCORE_LOG_LEVEL": "debug", NAME: "verify"})
    assert not kept(tmp_path)
    assert of_job(exporter) == {
        SUCCESS: success["finished_at"],
        ITEMS: 7,
        RUN: failure["finished_at"],
        SUCCEEDED: 0,
        DURATION: pytest.approx(failure["seconds"]),
    }
    assert of_job(exporter, "verify")[SUCCEEDED] == 1


def test_what_is_kept_does_not_grow_and_still_has_the_last_success_and_the_last_run(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    exporter.stop()
    for end_as in (fail, succeed, succeed, fail, fail):
        end_as(env)
    assert [result["items"] for result in kept(tmp_path)] == [7, None]


def test_a_result_that_is_older_than_what_the_exporter_has_is_dropped_and_that_is_said(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    elsewhere = env | {"UNIONCORE_SPOOL_DIR": str(tmp_path / "elsewhere")}
    unreachable = env | {"UNIONCORE_EXPORTER_URL": "http://127.0.0.1:1"}
    fail(unreachable)
    succeed(elsewhere)
    ended = succeed(env)
    assert "the exporter refuses a result, which is dropped" in ended.log
    assert "is older than" in ended.log
    assert ended.result["report"] == "delivered"
    assert not kept(tmp_path)
    assert of_job(exporter)[SUCCEEDED] == 1


def test_a_result_from_a_clock_that_was_ahead_waits_and_holds_up_no_other_and_goes_with_the_jobs_next_run(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    spool = tmp_path / ".spool"
    spool.mkdir()
    for job in ("cleanup", "backup"):
        ahead = {"job": job, "finished_at": time.time() + 3600, "seconds": 1.0, "items": 7}
        (spool / f"{ahead['finished_at']:.6f}-{job}.json").write_text(json.dumps(ahead))
    ended = fail(env)
    assert ended.result["report"] == "delivered"
    assert of_job(exporter).keys() == {RUN, SUCCEEDED, DURATION}
    assert [result["job"] for result in kept(tmp_path)] == ["backup"]
    assert "a result waits until its time has come" in ended.log
    assert not of_job(exporter, "backup")


def test_a_failure_is_told_though_the_exporter_holds_a_result_from_a_clock_that_was_ahead(
    database: str, tmp_path: Path
) -> None:
    state, ahead = tmp_path / "state", time.time() + 30 * 86400
    group, labels = labels_of({"job": "cleanup"}), labels_of({"job_name": "cleanup"})
    held = {(RUN, labels): ahead, (SUCCESS, labels): ahead, (SUCCEEDED, labels): 1.0}
    store = JobStore(state)
    asyncio.run(store.push(group, held, replace=False, now=ahead))
    store.close()
    with Exporter(database, env={"UNIONCORE_STATE_DIR": str(state)}) as exporter:
        assert of_job(exporter) == {SUCCEEDED: 1}
        env = environment(tmp_path, database, exporter=exporter.url)
        assert fail(env).result["report"] == "delivered"
        told = of_job(exporter)
    assert told.keys() == {RUN, SUCCEEDED, DURATION}
    assert (told[SUCCEEDED], told[RUN] < time.time()) == (0, True)


def test_a_result_that_is_ahead_of_the_exporters_clock_only_is_kept(
    env: dict[str, str], exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".spool").mkdir()
    result, clock = Result("cleanup", time.time() + 3600, 1.0, 7), time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: clock() + 3600)
        reporter = Reporter(load(CleanupSettings), structlog.get_logger())
        assert asyncio.run(reporter.report(result)) == "kept"
    assert [one["finished_at"] for one in kept(tmp_path)] == [result.finished_at]
    assert not of_job(exporter)


@pytest.mark.parametrize("token", ["wrong-sesame", "", "two\nlines", "ключ"])
def test_a_wrong_token_is_an_error_in_the_log_and_loses_nothing(
    token: str, env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    ended = succeed(env | {"UNIONCORE_PUSH_TOKEN": token})
    assert ended.result["report"] == "kept"
    assert len(kept(tmp_path)) == 1
    assert "sesame" not in ended.log + json.dumps(ended.result)
    if "\n" not in token:
        assert "level=error" in ended.log
        assert "answers 401: a push needs the bearer token" in ended.log
        assert "UNIONCORE_PUSH_TOKEN" in ended.log
    else:
        assert "lines" not in ended.log
    succeed(env)
    assert not kept(tmp_path)
    assert of_job(exporter)[SUCCEEDED] == 1


def test_a_token_may_be_any_text(database: str, tmp_path: Path) -> None:
    with Exporter(database, env={"UNIONCORE_PUSH_TOKEN": "ключ"}) as exporter:
        env = environment(tmp_path, database, exporter=exporter.url, UNIONCORE_PUSH_TOKEN="ключ")
        assert succeed(env).result["report"] == "delivered"


def test_a_proxy_of_the_environment_never_sees_a_token(env: dict[str, str]) -> None:
    with answering(500) as (proxy, asked):
        ended = succeed(env | {"HTTP_PROXY": proxy, "http_proxy": proxy, "ALL_PROXY": proxy})
        assert ended.result["report"] == "delivered"
        assert not asked


def test_an_exporter_that_fails_is_asked_again_and_one_that_refuses_is_not(database: str, tmp_path: Path) -> None:
    with answering(503, 500, 200) as (url, asked):
        assert succeed(environment(tmp_path / "a", database, exporter=url)).result["report"] == "delivered"
        assert asked == ["/metrics/job/cleanup"] * 3
    for status, report in ((404, "kept"), (403, "kept"), (301, "kept"), (400, "refused"), (413, "refused")):
        with answering(status) as (url, asked):
            ended = succeed(environment(tmp_path / str(status), database, exporter=url))
            assert ended.result["report"] == report
            assert f"answers {status}" in ended.log
            assert "level=error" in ended.log
            assert len(asked) == 1
            assert len(kept(tmp_path / str(status))) == (report == "kept")


def test_an_exporter_that_hangs_holds_no_job_up_for_long(database: str, tmp_path: Path) -> None:
    with hung_server() as url:
        began = time.monotonic()
        ended = succeed(environment(tmp_path, database, exporter=url))
        assert time.monotonic() - began < 12
        assert ended.result["report"] == "kept"
        assert len(kept(tmp_path)) == 1


def test_a_result_survives_a_run_that_is_killed_while_it_reports(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    with hung_server() as url:
        process = Forked((ODD, "count"), env | {"UNIONCORE_EXPORTER_URL": url})
        wait_for(lambda: kept(tmp_path))
        process.slay()
    (result,) = kept(tmp_path)
    succeed(env | {NAME: "verify"})
    assert of_job(exporter)[SUCCESS] == result["finished_at"]


def test_a_host_name_that_is_not_known_fails_no_job(database: str, tmp_path: Path) -> None:
    ended = succeed(environment(tmp_path, database, exporter=f"http://no-such-host.invalid:{free_port()}"))
    assert ended.result["report"] == "kept"


async def test_whatever_goes_wrong_with_a_report_ends_no_job_and_prevents_none(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    # The settings refuse it; what is underneath has an error of its own for it.
    settings = load(CleanupSettings).model_copy(update={"exporter_url": "http://127.0.0.1:99999"})
    settings.spool_directory.mkdir()
    reporter = Reporter(settings, structlog.get_logger())
    assert await reporter.report(Result("cleanup", time.time(), 1.0, 7)) == "kept"
    await reporter.deliver_kept()


def test_a_disk_that_takes_nothing_does_not_keep_a_result_from_the_exporter(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    blocked = env | {FULL: "1"}
    ended = succeed(blocked)
    assert ended.result["report"] == "delivered"
    assert "can't be kept on disk" in ended.log
    assert of_job(exporter)[SUCCEEDED] == 1
    exporter.stop()
    ended = succeed(blocked)
    assert not [path for path in (tmp_path / ".spool").iterdir() if path.suffix != ".lock"]
    assert ended.result["report"] == "lost"
    assert "the result is lost" in ended.log


def test_a_result_that_can_be_neither_kept_nor_delivered_in_its_order_is_delivered_out_of_it(
    database: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, database)
    succeed(env)
    # Before the work and after it the kept one is denied.
    with answering(404, 404, 200) as (url, _):
        assert succeed(env | {"UNIONCORE_EXPORTER_URL": url, FULL: "1"}).result["report"] == "delivered"
    assert len(kept(tmp_path)) == 1


async def test_a_disk_that_has_become_read_only_hides_no_failure_behind_an_old_success(
    env: dict[str, str], exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter.stop()
    succeed(env)
    exporter.start()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(reporting, "write_durably", refuse)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        reporter = Reporter(load(CleanupSettings), structlog.get_logger())
        await reporter.deliver_kept()
        assert await reporter.report(Result("cleanup", time.time(), 1.0, None)) == "delivered"
        assert of_job(exporter)[SUCCEEDED] == 0


def test_a_kept_result_that_is_damaged_is_named_and_stops_no_other(
    env: dict[str, str], exporter: Exporter, tmp_path: Path
) -> None:
    damaged = tmp_path / ".spool" / "1000.000000-backup.json"
    damaged.parent.mkdir()
    damaged.write_text('{"job": "backup", "finis')
    ended = succeed(env)
    assert ended.result["report"] == "delivered"
    assert str(damaged) in ended.log
    assert damaged.exists()
    assert of_job(exporter)[SUCCEEDED] == 1


async def test_a_spool_that_cannot_be_read_stops_no_job(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def glob(*_: object) -> Iterator[Path]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "glob", glob)
    await Reporter(load(CleanupSettings), structlog.get_logger()).deliver_kept()
