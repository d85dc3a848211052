"""What Prometheus scrapes: one file of targets a job, which its `file_sd_configs` read."""

from typing import Any

import httpx

from scripts.rendering.settings import RenderSettings
from scripts.rendering.values import split

_PROBER = "__prober__"
"""The label of a target that says where the blackbox_exporter is that probes it (`prometheus.yml`)."""


def targets(settings: RenderSettings) -> dict[str, list[dict[str, Any]]]:
    """Return the groups of targets by the name of their file; a file of what is not there holds none."""
    return {
        "unioncore": _probed(settings),
        "exporter": _exporter(settings),
        "alertmanager": _plain(settings.alertmanager_targets),
        "prometheus": _plain(settings.prometheus_targets),
        "blackbox": _plain(settings.blackbox_targets),
        "postgres": _plain(settings.postgres_targets),
        "node": _plain(settings.node_targets),
        "grafana": _plain(settings.grafana_targets),
    }


def _plain(text: str) -> list[dict[str, Any]]:
    return [{"targets": split(text)}] if text else []


def _probed(settings: RenderSettings) -> list[dict[str, Any]]:
    if not settings.application_url:
        return []
    labels = {_PROBER: split(settings.blackbox_targets)[0]}
    return [{"targets": [settings.application_url], "labels": labels}]


def _exporter(settings: RenderSettings) -> list[dict[str, Any]]:
    if settings.exporter_targets:
        return _plain(settings.exporter_targets)
    url = httpx.URL(settings.exporter_url)
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    group: dict[str, Any] = {"targets": [f"{host}:{port}"]}
    if url.scheme != "http":
        group["labels"] = {"__scheme__": url.scheme}
    if url.path != "/":
        group.setdefault("labels", {})["__metrics_path__"] = f"{url.path}/metrics"
    return [group]
