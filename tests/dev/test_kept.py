"""The demo's backups are the job's own: what the runbooks do with a backup can be tried on them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.storage import LocalStore
from scripts.dev.kept import KeptError, back_up, variables
from scripts.dev.servers import Exporter
from scripts.embedded.postgres import EmbeddedPostgres


def test_each_of_the_demos_backups_counts_and_the_oldest_verifies(postgres: EmbeddedPostgres, live_url: str) -> None:
    with Exporter(live_url) as exporter:
        database = urlsplit(live_url).path.removeprefix("/")
        back_up(postgres, database, exporter, days=3)
        listing = LocalStore(exporter.backups).list_backups(time.time())
        assert listing.rejected == ()
        assert [backup.verified_at == backup.manifest.finished_at for backup in listing.backups] == [True] * 3
        oldest = exporter.backups / listing.backups[0].manifest.name
        verified = subprocess.run(
            [sys.executable, "-m", "scripts.ops", "verify", str(oldest)],
            env=os.environ | variables(postgres, database, exporter),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert verified.returncode == 0, verified.stderr


def test_a_backup_that_fails_is_told_in_the_jobs_words(postgres: EmbeddedPostgres, live_url: str) -> None:
    with Exporter(live_url) as exporter, pytest.raises(KeptError, match=r"database .* does not exist"):
        back_up(postgres, "nowhere", exporter, days=3)
