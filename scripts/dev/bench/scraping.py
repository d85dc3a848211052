"""Scraping as Prometheus does, by the clock, and reading what came."""

from __future__ import annotations

import gzip
import http.client
import time
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.dev.servers import Server

# By name and labels; only what is of the contract.
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

# As Prometheus 3 sends them.
_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/3.0.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
# What is not the same number twice, or is of the exporter itself.
_OWN = ("unioncore_up", "unioncore_collector_", "unioncore_exporter_", "unioncore_schema_", "unioncore_backup")


class ScrapeError(Exception):
    """A scrape did not bring what it must."""


class Page(NamedTuple):
    """What a scrape brought."""

    seconds: float
    text: str


class Client:
    """Scrapes one server over a connection that is kept, as Prometheus keeps it."""

    def __init__(self, server: Server) -> None:
        self._name = server.name
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def scrape(self) -> Page:
        """Scrape once, by the clock.

        Raises:
            ScrapeError: The answer is not 200.
        """
        began = time.perf_counter()
        try:
            response = self._ask()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server has closed the idle connection: Prometheus opens another one, too.
            self._connection.close()
            response = self._ask()
        body = response.read()
        seconds = time.perf_counter() - began
        if response.status != http.client.OK:
            raise ScrapeError(f"{self._name} answered {response.status}: {body[:200]!r}")
        zipped = response.headers.get("content-encoding") == "gzip"
        return Page(seconds, (gzip.decompress(body) if zipped else body).decode())

    def _ask(self) -> http.client.HTTPResponse:
        self._connection.request("GET", "/metrics", headers=_HEADERS)
        return self._connection.getresponse()


def check_complete(text: str) -> None:
    """Check that no collector of the exporter failed.

    Raises:
        ScrapeError: One did.
    """
    lines = text.splitlines()
    failed = [
        line for line in lines if line.startswith("unioncore_collector_success{") and float(line.split()[-1]) != 1
    ]
    if failed or "unioncore_up 1" not in [line.removesuffix(".0") for line in lines]:
        raise ScrapeError(f"a scrape was not complete: {', '.join(failed) or 'the database was down'}")


def series_of(server: Server) -> Series:
    """Scrape once in the plain format, and return the numbers that come from the database."""
    found: Series = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            if sample.name.startswith("unioncore_") and not sample.name.startswith(_OWN):
                # query-exporter puts the database's name on every series.
                labels = frozenset((name, value) for name, value in sample.labels.items() if name != "database")
                found[sample.name, labels] = sample.value
    return found


def differences(one: Mapping[str, float], other: Mapping[str, float]) -> list[str]:
    """Return what is not the same; what only one of them has must be 0."""
    return [
        f"{key}: {one.get(key, 0.0):g} and {other.get(key, 0.0):g}"
        for key in sorted({*one, *other})
        if abs(one.get(key, 0.0) - other.get(key, 0.0)) > 0.005
    ]


def named(series: Series) -> dict[str, float]:
    """Return series by their name as PromQL writes it."""
    return {
        name + "{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels)) + "}": value
        for (name, labels), value in series.items()
    }
