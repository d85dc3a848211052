"""`archive` and `archive --delete` are killed at any moment while rows come in: none is lost, none archived twice."""

import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from signal import SIGKILL

import pytest

from exporter.s3 import s3_client
from scripts.job.exits import Exit
from tests.scripts.archiving import CHUNK, MANIFEST, Archives, AuditLog, Session, archived, expand
from tests.scripts.forking import Forked
from tests.scripts.running import Found, run
from tests.storing import moto, use_s3

INSERT = """
insert into audit_logs (table_name, record_id, action, new_values, changed_at)
select 'members', md5(random()::text), 'UPDATE', jsonb_build_object('n', i),
       (now() at time zone 'UTC') - interval '1 day' * case when random() < 0.1 then 1 else 40 + random() * 100 end
  from generate_series(1, $1::int) i
returning id, record_id
"""
"""So many rows, nine of ten old enough to be archived and deleted."""
Files = Callable[[], Mapping[str, bytes]]
_buckets = count(1)


class Rows:
    """What was ever committed to the audit log: each row's content by its id."""

    def __init__(self, url: str) -> None:
        self.committed: dict[int, str] = {}
        self._url = url
        self._here, self._late = Session(url), Session(url)
        self._coming: dict[int, str] = {}

    def close(self) -> None:
        self._here.close()
        self._late.close()

    def add(self, number: int) -> None:
        """Commit some rows."""
        self.committed |= self._insert(self._here, number)

    def add_late(self, rng: random.Random) -> None:
        """Commit, now and then, some that got their ids long before, and begin others."""
        if self._coming and rng.random() < 0.5:
            self._late.execute("commit")
            self.committed |= self._coming
            self._coming = {}
        if not self._coming:
            self._late.execute("begin")
            self._coming = self._insert(self._late, 3)

    def commit(self) -> None:
        """Commit all that is still to come."""
        if self._coming:
            self._late.execute("commit")
            self.committed |= self._coming
            self._coming = {}

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Rows are committed while the block lasts."""
        stop = threading.Event()
        session = Session(self._url)
        came: dict[int, str] = {}

        def write() -> None:
            while not stop.wait(0.02):
                came.update(self._insert(session, 5))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
        finally:
            stop.set()
            writer.join()
            session.close()
            self.committed |= came

    def _insert(self, session: Session, number: int) -> dict[int, str]:
        return {row["id"]: row["record_id"] for row in session.fetch(INSERT, number)}


class Witness:
    """Looks at the archive and at the database, and knows what must be there."""

    def __init__(self, log: AuditLog, rows: Rows, files: Files) -> None:
        self._log = log
        self._rows = rows
        self._files = files
        self._known: dict[str, bytes] = {}
        self.seen: Counter[str] = Counter()
        rows.committed |= {row["id"]: row["record_id"] for row in log.fetch("select id, record_id from audit_logs")}

    def look(self) -> set[int]:
        """Check what must hold at every moment; return the ids that are archived."""
        files = self._files()
        assert self._known.items() <= files.items(), "a chunk was changed, or is gone"
        held: set[int] = set()
        for key, text in files.items():
            if key.endswith(MANIFEST):
                manifest = json.loads(text)
                content = files[key.removesuffix(".json")]
                assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
                ids = set(expand(manifest["ids"]))
                assert held.isdisjoint(ids), "a row is in two manifests"
                held |= ids
                if key not in self._known:
                    self.seen["chunks were made"] += 1
                self._known |= {key: text, key.removesuffix(".json"): content}
        names = {key for key in files if key.endswith(CHUNK)}
        self.seen["left a file without a manifest"] += any(f"{key}.json" not in files for key in names)
        self.seen["left a partial file"] += any(key.endswith(".partial") for key in files)
        assert held | self._log.ids() >= self._rows.committed.keys(), "a row is lost"
        return held

    def all_is_done(self, *, deleted: bool) -> None:
        """Check that nothing is left to do: what is old is archived, with its content, and deleted if it shall be."""
        held = archived({key: text for key, text in self._files().items() if not key.endswith(".partial")})
        assert len(self._files()) == 2 * len([key for key in self._files() if key.endswith(MANIFEST)])
        old = self._log.rows(days=10).keys()
        assert (old == set()) if deleted else (old == held.keys())
        assert {number: row[3] for number, row in held.items()}.items() <= self._rows.committed.items()
        assert held.keys() | self._log.ids() == self._rows.committed.keys()


class Killer:
    """Runs a job to its end, or kills it on the way."""

    def __init__(self, argv: tuple[str, ...], rng: random.Random) -> None:
        self._argv = argv
        self._rng = rng
        self._whole = 0.0

    def finish(self) -> None:
        """Run it to its end."""
        began = time.monotonic()
        ended = run(self._argv, os.environ)
        assert ended.code == Exit.OK, ended
        self._whole = time.monotonic() - began

    def kill(self) -> bool:
        """Kill it at some moment of as long as it took when it had its time; False: it was quicker."""
        process = Forked(self._argv, os.environ)
        process.wait(self._rng.uniform(0.2, 1.0) * self._whole)
        process.signal(SIGKILL)
        code = process.finish(60)
        assert code in {Exit.OK, -SIGKILL}, process.log
        return code == -SIGKILL


def kill_again_and_again(
    archives: Archives, log: AuditLog, url: str, *, rng: random.Random, times: int, files: Files, deleting: bool
) -> str:
    """Kill runs, look at what is left after each, and let the last one finish; return what was seen, as a sentence."""
    log.execute("truncate audit_logs")
    rows = Rows(url)
    witness = Witness(log, rows, files)
    archives.use(UNIONCORE_ARCHIVE_CHUNK_ROWS="60", UNIONCORE_AUDIT_RETENTION_DAYS="30")
    if deleting:
        assert archives.install_guard().code == 0

    def come() -> None:
        rows.add(rng.randrange(100, 400))
        rows.add_late(rng)
        if deleting:
            assert archives.archive().code == 0

    argv = ("scripts.ops", "archive", *(["--delete"] if deleting else []))
    killer = Killer(argv, rng)
    killed = 0
    while killed < times:
        come()
        if witness.seen["runs"] % 10 == 0:
            killer.finish()
            come()
        witness.seen["runs"] += 1
        held, there = witness.look(), log.ids()
        with rows.coming():
            amid = killer.kill()
        worked = held < witness.look() or bool(there - log.ids())
        killed += amid
        witness.seen["of these amid their work"] += amid and worked
    rows.commit()
    if deleting:
        assert archives.archive().code == 0
    killer.finish()
    witness.look()
    witness.all_is_done(deleted=deleting)
    rows.close()
    runs = witness.seen.pop("runs")
    seen = ", ".join(f"{number:,} {what}" for what, number in sorted(witness.seen.items(), reverse=True))
    return (
        f"{runs} runs of {' '.join(argv[1:])}, {killed} killed: {seen}; {len(rows.committed):,} rows, none lost, none "
        "archived twice"
    )


@pytest.fixture
def archives(archives: Archives, exporter_url: str) -> Archives:
    """The jobs, which push their results."""
    archives.use(UNIONCORE_EXPORTER_URL=exporter_url)
    return archives


@pytest.fixture(params=["directory", "bucket"])
def files(request: pytest.FixtureRequest, archives: Archives, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """The archive's files, in a directory or in a bucket; the jobs are set to it."""
    if request.param == "directory":
        yield archives.files
        return
    with moto() as server:
        use_s3(monkeypatch, server.url)
        client = s3_client(path_style=True)
        name = f"killed-{next(_buckets)}"
        client.create_bucket(Bucket=name)
        archives.use(S3_BUCKET=name, S3_PATH_STYLE="true")
        known: dict[str, bytes] = {}

        def content() -> Mapping[str, bytes]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=name)
            keys = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
            for key, tag in keys.items():
                if key + tag not in known:
                    known[key + tag] = client.get_object(Bucket=name, Key=key)["Body"].read()
            return {key.removeprefix("audit-archive/"): known[key + tag] for key, tag in keys.items()}

        yield content


@pytest.mark.parametrize("deleting", [False, True], ids=["archive", "delete"])
def test_a_killed_run_loses_nothing(archives: Archives, live_log: AuditLog, live_url: str, *, deleting: bool) -> None:
    kill_again_and_again(
        archives, live_log, live_url, rng=random.Random(5), times=3, files=archives.files, deleting=deleting
    )


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("deleting", [False, True], ids=["archive", "delete"])
def test_many_killed_runs_lose_nothing(
    archives: Archives, live_log: AuditLog, live_url: str, files: Files, found: Found, *, deleting: bool
) -> None:
    # Every run lists the bucket and reads its manifests, which the test's S3 server answers slowly.
    times = 30 if "S3_BUCKET" in os.environ else 100
    found(
        kill_again_and_again(
            archives, live_log, live_url, rng=random.Random(), times=times, files=files, deleting=deleting
        )
    )
