"""Pushing to the exporter's routes on a real server, and to whatever else speaks the protocol."""

import http.client
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter.collectors.jobs import JobsSource
from exporter.connections import PunctualProtocol
from exporter.jobs import JobStore
from exporter.metrics import render
from exporter.push import push_routes

ITEMS = "unioncore_job_last_run_items"
RUN = "unioncore_job_last_run_timestamp_seconds"
SUCCEEDED = "unioncore_job_last_run_succeeded"
SUCCESS = "unioncore_job_last_success_timestamp_seconds"
BACKUP = "/metrics/job/backup"
TEXT = f"""# HELP {ITEMS} Items.
# TYPE {ITEMS} gauge
{ITEMS} 46
# TYPE {RUN} gauge
{RUN} 1.7e9
"""


class Push(NamedTuple):
    method: str
    path: str
    body: str | bytes = ""
    headers: Mapping[str, str] = {}


class Answer(NamedTuple):
    status: int
    text: str
    headers: http.client.HTTPMessage


def send(port: int, push: Push) -> Answer:
    # http.client sends the path as it is; other clients tidy it.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        body = push.body.encode() if isinstance(push.body, str) else push.body
        connection.request(push.method, push.path, body, dict(push.headers))
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), response.headers)
    finally:
        connection.close()


def application(directory: Path, *, token: str | None = None, loopback: bool = True) -> Starlette:
    store = JobStore(directory)
    source = JobsSource(store)

    async def metrics(_: Request) -> Response:
        body, content_type = render(await source.collect(time.time()))
        return Response(body, media_type=content_type)

    return Starlette(routes=[Route("/metrics", metrics), *push_routes(store, token=token, loopback=loopback)])


class Stage:
    """A real server of whatever application a test puts on it, since starting one for each takes a while."""

    app: Starlette
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def __enter__(self) -> Self:
        self._server = uvicorn.Server(
            uvicorn.Config(self, port=0, log_config=None, lifespan="off", http=PunctualProtocol)
        )
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def published(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The jobs' series, as the exporter names their labels."""
    return {
        (sample.name, frozenset(("job_name" if k == "job" else k, v) for k, v in sample.labels.items() if v)): (
            sample.value
        )
        for family in text_string_to_metric_families(send(port, Push("GET", "/metrics")).text)
        for sample in family.samples
        if sample.name.startswith("unioncore_job_")
    }


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), port=int(sys.argv[2]))
