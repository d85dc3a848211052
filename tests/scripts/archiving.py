"""The audit archive's jobs in this very process, a session with the database, and what the archive holds."""

import asyncio
import csv
import hashlib
import io
import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import asyncpg
import pytest
import zstandard

from exporter.settings import load
from scripts.archive import check, delete, export, guard, show
from scripts.archive.restore import Wanted, restore
from scripts.archive.settings import ArchiveSettings, DeleteSettings, ListSettings
from scripts.job.frame import Outcome, Run, run_job
from tests.looking import exporting
from tests.scripts.running import NOWHERE

T = TypeVar("T")
S = TypeVar("S", bound=ArchiveSettings)
CHUNK = ".csv.zst"
MANIFEST = ".csv.zst.json"


class Ended(NamedTuple):
    """How a job ended: its exit code, its error, how many rows it dealt with, and the details of its result."""

    code: int
    error: str
    rows: int | None
    details: Mapping[str, Any]


class Archives:
    """The jobs, on a directory of their own unless a bucket is set.

    Args:
        directory: An empty directory.
        monkeypatch: Sets the environment.
        capsys: Catches what they print.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory / "audit-archive"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.log = self.printed = ""
        ours = ("UNIONCORE_", "DATABASE_URL", "DB_", "BACKUP_", "ARCHIVE_", "S3_", "PG")
        for name in [name for name in os.environ if name.startswith(ours)]:
            monkeypatch.delenv(name)
        self.use(
            BACKUP_DIR=str(directory),
            UNIONCORE_EXPORTER_URL=NOWHERE,
            ARCHIVE_THRESHOLD_DAYS="10",
            UNIONCORE_ARCHIVE_CHUNK_ROWS="400",
            UNIONCORE_ARCHIVE_GRACE_DAYS="0",
        )

    def use(self, **variables: str) -> None:
        """Set environment variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def archive(self, *, dry_run: bool = False, **variables: str) -> Ended:
        self.use(**variables)
        return self._run("archive", export.archive, load(ArchiveSettings), dry_run=dry_run)

    def delete(self, *, dry_run: bool = False, **variables: str) -> Ended:
        self.use(**variables)
        return self._run("archive-delete", delete.delete, load(DeleteSettings), dry_run=dry_run)

    def install_guard(self, job_role: str = "", *, dry_run: bool = False, **variables: str) -> Ended:
        self.use(**variables)

        async def work(run: Run[DeleteSettings]) -> Outcome:
            return await guard.install(run, job_role)

        return self._run("archive-install-guard", work, load(DeleteSettings), dry_run=dry_run)

    def remove_guard(self) -> Ended:
        return self._run("archive-remove-guard", guard.remove, load(DeleteSettings))

    def restore(self, wanted: Wanted, *, dry_run: bool = False) -> Ended:
        async def work(run: Run[ArchiveSettings]) -> Outcome:
            return await restore(run, wanted)

        return self._run("restore-archive", work, load(ArchiveSettings), dry_run=dry_run)

    def show(self) -> Ended:
        return self._run("archive-list", show.show, load(ListSettings))

    def verify(self) -> Ended:
        return self._run("archive-verify", check.check, load(ListSettings))

    def run(self, name: str, work: Callable[[Run[ArchiveSettings]], Awaitable[Outcome]], **variables: str) -> Ended:
        """Run any work as a job that has the archive's lock."""
        self.use(**variables)
        return self._run(name, work, load(ArchiveSettings))

    def _run(
        self, name: str, work: Callable[[Run[S]], Awaitable[Outcome]], settings: S, *, dry_run: bool = False
    ) -> Ended:
        self._capsys.readouterr()
        code = run_job(name, work, settings=settings, time_limit=60, lock="archive", report=False, dry_run=dry_run)
        self.printed, self.log = self._capsys.readouterr()
        result = json.loads(self.printed.splitlines()[-1])
        return Ended(code, result["error"] or "", result["items"], result["details"])

    def files(self) -> dict[str, bytes]:
        """All files of the archive in the directory, by their keys."""
        return {
            path.relative_to(self.directory).as_posix(): path.read_bytes()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }

    def last(self) -> str:
        """The key of the chunk with the highest ids."""
        return max((key for key in self.files() if key.endswith(CHUNK)), key=first_id)

    def rows(self) -> dict[int, list[str]]:
        """What is archived in the directory, by id."""
        return archived(self.files())


def first_id(key: str) -> int:
    """The lowest id of a chunk, by its key."""
    return int(key.rpartition("/")[2].partition("-")[0])


