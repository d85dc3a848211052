"""The backup jobs in this very process, on a directory of their own: a process for each would take most of the time."""

import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from exporter.manifests import MANIFEST_SUFFIX, PROOF_SUFFIX, Manifest, Proof
from exporter.settings import load
from exporter.storage import Listing, LocalStore
from scripts import backup_database, restore_database, verify_backup
from scripts.backup.sealing import Facts, seal, unseal
from scripts.backup.settings import BackupSettings, BackupsSettings, RestoreSettings, VerifySettings
from scripts.backup.target import target_address
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.exits import Exit
from scripts.job.frame import Outcome, Run, run_job
from tests.scripts.running import NOWHERE

S = TypeVar("S", bound=BackupsSettings)
OLD = "unioncore-20200101T000000000Z.dump"
"""A good backup from long before."""

CRITICAL = {"members": 200, "users": 20, "audit_logs": 2000, "dues_payments": 800, "students": 60}
"""The rows of the critical tables in the small database."""


class Ended(NamedTuple):
    """How a job ended: its exit code, its error, and the details of its result."""

    code: int
    error: str
    details: Mapping[str, Any]


class Jobs:
    """The jobs, with the programs of a server.

    Args:
        server: Whose programs to use; scratch databases are made on it.
        directory: An empty directory.
        monkeypatch: Sets the environment.
        capsys: Catches what they print.
    """

    def __init__(
        self,
        server: EmbeddedPostgres,
        directory: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.server = server
        self.backups = directory / "backups"
        self.backups.mkdir()
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.log = ""
        ours = ("UNIONCORE_", "DATABASE_URL", "DB_", "BACKUP_", "RETENTION_", "S3_", "PG")
        for name in [name for name in os.environ if name.startswith(ours)]:
            monkeypatch.delenv(name)
        self.use(
            BACKUP_DIR=str(self.backups),
            UNIONCORE_PG_BIN=str(server.bin("pg_dump").parent),
            UNIONCORE_SCRATCH_URL=server.url("postgres"),
            UNIONCORE_EXPORTER_URL=NOWHERE,
        )

    def use(self, **variables: str) -> None:
        """Set environment variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def backup(self, url: str, *, dry_run: bool = False, **variables: str) -> Ended:
        self.use(DATABASE_URL=url, **variables)
        return self._run("backup", backup_database.work, load(BackupSettings), dry_run=dry_run)

    def verify(self, what: str | Path = "latest", **variables: str) -> Ended:
        self.use(**variables)

        async def work(run: Run[VerifySettings]) -> Outcome:
            return await verify_backup.work(run, str(what))

        return self._run("verify", work, load(VerifySettings))

    def restore(
        self, what: str | Path = "latest", *, url: str, force: bool = False, owners: bool = False, **variables: str
    ) -> Ended:
        self.use(UNIONCORE_RESTORE_URL=url, **variables)

        async def work(run: Run[RestoreSettings]) -> Outcome:
            target = target_address(run.settings, None)
            return await restore_database.work(run, str(what), target, force=force, owners=owners)

        return self._run("restore", work, load(RestoreSettings))

    def _run(
        self, name: str, work: Callable[[Run[S]], Awaitable[Outcome]], settings: S, *, dry_run: bool = False
    ) -> Ended:
        self._capsys.readouterr()
        code = run_job(name, work, settings=settings, time_limit=60, report=False, dry_run=dry_run)
        printed, self.log = self._capsys.readouterr()
        result = json.loads(printed.splitlines()[-1])
        return Ended(code, result["error"] or "", result["details"])

    def listing(self) -> Listing:
        """What the exporter sees in the directory."""
        return LocalStore(self.backups).list_backups(datetime.now(UTC).timestamp())

    def names(self) -> list[str]:
        """The complete backups in the directory, the newest last."""
        return [backup.manifest.name for backup in self.listing().backups]

    def files(self) -> set[str]:
        """All files in the directory."""
        return {path.name for path in self.backups.iterdir() if path.is_file()}

    def add(self, name: str, *, days: float, proven: bool = False) -> None:
        """Add a backup that was finished so many days ago; only its size is right."""
        finished = datetime.now(UTC) - timedelta(days=days)
        manifest = Manifest(name, "a" * 64, 6, finished, finished)
        (self.backups / name).write_bytes(b"a dump")
        (self.backups / f"{name}{MANIFEST_SUFFIX}").write_bytes(manifest.render())
        if proven:
            proof = Proof(manifest.sha256, finished)
            (self.backups / f"{name}{PROOF_SUFFIX}").write_bytes(proof.render())

    def scratch_databases(self) -> str:
        """The scratch databases that are on the server."""
        return self.server.psql("select datname from pg_database where datname like 'unioncore_scratch%'")


def opened(dump: Path) -> tuple[Manifest, Facts]:
    """The manifest of a backup."""
    return unseal(Path(f"{dump}{MANIFEST_SUFFIX}").read_bytes(), dump.name)


def close(dump: Path, manifest: Manifest, facts: Facts) -> None:
    """Write a manifest that fits the dump, whatever that is by now, under a seal that is whole."""
    content = dump.read_bytes()
    fitting = replace(manifest, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    Path(f"{dump}{MANIFEST_SUFFIX}").write_bytes(seal(fitting, facts))


def assert_not_verified(jobs: Jobs, what: Path | str, *words: str) -> None:
    ended = jobs.verify(what)
    assert ended.code == Exit.NOT_VERIFIED, ended
    for text in words:
        assert text in ended.error
    assert jobs.scratch_databases() == ""
    assert list(jobs.backups.glob(f"*{PROOF_SUFFIX}")) == []
