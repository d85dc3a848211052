"""The crontab as it stands runs every job, and what the exporter says of backups and jobs is true after each."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest, Proof
from scripts.dev.servers import Exporter
from scripts.embedded.postgres import psql
from scripts.job.exits import Exit
from tests.scripts.running import ROOT

TOKEN = "push-sesame"
OLD_EVENTS = 30
THRESHOLD = "390"
"""The site's own, in days; without it, the events of 380 days ago are old, too."""
OLD = f"""
insert into audit_logs (table_name, record_id, action, changed_at)
select 'members', i, 'READ', now() - case when i <= {OLD_EVENTS} then interval '400 days' else interval '380 days' end
  from generate_series(1, {OLD_EVENTS + 10}) i;
update refresh_tokens set expires_at = now() - interval '90 days', is_revoked = false where id <= 5;
update refresh_tokens set expires_at = now() + interval '90 days', is_revoked = false where id > 5;
update email_tokens set expires_at = now() + interval '90 days', is_used = false;
update users set locked_until = null, failed_login_attempts = 0;
"""
DUE = 5


class Cron:
    """Runs the crontab's commands in the environment that the crontab gives them, with the settings of a site.

    Args:
        directory: An empty directory.
        exporter: The exporter that watches; its backup directory is the jobs'.
        url: The database.
    """

    def __init__(self, directory: Path, exporter: Exporter, url: str) -> None:
        text = (ROOT / "scripts" / "crontab.example").read_text()
        site = directory / "environment"
        commands = re.findall(r"^[0-9*]+ \S+ \S+ \S+ \S+ +(.*)$", text, re.MULTILINE)
        assert all("/etc/unioncore/environment" in command for command in commands)
        self.commands = [command.replace("/etc/unioncore/environment", str(site)) for command in commands]
        self.url = directory / "url"
        self.url.write_text(url)
        self._log = directory / "log"
        token = directory / "token"
        token.write_text(f"{TOKEN}\n")
        programs = directory / "bin"
        programs.mkdir()
        logger = programs / "logger"
        logger.write_text(f'#!/bin/sh\n[ "$*" = "-t unioncore-ops" ] && exec cat >>{self._log}\n')
        logger.chmod(0o755)
        settings = {
            "DATABASE_URL_FILE": self.url,
            "BACKUP_DIR": exporter.backups,
            "UNIONCORE_EXPORTER_URL": exporter.url,
            "UNIONCORE_PUSH_TOKEN_FILE": token,
            "ARCHIVE_THRESHOLD_DAYS": THRESHOLD,
        }
        site.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        # The machine's own values, in place of those of the machine that the example is for.
        here = {
            "SHELL": "/bin/sh",
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        }
        assert re.findall(r"^([A-Z_]+)=", text, re.MULTILINE) == list(here)
        # What cron itself sets.
        self._env = here | {"HOME": str(Path.home()), "LOGNAME": "root"}

    def run(self, command: str) -> dict[str, Any]:
        """Run a command; return its result, which is the last line of what it has logged."""
        subprocess.run([self._env["SHELL"], "-c", command], env=self._env, cwd="/", check=True, timeout=100)
        result: dict[str, Any] = json.loads(self._log.read_text().splitlines()[-1])
        return result


@pytest.fixture
def exporter(live_url: str) -> Iterator[Exporter]:
    with Exporter(live_url, env={"UNIONCORE_PUSH_TOKEN": TOKEN}) as server:
        yield server


