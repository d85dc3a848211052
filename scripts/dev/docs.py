"""The pages in docs/ that are made from code, so that they can't drift from it: `make docs` writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

import scripts.archive.settings
import scripts.backup.settings
import scripts.job.settings
import scripts.rendering.monitoring
import scripts.rendering.settings
import scripts.schedule.settings
from exporter.board import HEALTH
from exporter.contract import COLLECTORS
from exporter.settings import Settings, variable_of
from scripts.dev import docs_alerts, docs_commands
from scripts.schedule import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

    from pydantic.fields import FieldInfo

    from exporter.metrics import Family

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOKS = DOCS / "runbooks" / "README.md"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "The database": ("DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
    "What is counted": ("UNIONCORE_TIMEZONE", "UNIONCORE_RECOUNT_SECONDS"),
    "The web server": (
        "UNIONCORE_LISTEN",
        "UNIONCORE_TLS_CERT",
        "UNIONCORE_TLS_KEY",
        "UNIONCORE_METRICS_TOKEN",
        "UNIONCORE_PUSH_TOKEN",
    ),
    "Time limits": (
        "UNIONCORE_SCRAPE_TIMEOUT",
        "UNIONCORE_SCRAPE_TIMEOUT_OFFSET",
        "UNIONCORE_CONNECT_TIMEOUT",
        "UNIONCORE_STATEMENT_TIMEOUT",
        "UNIONCORE_LOCK_TIMEOUT",
        "UNIONCORE_S3_TIMEOUT",
        "UNIONCORE_S3_REFRESH",
    ),
    "Backups and job results": ("BACKUP_DIR", "S3_BUCKET", "S3_PREFIX", "S3_PATH_STYLE", "UNIONCORE_STATE_DIR"),
    "Logs": ("UNIONCORE_LOG_FORMAT", "UNIONCORE_LOG_LEVEL"),
}
_JOBS = (scripts.job.settings, scripts.backup.settings, scripts.archive.settings, scripts.schedule.settings)
_NOTIFICATIONS = (scripts.rendering.settings, scripts.rendering.monitoring)
_INDEX = re.compile(r"(?<=<!-- alerts, by `make docs` -->\n\n).*(?=\n\n<!-- end of alerts -->)", re.DOTALL)
_BOUNDS = {"gt": "more than {:.7g}", "ge": "at least {:.7g}", "le": "at most {:.7g}"}


def configuration() -> str:
    """Return the page of all settings.

    Raises:
        ValueError: A setting is in no group, or one in a group is no setting.
    """
    fields = {variable_of(field): field for field in Settings.model_fields.values()}
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(fields):
        raise ValueError(
            f"GROUPS and the settings differ in {set(grouped) ^ set(fields) or 'a name that is there twice'}"
        )
    sections = "\n".join(f"## {title}\n\n{_table(names, fields)}" for title, names in GROUPS.items())
    jobs, notifications = (
        "\n".join(f"### {title}\n\n{_table(own, own)}" for title, own in _classes(modules))
        for modules in (_JOBS, _NOTIFICATIONS)
    )
    return f"""# Configuration

{_made_from("exporter/settings.py and the settings.py of the jobs in scripts/")}

Every setting is an environment variable; one that is empty counts as not set. Only the database's address is required:
`DATABASE_URL`, or `DB_HOST` and its companions.

Each can be read from a file instead: add `_FILE` to its name, and give the file's path (`DATABASE_URL_FILE`,
`UNIONCORE_PUSH_TOKEN_FILE`). That keeps a secret out of the environment. Line ends after the value do not count.
boto3's own variables, `AWS_*`, are read by boto3 and have no `_FILE`.

All errors are reported at once, each with its variable's name, and the command ends with 2. No message and no log line
holds a secret.

{sections}
## The jobs

They share the settings of the database, of the backups, of logs and UNIONCORE_PUSH_TOKEN with the exporter. A job reads
its own settings only: a wrong value stops no other.

{jobs}
## Rendering

Read by `unioncore-ops render-config`. A secret is given as a file only, by the variable that ends in `_FILE`: the
program that needs it reads the file itself. A channel that is not configured is not rendered.

{notifications}
## Examples

