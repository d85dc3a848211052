"""What the pages show is run, on one stack as `make demo` starts it, and does and prints what they say."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from promql_parser import VectorSelector

from scripts.dev.families import wait_for_scrapes
from scripts.dev.generate import SCALES
from scripts.dev.pace import Pace
from scripts.dev.sink import Received, Sink
from scripts.dev.stack import DATABASE, Stack, start
from scripts.dev.watching import notify
from scripts.embedded.postgres import psql
from tests.alertmanager.alerting import until
from tests.docs.pages import PAGES, Block, Page
from tests.docs.shell import Shell, reader, runnable
from tests.grafana.shipped import nodes
from tests.prometheus.shipped import rules

# Each starts many programs, and on a busy machine that takes long.
pytestmark = pytest.mark.timeout(300)
ELSEWHERE = {"disaster-recovery", "CONTRIBUTING"}
"""Pages whose blocks another test runs."""
MARKED = [page for page in PAGES if any(runnable(page)) and page.path.stem not in ELSEWHERE]
# What Alertmanager must have told whom when a page was followed.
ARRIVES = {
    "oncall": dict.fromkeys(("pagerduty", "slack", "smtp"), "A test of the pager"),
    "support": dict.fromkeys(("slack", "desk"), "A test of the help desk"),
}
PACE = Pace(speed=10, least=5)
ABOUT_ALERTS = [page for page in MARKED if page.path.stem.startswith("UnionCore")]


def blocks(*languages: str) -> list[tuple[Page, Block]]:
    return [(page, block) for page in PAGES for block in page.language(*languages)]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def demo(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as life:
        variables = notify(sink, tmp_path_factory.mktemp("secrets"))
        stack = start(life, scale=SCALES["small"], variables=variables, pace=PACE)
        for file in stack.exporter.backups.iterdir():
            # The demo's is no more than looked at: these tests restore.
            file.unlink()
        shell_at(stack, tmp_path_factory.mktemp("before")).output("unioncore-ops backup && unioncore-ops verify")
        wait_for_scrapes(stack.prometheus, 1, timeout=30)
        yield stack


@pytest.fixture
def shell(demo: Stack, tmp_path: Path) -> Shell:
    return shell_at(demo, tmp_path)


def shell_at(demo: Stack, directory: Path) -> Shell:
    """A reader's shell on the machine where the demo runs."""
    ports = {
        9741: demo.exporter.port,
        9090: demo.prometheus.port,
        9093: demo.alertmanager.port,
        9115: demo.watching.blackbox.port,
    }
    shell = reader(
        directory,
        demo.postgres,
        demo.postgres.url(DATABASE),
        places={f"127.0.0.1:{there}": f"127.0.0.1:{here}" for there, here in ports.items()},
        BACKUP_DIR=str(demo.exporter.backups),
        UNIONCORE_EXPORTER_URL=demo.exporter.url,
        UNIONCORE_URL=demo.application.url,
        ADMIN_DATABASE_URL=demo.postgres.url(DATABASE),
        # The demo's data are younger than a year.
        ARCHIVE_THRESHOLD_DAYS="30",
    )
    for secret in ("jira-token", "ticket-url", "ticket-token", "page-url", "heartbeat-url"):
        path = directory / "etc" / secret
        path.write_text("https://tickets.example.org/in")
        path.chmod(0o600)
    return shell


@pytest.mark.parametrize("page", [page for page in MARKED if page not in ABOUT_ALERTS], ids=str)
def test_a_page_does_what_it_says(page: Page, shell: Shell, sink: Sink) -> None:
    assert shell.run(page) > 0
    for service, words in ARRIVES.get(page.path.stem, {}).items():
        sink.wait(partial(_says, service, words), timeout=60)


def _says(service: str, words: str, item: Received) -> bool:
    return item.service == service and words in item.text


def test_the_alerts_pages_do_what_they_say(shell: Shell) -> None:
    # Many have the same commands: once is enough.
    each = {block.text: (page, block, output) for page in ABOUT_ALERTS for block, output in runnable(page)}
    assert len(each) > 10
    for page, block, output in each.values():
        shell.step(page, block, output)


# Metrics that the demo has not, and why.
ABSENT = {
    "node_filesystem_avail_bytes": "node_exporter is not started",
    "node_filesystem_size_bytes": "node_exporter is not started",
    "probe_ssl_earliest_cert_expiry": "the stand-in has no certificate",
    "pg_stat_activity_max_tx_duration": "only while a transaction is open",
    "unioncore:database_disk:bytes": "only where a site has said how large its disk is",
}


def test_every_query_is_of_metrics_that_there_are(demo: Stack) -> None:
    # Evaluated later than these tests may look; tests of their own hold what they are made of.
    recorded = {"ALERTS", "ALERTS_FOR_STATE"} | {rule["record"] for rule in rules() if "record" in rule}
    named: dict[str, str] = {}
    for page, block in blocks("promql"):
        selectors = [node for node, _ in nodes(block.text) if isinstance(node, VectorSelector) and node.name]
        named |= dict.fromkeys((str(node.name) for node in selectors), f"{page}:{block.line}")
    assert len(named) > 50

    def missing() -> dict[str, str]:
        there = set(demo.prometheus.get("/api/v1/label/__name__/values").json()["data"])
        return {name: where for name, where in named.items() if name not in there | recorded | set(ABSENT)}

    with suppress(AssertionError):
        until(lambda: not missing())
    assert missing() == {}


def test_every_query_is_one(demo: Stack) -> None:
    found = blocks("promql")
    assert len(found) > 100
    for page, block in found:
        try:
            demo.prometheus.query(block.text)
        except httpx.HTTPStatusError as error:
            pytest.fail(f"{page}:{block.line}: {error.response.text}")


def test_every_statement_is_one(demo: Stack) -> None:
    found = blocks("sql")
    assert len(found) > 20
    for page, block in found:
        try:
            psql(demo.postgres.url(DATABASE), f"begin;\n{block.text}\n;rollback;")
        except Exception as error:  # noqa: BLE001 - whatever it is, the page is named
            pytest.fail(f"{page}:{block.line}: {error}")


def test_what_is_not_run_is_at_least_shell() -> None:
    for page, block in blocks("sh"):
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}:{block.line}: {done.stderr}"
        assert not re.search(r"^\s*\$ ", block.text, re.MULTILINE), f"{page}:{block.line} can't be pasted"
