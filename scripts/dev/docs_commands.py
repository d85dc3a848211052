"""The page of all commands, as each describes itself with `--help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from exporter.cli import main as exporter
from scripts.ops import main as ops

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = {"unioncore-exporter": exporter, "unioncore-ops": ops}
"""What pyproject.toml installs for operators."""
_WIDTH = 100


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Context]]:
    """Yield a command and all below it: how each is called, and a context to ask it in.

    Args:
        name: How it is called.
        command: The command.
    """
    # The options of a group come before the name of its command: there are none here but --help and --version.
    context = click.Context(command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield name, context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from commands(f"{name} {below}", found)


def reference() -> str:
    """Return every command's help, under a heading of its own each."""
    sections = [
        f"## {called}\n\n```text\n{context.get_help()}\n```\n"
        for program, main in PROGRAMS.items()
        for called, context in commands(program, main)
    ]
    return "\n".join(sections)
