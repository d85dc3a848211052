"""What a real Prometheus holds of the metric contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.table import Table

from scripts.dev.servers import Prometheus, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.metrics import Family

_JOB = "unioncore-exporter"


def wait_for_scrapes(prometheus: Prometheus, scrapes: int, *, timeout: float) -> None:
    """Wait until Prometheus has scraped the exporter.

    Args:
        prometheus: The server that is asked.
        scrapes: How many successful scrapes to wait for.
        timeout: In seconds.

    Raises:
        ServerError: It has not scraped as often in time.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if prometheus.query(f'sum_over_time(up{{job="{_JOB}"}}[10m]) >= {scrapes}'):
            return
        time.sleep(0.2)
    raise ServerError(f"Prometheus has not scraped the exporter {scrapes} times in {timeout:.0f} s")


def describe(prometheus: Prometheus, contract: Iterable[Family]) -> tuple[Table, list[str]]:
    """Compare what Prometheus holds with the contract.

    Args:
        prometheus: The server that is asked.
        contract: The families that must be there, with the labels that their series must have.

    Returns:
        A table of every `unioncore_*` family with its number of series and a sample, and the families that are
        missing, each with the reason if it is another than that there is no series.
    """
    found: dict[str, list[tuple[dict[str, str], str]]] = {}
    for series in prometheus.query('{__name__=~"unioncore_.+"}'):
        labels = {key: value for key, value in series["metric"].items() if key not in ("__name__", "job", "instance")}
        found.setdefault(series["metric"]["__name__"], []).append((labels, series["value"][1]))
    table = Table("family", "series", "a sample", "value")
    table.columns[0].no_wrap = True
    table.columns[1].justify = table.columns[3].justify = "right"
    for name, rows in sorted(found.items()):
        # The largest value says most: many series of a family are rightly 0.
        labels, value = max(rows, key=lambda row: float(row[1]))
        sample = ", ".join(f"{key}={text}" for key, text in sorted(labels.items()))
        table.add_row(
            name, str(len(rows)), sample, f"{float(value):,.6g}" if abs(float(value)) < 1e6 else f"{float(value):,.0f}"
        )
    missing = []
    for family in contract:
        rows = found.get(family.name, [])
        if not rows:
            missing.append(family.name)
        elif not all(set(family.labels) <= labels.keys() for labels, _ in rows):
            missing.append(f"{family.name} (a series lacks one of the labels {', '.join(family.labels)})")
    return table, missing
