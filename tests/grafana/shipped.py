"""What is shipped to Grafana, as it stands in the files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser

REPOSITORY = Path(__file__).parents[2]
DIRECTORY = REPOSITORY / "grafana" / "dashboards"
PROVISIONING = REPOSITORY / "grafana" / "provisioning"
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("*.json"))}
INTERVALS = {"$__rate_interval": "5m", "$__interval": "5m"}


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard."""

    board: str
    json: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.json["title"])

    @property
    def kind(self) -> str:
        return str(self.json["type"])

    @property
    def place(self) -> str:
        return f"{self.board}: {self.title} ({self.json['id']})"

    @property
    def targets(self) -> list[dict[str, Any]]:
        return list(self.json.get("targets", []))

    @property
    def defaults(self) -> dict[str, Any]:
        return dict(self.json["fieldConfig"]["defaults"])


def panels() -> list[Panel]:
    """Every panel of every dashboard, those of rows that are closed, too; not the rows."""
    return [
        Panel(name, panel)
        for name, dashboard in DASHBOARDS.items()
        for top in dashboard["panels"]
        for panel in ([top] if top["type"] != "row" else top["panels"])
    ]


PANELS = panels()
ASKING = [panel for panel in PANELS if panel.kind not in ("text", "logs")]


def concrete(expr: str, variables: dict[str, str]) -> str:
    """An expression as Prometheus gets it."""
    for name, value in (variables | {name[1:]: text for name, text in INTERVALS.items()}).items():
        expr = re.sub(rf"\${name}\b|\$\{{{name}\}}", value, expr)
    assert "$" not in re.sub(r'"[^"]*"', "", expr), expr
    return expr


def nodes(expr: str, variables: dict[str, str] | None = None) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every node of an expression, and those around it from without to within."""
    stand_in = {"exporter": "x", "application": "x"}
    around: list[Any] = []
    found: list[tuple[Any, tuple[Any, ...]]] = []

    def enter(node: Any) -> None:
        found.append((node, tuple(around)))
        around.append(node)

    def leave(_: Any) -> None:
        around.pop()

    promql_parser.walk(promql_parser.parse(concrete(expr, variables or stand_in)), enter, leave)
    yield from found


def expressions() -> list[tuple[str, str]]:
    """Every expression, with where it stands: those of panels and of annotations."""
    asked = [(f"{panel.place} {target['refId']}", target["expr"]) for panel in ASKING for target in panel.targets]
    marks = [
        (f"{name}: annotation {annotation['name']}", annotation["expr"])
        for name, dashboard in DASHBOARDS.items()
        for annotation in dashboard["annotations"]["list"]
        if "expr" in annotation
    ]
    return asked + marks
