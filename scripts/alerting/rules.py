"""Prometheus' rules, made from the thresholds: `python -m scripts.alerting.rules` writes prometheus/rules/."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import yaml

from scripts.alerting.groups import audit, availability, backups, budget, database, exporter, jobs, monitoring, people
from scripts.alerting.model import Alert, Group, Record, Site, number

FILES: Mapping[str, tuple[Group, ...]] = {
    "availability": (availability.OUTAGE, availability.AVAILABILITY, budget.BUDGET),
    "database": (database.OUTAGE, database.DATABASE),
    "exporter": (exporter.GROUP,),
    "backups": (backups.GROUP,),
    "jobs": (jobs.GROUP,),
    "audit": (audit.GROUP,),
    "people": (people.SECURITY, people.DUES),
    "monitoring": (monitoring.GROUP,),
}
SITE = Site(runbooks="https://unioncore.example/docs/runbooks", grafana="http://127.0.0.1:3000")
"""What the committed rules are made for: they are complete but for the two addresses."""
DIRECTORY = Path(__file__).parents[2] / "prometheus" / "rules"
_HEAD = "# Made by `make rules` from scripts/alerting: change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def alerts() -> Iterator[Alert]:
    """Yield every alert; one whose `for` differs from case to case comes once for each."""
    for groups in FILES.values():
        for group in groups:
            yield from (rule for rule in group.rules if isinstance(rule, Alert))


def render(site: Site) -> dict[str, str]:
    """Return the rule files by name.

    Args:
        site: Whose.
    """
    files = dict(FILES)
    if site.database_disk is not None:
        disk = Record(database.DISK, f"vector({number(site.database_disk)})")
        files["site"] = (Group("unioncore-site", [disk]),)
    return {
        f"{name}.yml": _HEAD
        + yaml.dump(
            {"groups": [group.render(site) for group in groups]},
            Dumper=_Dumper,
            sort_keys=False,
            width=120,
            allow_unicode=True,
        )
        for name, groups in files.items()
    }


@click.command()
def main() -> None:
    """Write prometheus/rules/."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, text in render(SITE).items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
        click.echo(f"prometheus/rules/{name}")


if __name__ == "__main__":
    main()