{_examples(fields)}"""


def metrics() -> str:
    """Return the page of every family that the exporter publishes."""
    titles = {"Every scrape": HEALTH} | {f"Collector `{name}`": families for name, families in COLLECTORS.items()}
    sections = "\n".join("\n".join([f"## {title}\n", *map(_family, families)]) for title, families in titles.items())
    return f"""# Metrics

{_made_from("the families in exporter/")}

Names, labels and their meaning are a public contract: frozen once released. Values are in base units (seconds, bytes,
dollars), label values in lower case whatever the database's. Every value is counted for the scrape that shows it, or
known not to have changed since. A collector that fails leaves all its families out and sets its
`unioncore_collector_success` to 0: there are no stale values, and no zero that was not counted. A status that is known
but unused is there with 0; one that is new to the exporter gets its own series.

`today` is the calendar day of `UNIONCORE_TIMEZONE`; `7d` and `30d` begin that many days before today does. Every window
ends now.

{sections}"""


def commands() -> str:
    """Return the page of every command and its options."""
    return f"""# Commands

{_made_from("the commands' own --help")}

{docs_commands.reference()}"""


def variables() -> set[str]:
    """Return the name of every setting, of the exporter, the jobs and the rendering."""
    classes = _classes((*_JOBS, *_NOTIFICATIONS))
    return {variable_of(field) for field in Settings.model_fields.values()}.union(*(own for _, own in classes))


def _runbooks() -> str:
    """Return the index of the runbooks with the table of alerts as it should be."""
    text = RUNBOOKS.read_text(encoding="utf-8")
    return _INDEX.sub(lambda _: docs_alerts.index(), text)


def _classes(modules: Iterable[ModuleType]) -> Iterator[tuple[str, Mapping[str, FieldInfo]]]:
    """Yield each class of settings in some modules: a title, and the variables that it adds."""
    for module in modules:
        for kind in vars(module).values():
            if getattr(kind, "__module__", "") == module.__name__ and hasattr(kind, "model_fields"):
                own = {
                    variable_of(field): field
                    for name, field in kind.model_fields.items()
                    if name in kind.__annotations__
                }
                title = kind.__doc__.partition("\n")[0].removeprefix("What can be configured of ").rstrip(".")
                yield title[0].upper() + title[1:], own


def _made_from(source: str) -> str:
    return f"<!-- Made by `make docs` from {source}: change it there. -->"


def _table(names: Iterable[str], fields: Mapping[str, FieldInfo]) -> str:
    rows = ["| variable | default | values | what it is |", "| --- | --- | --- | --- |"]
    for name in names:
        field = fields[name]
        default = "" if field.default in (None, "", PydanticUndefined) else f"`{_plain(field.default)}`"
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {default} | {_values(field)} | {meaning} |")
    return "".join(f"{row}\n" for row in rows)


def _plain(value: Any) -> str:
    """Return a default as one would write it into the environment."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _values(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "`true`, `false`"
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation) if value)
    alternatives = (field.annotation, *get_args(field.annotation))
    if any(SecretStr in (kind, *get_args(kind)) for kind in alternatives):
        return "secret"
    return ", ".join(
        words.format(bound)
        for name, words in _BOUNDS.items()
        for metadata in field.metadata
        if (bound := getattr(metadata, name, None)) is not None
    )


def _examples(fields: Mapping[str, FieldInfo]) -> str:
    lines = [f"{name}={example}\n" for name, field in fields.items() for example in field.examples or ()]
    return f"```sh\n{''.join(lines)}```\n"


def _family(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"""### `{family.name}`

{family.documentation}

A {family.kind}{f", by {labels}" if labels else ""}. For example:

```promql
{family.example}
```
"""


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each page that is made from code: its path and its text."""
    yield DOCS / "configuration.md", configuration()
    yield DOCS / "metrics.md", metrics()
    yield DOCS / "commands.md", commands()
    yield RUNBOOKS, _runbooks()
    yield DOCS.parent / "scripts" / "crontab.example", plan.crontab()
    for name, text in plan.units():
        yield DOCS / "systemd" / name, text


def main() -> None:
    """Write the pages."""
    for path, page in pages():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
