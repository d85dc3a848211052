"""The exporters beside the project's own, as supervised children."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.dev.binaries import find
from scripts.dev.servers import Server
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path


class BlackboxExporter(Server):
    """A real blackbox_exporter.

    Args:
        config: Its blackbox.yml.
        port: Where it listens; a free port when left out.
    """

    def __init__(self, config: Path, *, port: int | None = None) -> None:
        port = port or free_port()
        argv: list[str | Path] = [
            find("blackbox_exporter"),
            f"--config.file={config.resolve()}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        super().__init__("blackbox-exporter", argv, port=port, ready="/-/healthy")

    def probe(self, module: str, target: str) -> dict[str, float]:
        """Probe once.

        Args:
            module: A module of its configuration.
            target: A URL, or HOST:PORT.

        Returns:
            What it measured, by the metric's name and labels as they stand in its answer.
        """
        answer = self.get("/probe", params={"module": module, "target": target}, timeout=20).text
        lines = (line.rsplit(" ", 1) for line in answer.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}


class PostgresExporter(Server):
    """A real postgres_exporter.

    Args:
        database_url: The server that it watches, with any of its databases.
        port: Where it listens; a free port when left out.
    """

    def __init__(self, database_url: str, *, port: int | None = None) -> None:
        port = port or free_port()
        argv: list[str | Path] = [
            find("postgres_exporter"),
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        source = f"{database_url}{'&' if '?' in database_url else '?'}sslmode=disable"
        super().__init__("postgres-exporter", argv, port=port, ready="/", env={"DATA_SOURCE_NAME": source})
