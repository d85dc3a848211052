"""What the jobs' commands have in common on the command line."""

import json
import os
import sys
from contextlib import suppress

import click

from exporter.settings import ConfigurationError
from scripts.job.exits import Exit, JobError

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on a terminal too.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")


class JobCommand(click.Command):
    """A command that ends as a job does if it can't even begin: a code, a line, and the result as JSON."""

    def invoke(self, ctx: click.Context) -> object:
        """See `click.Command.invoke`."""
        # What a job wakes up for can wait until others have had their turn, the application above all; and it finds
        # more to do at once.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            code, message = Exit.CONFIGURATION, f"the configuration can't be used:\n{error}"
        except JobError as error:
            code, message = error.exit, str(error)
        click.echo(f"{ctx.command_path}: {message}", err=True)
        if not sys.stdout.isatty():
            click.echo(json.dumps({"job": self.name, "succeeded": False, "exit": code, "error": message}))
        sys.exit(code)
