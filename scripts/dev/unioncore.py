"""A stand-in for UnionCore: its health endpoints, as the running application answers them, and its troubles.

It really looks at its database: stopped, `/health/ready` says `degraded` and still answers 200; hung, it does not
answer. `PUT /troubles` with a JSON list of `TROUBLES` brings further ones about, `[]` ends them.

Run `python -m scripts.dev.unioncore --help` for the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import click
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scripts.dev.servers import Server
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

TROUBLES = ("hang", "slow", "database", "s3", "failing")
"""hang: readiness is never answered; slow: after 3 s; database: its check is unhealthy whatever the database does;
s3: its file storage's is; failing: every answer is an error 500."""
_FOREVER = 86_400.0
_SLOW = 3.0


class StandIn:
    """The application.

    Args:
        database_url: What its database check connects to.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._troubles: frozenset[str] = frozenset()
        self.app = Starlette(
            routes=[
                Route("/health/live", self.live),
                Route("/health/ready", self.ready),
                Route("/troubles", self.trouble, methods=["PUT"]),
            ]
        )

    async def live(self, _: Request) -> Response:
        """Answer whatever the database does."""
        return self._answer({"status": "alive", "timestamp": _now()})

    async def ready(self, _: Request) -> Response:
        """Answer with the checks in the body; the file storage's has no say in the status."""
        if "hang" in self._troubles:
            await asyncio.sleep(_FOREVER)
        if "slow" in self._troubles:
            await asyncio.sleep(_SLOW)
        database = await self._database()
        body = {
            "status": "healthy" if database["status"] == "healthy" else "degraded",
            "timestamp": _now(),
            "checks": {
                "database": database,
                "s3": {"status": "unhealthy" if "s3" in self._troubles else "healthy"},
            },
            "version": "1.0.0",
            "environment": "demo",
        }
        return self._answer(body)

    async def trouble(self, request: Request) -> Response:
        """Take the troubles from now on."""
        troubles = await request.json()
        if unknown := set(troubles) - set(TROUBLES):
            return JSONResponse({"error": f"no such trouble: {', '.join(sorted(unknown))}"}, 400)
        self._troubles = frozenset(troubles)
        return Response(status_code=204)

    async def _database(self) -> dict[str, str]:
        if "database" in self._troubles:
            return {"status": "unhealthy", "error": 'connection refused {"status": "healthy"}'}
        # The application sets no time limit: while the database hangs, so does this.
        try:
            connection = await asyncpg.connect(self._database_url, timeout=_FOREVER)
            try:
                await connection.execute("select 1", timeout=_FOREVER)
            finally:
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.close(timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return {"status": "unhealthy", "error": str(error)}
        return {"status": "healthy"}

    def _answer(self, body: dict[str, Any]) -> Response:
        if "failing" in self._troubles:
            return JSONResponse({"detail": "Internal Server Error"}, 500)
        return JSONResponse(body)


def _now() -> str:
    return datetime.now(UTC).isoformat()


class UnionCore(Server):
    """The stand-in in a process of its own.

    Args:
        database_url: What its database check connects to.
        port: Where it listens; a free port when left out.
    """

    def __init__(self, database_url: str, *, port: int | None = None) -> None:
        port = port or free_port()
        argv = [sys.executable, "-m", "scripts.dev.unioncore", "--port", str(port)]
        super().__init__("application", argv, port=port, ready="/health/live", env={"DATABASE_URL": database_url})

    def trouble(self, troubles: Iterable[str] = ()) -> None:
        """Have these troubles, and no others.

        Args:
            troubles: Some of `TROUBLES`.

        Raises:
            httpx.HTTPError: There is no such trouble.
        """
        self.request("PUT", "/troubles", json=list(troubles))


@click.command(
    epilog="""\b
Example:
  python -m scripts.dev.unioncore --port 8000 &
  curl -X PUT -d '["s3"]' http://127.0.0.1:8000/troubles"""
)
@click.option("--port", type=int, default=8000, show_default=True, help="On 127.0.0.1.")
@click.option("--database", envvar="DATABASE_URL", required=True, help="PostgreSQL's URL; DATABASE_URL if left out.")
def main(port: int, database: str) -> None:
    """Answer as UnionCore's health endpoints do."""
    uvicorn.run(StandIn(database).app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