def gauges(exporter: Exporter) -> dict[str, float]:
    """What the exporter says of backups and jobs: each series by its name and its only label's value."""
    return {
        " ".join([sample.name.removeprefix("unioncore_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(exporter.get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith(("unioncore_backup", "unioncore_job_"))
    }


def newest(exporter: Exporter) -> tuple[Path, Manifest]:
    """The newest dump, and its manifest."""
    dump = max(exporter.backups.glob("*.dump"))
    return dump, Manifest.parse(Path(f"{dump}{MANIFEST_SUFFIX}").read_bytes())


def backups_of(exporter: Exporter, number: int, verified_at: float | None) -> Mapping[str, float]:
    """What the exporter must say of so many backups, by what is in the directory."""
    dump, manifest = newest(exporter)
    return {
        "backups local": number,
        "backup_last_success_timestamp_seconds local": manifest.finished_at.timestamp(),
        "backup_size_bytes local": dump.stat().st_size,
        **({"backup_last_verified_timestamp_seconds": verified_at} if verified_at else {}),
    }


def check(
    exporter: Exporter, jobs: dict[str, dict[str, float]], job: str, result: Mapping[str, Any], items: int | None
) -> None:
    """Check what is said of a job that has just run, and that nothing else is said of the others than before."""
    said = {name: value for name, value in gauges(exporter).items() if name.startswith("job_")}
    mine = {
        name.split()[0].removeprefix("job_last_"): value for name, value in said.items() if name.endswith(f" {job}")
    }
    before = jobs.get(job, {})
    assert time.time() - 60 < mine["run_timestamp_seconds"] <= time.time()
    assert mine["run_timestamp_seconds"] > before.get("run_timestamp_seconds", 0)
    assert mine["run_succeeded"] == (items is not None)
    assert mine["run_duration_seconds"] == pytest.approx(result["seconds"], abs=0.01)
    if items is None:
        assert result["succeeded"] is False
        # A failure erases no success.
        kept = ("success_timestamp_seconds", "run_items")
        assert {name: mine.get(name) for name in kept} == {name: before.get(name) for name in kept}
    else:
        assert result["succeeded"] is True
        assert mine["success_timestamp_seconds"] == mine["run_timestamp_seconds"]
        assert mine["run_items"] == items == result["items"]
    assert result["report"] == "delivered"
    jobs[job] = mine
    assert said == {f"job_last_{name} {of}": value for of, values in jobs.items() for name, value in values.items()}


def test_the_crontab_runs_it_all_and_the_gauges_tell_the_truth_throughout(
    live_url: str, exporter: Exporter, tmp_path: Path
) -> None:
    psql(live_url, OLD)
    cron = Cron(tmp_path, exporter, live_url)
    backup, verify, archive, cleanup = cron.commands
    jobs: dict[str, dict[str, float]] = {}

    def told(number: int, verified_at: float | None) -> None:
        said = {name: value for name, value in gauges(exporter).items() if name.startswith("backup")}
        age = said.pop("backup_age_seconds local")
        expected = backups_of(exporter, number, verified_at)
        assert said == expected
        assert age == pytest.approx(time.time() - expected["backup_last_success_timestamp_seconds local"], abs=5)

    assert gauges(exporter) == {"backups local": 0}

    check(exporter, jobs, "backup", cron.run(backup), items=18)
    told(1, None)

    result = cron.run(verify)
    check(exporter, jobs, "verify", result, items=result["details"]["compared"])
    dump, manifest = newest(exporter)
    assert Proof.parse(Path(f"{dump}{PROOF_SUFFIX}").read_bytes()).sha256 == manifest.sha256
    verified_at = manifest.finished_at.timestamp()
    told(1, verified_at)

    check(exporter, jobs, "archive", cron.run(archive), items=OLD_EVENTS)
    told(1, verified_at)

    check(exporter, jobs, "cleanup", cron.run(cleanup), items=DUE)
    told(1, verified_at)

    # Whatever goes wrong is told as such, and nothing that was right before becomes wrong.
    cron.url.write_text(re.sub(r":[^:@]+@", ":wrong-sesame@", live_url))
    result = cron.run(backup)
    assert result["exit"] == Exit.UNREACHABLE
    check(exporter, jobs, "backup", result, items=None)
    told(1, verified_at)
    cron.url.write_text(live_url)

    check(exporter, jobs, "backup", cron.run(backup), items=18)
    told(2, verified_at)
    dump, _ = newest(exporter)
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    result = cron.run(verify)
    assert result["exit"] == Exit.NOT_VERIFIED
    check(exporter, jobs, "verify", result, items=None)
    told(2, verified_at)
