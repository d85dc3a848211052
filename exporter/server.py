"""The HTTP side: knows snapshots, nothing of SQL."""

import base64
import binascii
import gzip
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter import __version__
from exporter.board import Snapshot
from exporter.metrics import render
from exporter.page import page
from exporter.scrape import Scraper

_SCRAPE_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"
# Below this, compressing costs more than it saves.
_WORTH_COMPRESSING = 1024
_SHORTEST = 0.05
_RECENT_SECONDS = 10.0
"""How old what is told to those without the token may be: they cause no more than one look in that time."""

Handler = Callable[[Request], Awaitable[Response]]


class Exporter:
    """The application's handlers."""

    def __init__(self, scraper: Scraper, *, seconds: float, offset: float, token: SecretStr | None) -> None:
        """Make them.

        Args:
            scraper: Makes the snapshots.
            seconds: The longest that a scrape may take.
            offset: How long before the scraper's own limit the answer is sent, in seconds.
            token: What `/metrics` and `/` ask for, and `/health/ready` to tell why something fails; None: nothing.
        """
        self._scraper = scraper
        self._seconds = seconds
        self._offset = offset
        self._token = token

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/metrics", self._guarded(self.metrics)),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
            Route("/", self._guarded(self.index)),
        ]

    def time_limit(self, request: Request) -> float:
        """Return how long this scrape may take, in seconds: Prometheus' limit less an offset, or the configured one."""
        try:
            asked = float(request.headers.get(_SCRAPE_TIMEOUT, "inf"))
        except ValueError:
            return self._seconds
        # Not a number compares as false: it leaves the configured limit.
        return max(_SHORTEST, asked - self._offset) if asked - self._offset < self._seconds else self._seconds

    async def metrics(self, request: Request) -> Response:
        """Scrape, and answer in the format that is asked for."""
        snapshot = await self._scraper.scrape(self.time_limit(request))
        body, content_type = render(
            snapshot.samples(),
            accept=request.headers.get("accept", ""),
            names=request.query_params.getlist("name[]"),
        )
        headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", "") and len(body) >= _WORTH_COMPRESSING:
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)

    async def live(self, _: Request) -> Response:
        """Say that the process runs."""
        return JSONResponse({"status": "alive", "version": __version__})

    async def ready(self, request: Request) -> Response:
        """Say whether a scrape can be served, which it can without the database, and how that is.

        Without the token it neither looks anew each time nor says why: an error may name the role and the host.
        """
        known = self._knows_token(request)
        # Whatever limit the request names: it needs no token, and a look that it began would have that limit for all.
        snapshot = await self._scraper.scrape(self._seconds) if known else await self._recent()
        error = snapshot.database_error
        database = {"status": "unhealthy" if error else "healthy"} | ({"error": error} if error and known else {})
        failing = sorted(name for name, outcome in snapshot.outcomes.items() if outcome.error)
        return JSONResponse(
            {
                "status": "degraded" if failing or error else "healthy",
                "version": __version__,
                "checks": {"database": database},
                "failing_collectors": failing,
            }
        )

    async def _recent(self) -> Snapshot:
        latest = self._scraper.latest
        if latest is not None and 0 <= time.time() - latest.at < _RECENT_SECONDS:
            return latest
        return await self._scraper.scrape(self._seconds)

    async def index(self, request: Request) -> Response:
        """Show a person what is exported, and what is wrong."""
        return HTMLResponse(page(await self._scraper.scrape(self.time_limit(request))))

    def _knows_token(self, request: Request) -> bool:
        if self._token is None:
            return True
        return hmac.compare_digest(_credential(request), self._token.get_secret_value().encode())

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if not self._knows_token(request):
                return PlainTextResponse(
                    "a token is needed (UNIONCORE_METRICS_TOKEN)\n",
                    status_code=401,
                    headers={"www-authenticate": 'Bearer realm="unioncore", Basic realm="unioncore"'},
                )
            return await handler(request)

        return guarded


def _credential(request: Request) -> bytes:
    """Return the bearer token, or the password of basic auth; empty if there is neither."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    # HTTP headers are bytes, which Starlette shows as latin-1.
    raw = value.strip().encode("latin-1")
    if scheme.lower() == "bearer":
        return raw
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(raw, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def application(routes: list[BaseRoute], close: Callable[[], Awaitable[Any]]) -> Starlette:
    """Make the Starlette application.

    Args:
        routes: What it serves.
        close: Called when it stops.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await close()

    return Starlette(routes=routes, lifespan=lifespan)
