#!/usr/bin/env python3
"""The command `unioncore-ops`: all operations jobs under one name."""

import gc
from importlib import import_module
from typing import NamedTuple

import click

from exporter import __version__


class _Lazy(NamedTuple):
    """A command that is imported when it is run.

    Attributes:
        module: Its module.
        help: What it does, in a line.
    """

    module: str
    help: str


_COMMANDS = {
    "backup": _Lazy("scripts.backup_database", "Dump the database, and prove what is in the dump."),
    "list": _Lazy("scripts.list_backups", "List the backups, here and off site."),
    "verify": _Lazy("scripts.verify_backup", "Restore a backup into a scratch database, and compare everything."),
    "restore": _Lazy("scripts.restore_database", "Restore a backup into a database."),
    "archive": _Lazy("scripts.archive_audit_logs", "Archive old audit events; delete archived ones if asked to."),
    "restore-archive": _Lazy("scripts.restore_audit_archive", "Load archived audit events into a table."),
    "render-config": _Lazy("scripts.render_config", "Render Alertmanager's and Prometheus' configuration."),
    "schedule": _Lazy("scripts.run_schedule", "Run the jobs at their times, in a container."),
    "cleanup": _Lazy("scripts.cleanup_sessions", "Delete old sessions and tokens, and release expired locks."),
}


class _Jobs(click.Group):
    """A group that imports only the command that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's parameter
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        # What a module makes stays: no collection, nor the end of the process, need look for garbage in it.
        gc.disable()
        command: click.Command = import_module(_COMMANDS[cmd_name].module).command
        gc.freeze()
        gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in _COMMANDS.items()])


@click.group(
    cls=_Jobs,
    epilog="""\b
Examples:
  DATABASE_URL=postgresql://... unioncore-ops backup
  unioncore-ops verify latest
  unioncore-ops cleanup --dry-run

\b
Exit codes:
  0 done               4 time limit passed     8 no space
  1 failed             5 not verified          9 a program is missing or too old
  2 configuration      6 refused by a rule   130 Ctrl-C, cleaned up
  3 another run        7 unreachable, login  143 SIGTERM, cleaned up

Every setting is an environment variable: see docs/configuration.md.""",
)
@click.version_option(__version__)
def main() -> None:
    """UnionCore's operations jobs."""


if __name__ == "__main__":
    main()
