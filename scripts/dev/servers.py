"""The stack's servers as supervised children, for the demo and for tests.

Each runs on a free port of 127.0.0.1 in a temporary directory of its own, is ready when its constructor's caller
enters it, and dies with this process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx

from scripts.dev.binaries import find
from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.processes import Closing, end, free_port, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class ServerError(RuntimeError):
    """A server did not start or ended by itself; the message holds the end of its log."""


class Server(Closing):
    """A child process that serves HTTP: a context manager that starts it, waits until it is ready, and stops it.

    Args:
        name: What it is called in messages.
        argv: The program and its arguments.
        port: The port that it listens on, part of its arguments or its environment.
        ready: The path that answers with 2xx when it is ready.
        env: Environment variables over this process's own.
        directory: Its working directory, made by `make_directory`; deleted at the end.
        timeout: Seconds until it must be ready.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        port: int,
        ready: str,
        env: Mapping[str, str] | None = None,
        directory: Path | None = None,
        timeout: float = 30,
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory or make_directory(f"unioncore-{name}-")
        self.env = dict(env or {})
        self._argv = [str(word) for word in argv]
        self._ready = ready
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        # Only plain HTTP on loopback: no proxy from the environment, no certificates to load.
        self._client = httpx.Client(base_url=self.url, trust_env=False, verify=False, timeout=5)

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            ServerError: It is not running.
        """
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stdout and stderr so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request.

        Args:
            method: As `PUT`.
            path: The path, from the slash on.
            **options: What `httpx.Client.request` takes: params, headers, content, timeout in seconds.

        Raises:
            httpx.HTTPError: No answer, or one that is not 2xx.
        """
        response = self._client.request(method, path, **options)
        response.raise_for_status()
        return response

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request, as `request` does."""
        return self.request("GET", path, **options)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it is ready; one that runs is left alone.

        Raises:
            ServerError: It ended or was not ready in time; the message holds the end of its log.
        """
        if self.alive():
            return
        with (self.directory / "log").open("ab") as log:
            self._process = spawn(self._argv, env=os.environ | self.env, cwd=self.directory, stdout=log, stderr=log)
        deadline = time.monotonic() + self._timeout
        while self.alive() and time.monotonic() < deadline:
            try:
                self.get(self._ready, timeout=1)
            except httpx.HTTPError:
                time.sleep(0.02)
            else:
                return
        what = "was not ready in time" if self.alive() else "ended at once"
        self.stop()
        raise ServerError(f"{self.name} {what}:\n{self.log[-2000:]}")

    def stop(self, *, grace: float = 10) -> int | None:
        """Stop it with SIGTERM, and with SIGKILL after the grace time; its directory stays.

        Args:
            grace: In seconds.

        Returns:
            Its exit status, negative for a signal; None if it was not running.
        """
        if self._process is None:
            return None
        status = end(self._process, signum=signal.SIGTERM, grace=grace)
        self._process = None
        return status

    def signal(self, signum: int) -> None:
        """Send it a signal, as SIGHUP for a new configuration."""
        os.kill(self.pid, signum)

    def close(self) -> None:
        """Stop it and delete its directory; calling it again does nothing."""
        self.stop()
        self._client.close()
        remove_directory(self.directory)


class Prometheus(Server):
    """A real Prometheus.

    Args:
        config: Its prometheus.yml; rules and targets beside it are found as the file says.
        port: Where it listens; a free port when left out.
        resend: Seconds until an alert that still fires is sent to Alertmanager again, which one that fired before
            Alertmanager was found waits for, too.
        lookback: How far it looks back for a sample, in seconds: five minutes, if it was not given a sparse past.
    """

    def __init__(self, config: Path, *, port: int | None = None, resend: float = 60, lookback: float = 5 * 60) -> None:
        port = port or free_port()
        directory = make_directory("unioncore-prometheus-")
        self.data = directory / "data"
        argv: list[str | Path] = [
            find("prometheus"),
            f"--config.file={config.resolve()}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=40d",
            f"--query.lookback-delta={lookback:.0f}s",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url=http://127.0.0.1:{port}",
            f"--rules.alert.resend-delay={resend * 1000:.0f}ms",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]
        super().__init__("prometheus", argv, port=port, ready="/-/ready", directory=directory)

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Evaluate an instant query.

        Args:
            promql: The expression, of an instant vector.

        Returns:
            The series, each with `metric` (its labels) and `value` (a timestamp in seconds and the value, a text).

        Raises:
            httpx.HTTPError: Prometheus refused the expression or did not answer.
        """
        answer = self.get("/api/v1/query", params={"query": promql}).json()
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    def has_pages(self) -> bool:
        """Whether this build has its web pages: Debian's only answers the API."""
        try:
            return self.get("/query").is_success
        except httpx.HTTPStatusError:
            return False


class Alertmanager(Server):
    """A real Alertmanager, without its cluster.

    Args:
        config: Its alertmanager.yml; templates beside it are found as the file says.
        port: Where it listens; a free port when left out.
    """

    def __init__(self, config: Path, *, port: int | None = None) -> None:
        port = port or free_port()
        directory = make_directory("unioncore-alertmanager-")
        argv: list[str | Path] = [
            find("alertmanager"),
            f"--config.file={config.resolve()}",
            "--enable-feature=utf8-strict-mode,receiver-name-in-metrics",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url=http://127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        super().__init__("alertmanager", argv, port=port, ready="/-/ready", directory=directory)


class Exporter(Server):
    """The exporter of this project, with a state and a backup directory of its own.

    Args:
        database_url: The database that it reads.
        port: Where it listens; a free port when left out.
        env: Further variables, as `UNIONCORE_TIMEZONE`, over the defaults here.
    """

    def __init__(self, database_url: str, *, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        port = port or free_port()
        directory = make_directory("unioncore-exporter-")
        self.backups = directory / "backups"
        self.state = directory / "state"
        for path in (self.backups, self.state):
            path.mkdir()
        variables = {
            "DATABASE_URL": database_url,
            "UNIONCORE_LISTEN": f"127.0.0.1:{port}",
            "UNIONCORE_TIMEZONE": "America/Los_Angeles",
            "BACKUP_DIR": str(self.backups),
            "UNIONCORE_STATE_DIR": str(self.state),
            **(env or {}),
        }
        super().__init__(
            "exporter",
            [sys.executable, "-m", "exporter", "serve"],
            port=port,
            ready="/health/live",
            env=variables,
            directory=directory,
        )
