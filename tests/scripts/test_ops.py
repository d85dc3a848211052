"""The command `unioncore-ops`, the files behind it, and the crontab that runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scripts.ops import main
from tests.scripts.running import ROOT

FILES = {
    "backup": "backup_database",
    "list": "list_backups",
    "verify": "verify_backup",
    "restore": "restore_database",
    "archive": "archive_audit_logs",
    "restore-archive": "restore_audit_archive",
    "render-config": "render_config",
    "schedule": "run_schedule",
    "cleanup": "cleanup_sessions",
}
CRONTAB = [
    line
    for line in (ROOT / "scripts" / "crontab.example").read_text().splitlines()
    if line and not line.startswith("#") and not re.match(r"[A-Z_]+=", line)
]


def test_help_lists_every_job_without_importing_one() -> None:
    code = (
        "import sys; from scripts.ops import main; main(['--help'], standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('asyncpg', 'boto3', 'pydantic', 'httpx')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0
    commands = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\S+)", commands, re.MULTILINE) == list(FILES)
    assert "Examples:" in done.stdout
    assert "143 SIGTERM" in done.stdout


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_every_job_is_a_command_and_an_executable_file_with_examples(name: str, file: str) -> None:
    path = ROOT / "scripts" / f"{file}.py"
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env python3\n")
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    command = main.get_command(click.Context(main), name)
    assert command
    assert command.name == name


def test_a_file_runs_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cleanup_sessions.py", "--help"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0


def test_what_is_no_job_is_a_mistake_on_the_command_line() -> None:
    assert CliRunner().invoke(main, ["health"]).exit_code == 2


def test_the_crontab_runs_each_job_at_its_time() -> None:
    line = re.compile(
        r"(\S+ \S+ \S+ \S+ \S+)  \{ set -a; \. /etc/unioncore/environment; unioncore-ops (.*); \} 2>&1"
        r" \| logger -t unioncore-ops"
    )
    found = map(line.fullmatch, CRONTAB)
    assert [it.groups() for it in found if it] == [
        ("0 2 * * *", "backup"),
        ("0 3 * * 6", "verify latest"),
        ("0 3 * * 0", "archive"),
        ("0 4 * * *", "cleanup"),
    ]
    assert len(CRONTAB) == 4
