"""Servers are ready when entered, say why they are not, and are gone when left."""

import signal
import sys
from pathlib import Path

import httpx
import pytest

from scripts.dev.servers import Alertmanager, Prometheus, Server, ServerError
from scripts.embedded.processes import free_port


def simple(*words: str, timeout: float = 10, ready: str = "/") -> Server:
    port = free_port()
    argv = [sys.executable, *(word.format(port=port) for word in words)]
    return Server("simple", argv, port=port, ready=ready, timeout=timeout)


def web() -> Server:
    return simple("-m", "http.server", "--bind", "127.0.0.1", "{port}")


def test_it_serves_until_it_is_left() -> None:
    with web() as server:
        assert "log" in server.get("/").text
        assert server.alive()
        server.start()
        server.signal(0)
    assert not server.alive()
    assert not server.directory.exists()
    with pytest.raises(ServerError, match="is not running"):
        _ = server.pid


def test_it_can_be_stopped_and_started_on_the_same_port() -> None:
    with web() as server:
        url = server.url
        assert server.stop() == -signal.SIGTERM
        assert server.stop() is None
        with pytest.raises(httpx.ConnectError):
            server.get("/")
        server.start()
        assert server.url == url
        assert "GET / HTTP" in server.log


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('no such luck'); raise SystemExit(3)", "ended at once:\nno such luck"),
        ("import time; print('here', flush=True); time.sleep(60)", "was not ready in time:\nhere"),
    ],
)
def test_what_does_not_get_ready_says_why(code: str, why: str) -> None:
    server = simple("-c", code, timeout=1)
    with pytest.raises(ServerError, match=why), server:
        pass
    assert not server.directory.exists()


def test_an_answer_that_is_no_success_is_no_readiness() -> None:
    server = simple("-m", "http.server", "--bind", "127.0.0.1", "{port}", ready="/missing", timeout=1)
    with pytest.raises(ServerError, match="not ready in time"), server:
        pass


def test_prometheus_and_alertmanager_are_real(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text("global: {scrape_interval: 1s}\n")
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with Prometheus(tmp_path / "prometheus.yml") as prometheus, Alertmanager(tmp_path / "alertmanager.yml") as alerts:
        assert prometheus.query("vector(42)")[0]["value"][1] == "42"
        assert alerts.get("/api/v2/status").json()["cluster"]["status"] == "disabled"
        with pytest.raises(httpx.HTTPStatusError):
            prometheus.query("sum(")


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text("nonsense: 1\n")
    with pytest.raises(ServerError, match="nonsense"), Prometheus(tmp_path / "prometheus.yml"):
        pass