def archived(files: Mapping[str, bytes]) -> dict[int, list[str]]:
    """What files of an archive hold, each row by its id; every chunk is looked at in all of its parts.

    Args:
        files: Their contents by their keys.
    """
    found: dict[int, list[str]] = {}
    for key, text in files.items():
        if not key.endswith(MANIFEST):
            continue
        manifest = json.loads(text)
        packed = files[key.removesuffix(".json")]
        assert hashlib.sha256(packed).hexdigest() == manifest["sha256"]
        assert len(packed) == manifest["size"]
        plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
        assert len(plain) == manifest["plain_size"]
        assert hashlib.sha256(plain.partition(b"\n")[2]).hexdigest() == manifest["digest"]
        header, *rows = csv.reader(io.StringIO(plain.decode(), newline=""), strict=True)
        assert header == [column["name"] for column in manifest["columns"]]
        ids = [int(row[0]) for row in rows]
        assert ids == list(expand(manifest["ids"]))
        assert key.rpartition("/")[2].startswith(f"{ids[0]}-{ids[-1]}-{manifest['sha256'][:8]}.")
        times = [row[1] for row in rows]
        assert key[:7] == times[0][:7].replace("-", "/")
        assert len(rows) == manifest["rows"]
        assert found.keys().isdisjoint(ids), "a row is in two manifests"
        found.update(zip(ids, rows, strict=True))
    return found


def expand(ids: str) -> list[int]:
    """The ids that `1-5,7` stands for."""
    ranges = [word.partition("-") for word in ids.split(",")]
    return [number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]


class Session:
    """A session with the database for a test that is no coroutine itself.

    Args:
        url: The database.
    """

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection: asyncpg.Connection = self.wait(asyncpg.connect(url))

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine beside the test."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def execute(self, sql: str, *arguments: object) -> str:
        return self.wait(self._connection.execute(sql, *arguments))

    def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        return self.wait(self._connection.fetch(sql, *arguments))

    def value(self, sql: str, *arguments: object) -> Any:
        return self.wait(self._connection.fetchval(sql, *arguments))

    def close(self) -> None:
        self.wait(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class AuditLog(Session):
    """The audit log, of whichever shape."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.time: str = self.value(
            "select attname::text from pg_attribute"
            " where attrelid = 'audit_logs'::regclass and attname in ('changed_at', 'created_at')"
        )

    def immutable(self, url: str) -> list[int]:
        """What an exporter says of update, delete and truncate.

        Args:
            url: The database.
        """

        async def look() -> list[int]:
            async with exporting(url) as exporter:
                found = await exporter.look()
            assert not exporter.errors
            return [int(found["unioncore_audit_immutable", (name,)]) for name in ("update", "delete", "truncate")]

        return self.wait(look())

    def add(
        self, number: int, *, days: float, first: int | None = None, step: int = 1, notes: str | None = None
    ) -> int:
        """Add rows that are so many days old; return the first one's id.

        Args:
            number: How many.
            days: Their age.
            first: Their first id; the sequence's next one if left out.
            step: From id to id.
            notes: What is noted in each.
        """
        if first is None:
            first = self.value("select nextval('audit_logs_id_seq')")
            self.execute("select setval('audit_logs_id_seq', $1)", first + number * step)
        self.execute(
            f"""
            insert into audit_logs (id, table_name, record_id, action, new_values, {self.time}, notes)
            select $1 + (i - 1) * $2::int, 'members', i, 'UPDATE', jsonb_build_object('n', i),
                   (now() at time zone 'UTC') - make_interval(secs => 86400 * $3::float8) + i * interval '1 ms', $4
              from generate_series(1, $5::int) i
            """,
            first,
            step,
            days,
            notes,
            number,
        )
        return int(first)

    def rows(self, *, days: float = 0) -> dict[int, list[str]]:
        """All rows that are older than so many days, by id, as the archive's CSV has them: NULL is empty."""
        columns: list[str] = [
            row[0]
            for row in self.fetch(
                "select attname::text from pg_attribute where attrelid = 'audit_logs'::regclass and attnum > 0"
                f" order by attname <> 'id', attname <> '{self.time}', attnum"
            )
        ]
        found = self.fetch(
            f"select id, array[{', '.join(f'coalesce({name}::text, {chr(39) * 2})' for name in columns)}] as row"
            f" from audit_logs where {self.time} < (now() at time zone 'UTC') - $1::float8 * interval '1 day'",
            days,
        )
        return {row["id"]: row["row"] for row in found}

    def ids(self) -> set[int]:
        """The ids of all rows."""
        return {row["id"] for row in self.fetch("select id from audit_logs")}
