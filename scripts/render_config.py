#!/usr/bin/env python3
"""The command `render-config`: the configuration of Alertmanager, Prometheus and Grafana, from the environment."""

import json
import sys
from pathlib import Path

import click

from scripts.job.commands import JobCommand, json_option
from scripts.job.exits import Exit, JobError
from scripts.rendering import routing
from scripts.rendering.files import check, render, write
from scripts.rendering.settings import load_settings


@click.command(
    "render-config",
    cls=JobCommand,
    epilog="""\b
Examples:
  UNIONCORE_PAGERDUTY_KEY_FILE=/run/secrets/pagerduty UNIONCORE_HEARTBEAT_URL_FILE=/run/secrets/heartbeat \\
    unioncore-ops render-config --output /etc/unioncore --check
  unioncore-ops render-config --check
  UNIONCORE_ALERTS_MAY_GO_NOWHERE=yes unioncore-ops render-config --output ./rendered

\b
Files below --output:
  alertmanager/alertmanager.yml  reload Alertmanager when it has changed (SIGHUP)
  alertmanager/templates/        what notifications say
  prometheus.yml, rules/         reload Prometheus when one has changed (SIGHUP)
  targets/                       what Prometheus scrapes; it notices a change itself
  dashboards/                    what Grafana provisions; it notices a change itself""",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the files go. With --check it may be left out: nothing is written then.",
)
@click.option("--check", "checked", is_flag=True, help="Have amtool check the configuration before it is written.")
@json_option
def command(*, output: Path | None, checked: bool, as_json: bool) -> None:
    """Render the configuration of Alertmanager and Prometheus, and Grafana's dashboards.

    Alertmanager expands no variables: this does. Only what is configured appears. If nothing is configured that tells
    of a P1, that is an error, unless UNIONCORE_ALERTS_MAY_GO_NOWHERE=yes. Secrets stay in their files: what is
    rendered names the files, and Alertmanager and Prometheus must find them under the
    same paths.
    """
    if output is None and not checked:
        raise JobError(Exit.CONFIGURATION, "give --output DIR, or --check")
    settings = load_settings()
    files = render(settings)
    if checked:
        check(files)
    changed = write(files, output) if output else []
    told, warnings = routing.summary(settings), routing.warnings(settings)
    for priority, channels in told.items():
        click.echo(f"{priority}: {', '.join(channels) or 'nobody'}", err=True)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json or not sys.stdout.isatty():
        result = {"job": "render-config", "succeeded": True, "changed": changed, "told": told, "warnings": warnings}
        click.echo(json.dumps(result))


if __name__ == "__main__":
    command()
