"""Prometheus' configuration: what the project brings along, and what differs from site to site."""

from pathlib import Path
from typing import Any

import yaml

from scripts.alerting import rules
from scripts.alerting.model import Site
from scripts.rendering.settings import RenderSettings
from scripts.rendering.values import labels

SOURCE = Path(__file__).parents[2] / "prometheus" / "prometheus.yml"

_REPLICA = "__replica__|replica"
"""The labels that tell one Prometheus of a pair from the other: `__replica__` is what Mimir looks for."""


def configuration(settings: RenderSettings) -> dict[str, Any]:
    """Return prometheus.yml, for a place that has rules/ and targets/ beside it.

    Raises:
        OSError: What the project brings along is not there.
    """
    config: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    if external := labels(settings.external_labels):
        config["global"]["external_labels"] = external
    # The same alert of two Prometheis must be the same to Alertmanager, or it is told twice.
    config["alerting"]["alert_relabel_configs"] = [{"regex": _REPLICA, "action": "labeldrop"}]
    if settings.remote_write_url:
        config["remote_write"] = [_remote_write(settings)]
    return config


def rule_files(settings: RenderSettings) -> dict[str, str]:
    """Return the rules by the name of their file."""
    site = Site(
        runbooks=settings.runbooks_url, grafana=settings.grafana_url, database_disk=settings.database_disk_bytes
    )
    return rules.render(site)


def _remote_write(settings: RenderSettings) -> dict[str, Any]:
    config: dict[str, Any] = {"url": settings.remote_write_url}
    if settings.remote_write_tenant:
        config["headers"] = {"X-Scope-OrgID": settings.remote_write_tenant}
    if settings.remote_write_token:
        config["authorization"] = {"credentials_file": str(settings.remote_write_token)}
    if settings.remote_write_password:
        config["basic_auth"] = {
            "username": settings.remote_write_user,
            "password_file": str(settings.remote_write_password),
        }
    return config
