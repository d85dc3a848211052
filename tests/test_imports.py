"""Arrows of import run one way, so that a part can be understood without those that use it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each part may use of the others; a module is of the longest part that its name begins with.
MAY_USE: dict[str, set[str]] = {
    "exporter": set(),
    "grafana": {"scripts.alerting"},
    "scripts": {"exporter", "scripts.alerting", "scripts.embedded", "scripts.job"},
    "scripts.alerting": set(),
    "scripts.dev": {"exporter", "scripts", "scripts.alerting", "scripts.embedded", "scripts.job"},
    "scripts.embedded": set(),
    "scripts.job": {"exporter"},
}


def owner(module: str) -> str:
    """The part that a module is of."""
    return max((part for part in MAY_USE if f"{module}.".startswith(f"{part}.")), key=len)


def used(path: Path) -> Iterator[str]:
    """What a file imports of the project."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.module
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in {"exporter", "grafana", "scripts", "tests"})


@pytest.mark.parametrize("part", ["exporter", "grafana", "scripts"])
def test_no_part_uses_what_uses_it(part: str) -> None:
    for path in sorted((ROOT / part).rglob("*.py")):
        mine = owner(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module in used(path):
            assert not module.startswith("tests."), f"{path} uses {module}"
            assert owner(module) in {mine, *MAY_USE[mine]}, f"{path} uses {module}"
