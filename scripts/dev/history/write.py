"""The past as blocks in Prometheus' own store, by promtool."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from scripts.dev.binaries import find
from scripts.dev.history import around, local, watchers
from scripts.dev.history.clock import Clock
from scripts.dev.history.local import constant, labels
from scripts.embedded.directories import make_directory, remove_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scripts.dev.history.local import Labels, Present, Series
    from scripts.dev.servers import Server

_BLOCK = "1500h"
"""The longest block that promtool may make: it reads the whole text anew for each."""
_COUNTERS = ("unioncore_audit_events_total", "pg_stat_database_")
_SUMMED = "table:"
"""How the name of a recording rule begins whose series have no `job`: it sums over it."""


class HistoryError(RuntimeError):
    """promtool refused the past; the message says why."""


def write(
    data: Path,
    *,
    exporter: Server,
    statistics: Server,
    application: Server,
    others: Mapping[str, int],
    seed: int = 1,
) -> None:
    """Give a Prometheus that is not yet running the past that leads up to the present.

    Args:
        data: Its `storage.tsdb.path`.
        exporter: Whose present numbers it leads up to.
        statistics: postgres_exporter, likewise.
        application: What was probed.
        others: The ports of `blackbox`, `alertmanager` and `prometheus`.
        seed: Other seeds make another past.

    Raises:
        httpx.HTTPError: There is no present: a server does not answer.
        HistoryError: promtool refused it.
    """
    clock = Clock(time.time(), seed)
    directory = make_directory("unioncore-history-")
    try:
        text = directory / "history"
        with text.open("w") as file:
            for series in _series(clock, exporter, statistics, application, others):
                file.writelines(_lines(clock, series))
            file.write("# EOF\n")
        _blocks(text, data)
    finally:
        remove_directory(directory)


def _blocks(text: Path, data: Path) -> None:
    command: list[str | Path] = [find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    command += [f"--max-block-duration={_BLOCK}", text, data]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HistoryError(f"promtool ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def present(server: Server) -> Present:
    """Return what a server's /metrics shows, by metric and labels.

    Raises:
        httpx.HTTPError: It does not answer.
    """
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(server.get("/metrics", timeout=20).text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[labels(**sample.labels)] = sample.value
    return found


def _series(
    clock: Clock, exporter: Server, statistics: Server, application: Server, others: Mapping[str, int]
) -> Iterator[Series]:
    now = present(exporter)
    scraped = labels(instance=f"127.0.0.1:{exporter.port}", job="unioncore-exporter")
    for series in (local.series(clock, now), around.stores(clock, now), around.jobs(clock, now)):
        for name, own, value in series:
            yield name, tuple(sorted((*own, *(scraped[:1] if name.startswith(_SUMMED) else scraped)))), value
    yield "up", scraped, constant(1.0)
    for own in now["unioncore_schema_info"]:
        yield "unioncore_schema_info", labels(**dict(scraped), **dict(own)), constant(1.0)
    for own in now["unioncore_exporter_build_info"]:
        yield from _versions(clock, (*scraped, *own))
    yield from around.probes(clock, application.url)
    yield from around.statistics(clock, f"127.0.0.1:{statistics.port}", present(statistics))
    yield from around.fired(clock, application.url)
    ports = dict(others) | {"unioncore-exporter": exporter.port, "postgres": statistics.port}
    instances = {job: f"127.0.0.1:{port}" for job, port in ports.items()}
    instances |= dict.fromkeys(("unioncore-live", "unioncore-serving", "unioncore-ready"), application.url)
    yield from watchers.watching(clock, now, instances)


def _versions(clock: Clock, own: Labels) -> Iterator[Series]:
    """Yield what the exporter said of itself: before it was deployed last, it was another version."""
    before = labels(**dict(own) | {"version": "0.0.9"})
    yield "unioncore_exporter_build_info", before, lambda moment: 1.0 if moment < clock.deployment else None
    yield (
        "unioncore_exporter_build_info",
        labels(**dict(own)),
        lambda moment: 1.0 if moment >= clock.deployment else None,
    )


def _lines(clock: Clock, series: Series) -> Iterator[str]:
    name, own, value = series
    matched = ",".join(f'{label}="{text}"' for label, text in own)
    head = f"{name}{{{matched}}}"
    # A short alert would fall between two samples.
    if name == "ALERTS" or (name == "probe_success" and ("job", "unioncore-serving") in own):
        moments = clock.always
    else:
        moments = clock.often if name.startswith(_COUNTERS) else clock.moments
    for moment in moments:
        if (number := value(moment)) is not None:
            yield f"{head} {number:.10g} {moment:.3f}\n"
