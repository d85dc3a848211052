"""What the tests of the jobs may ask for: other servers than 18, the backup jobs, and the environment of any job."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from scripts.dev.generate import SCALES, Shape, create
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError
from tests.pushing import Stage, application
from tests.scripts.archiving import Archives, AuditLog, Session
from tests.scripts.backing import Jobs
from tests.scripts.odd_job import MARK
from tests.scripts.running import Found, environment

_numbers = count(1)
SHAPES: tuple[Shape, ...] = ("live", "documented")


@pytest.fixture
def found(record_property: Callable[[str, object], None]) -> Found:
    return lambda what: record_property("found", what)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the torture tests have done and found."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, what in report.user_properties:
            if name == "found":
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]} ({report.duration:.0f} s): {what}")


@pytest.fixture(scope="session")
def postgres17() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 17, whose pg_dump has zstd, with the database `live`."""
    with EmbeddedPostgres(17) as server:
        server.create_database("live")
        create(server.url("live"), "live", SCALES["small"], seed=1)
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 15, as Debian has it, with the databases `live` and `documented`."""
    try:
        server = EmbeddedPostgres(15)
    except PostgresError as error:
        pytest.skip(f"PostgreSQL 15 is not in /usr/lib/postgresql: {error}")
    with server:
        for shape in SHAPES:
            server.create_database(shape)
            create(server.url(shape), shape, SCALES["small"], seed=1)
        yield server


@pytest.fixture
def jobs(
    postgres: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Jobs:
    return Jobs(postgres, tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def exporter_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The exporter's own routes for pushes, on a real server."""
    with Stage() as stage:
        stage.app = application(tmp_path_factory.mktemp("exporter"))
        yield f"http://127.0.0.1:{stage.port}"


@pytest.fixture
def env(tmp_path: Path, exporter_url: str) -> dict[str, str]:
    """The environment of an odd job; nobody listens at its database's address."""
    url = "postgresql://nobody:sesame@127.0.0.1:1/unioncore"
    return environment(tmp_path / "backups", url, exporter=exporter_url, **{MARK: str(tmp_path / "marks")})


@pytest.fixture
def marks(tmp_path: Path) -> Callable[[], str]:
    """How far an odd job has come."""
    path = tmp_path / "marks"
    return lambda: path.read_text() if path.exists() else ""


@pytest.fixture(scope="session")
def kept_backup() -> dict[str, bytes]:
    """The files of a good backup of the live shape, once it has been made."""
    return {}


@pytest.fixture
def backup(jobs: Jobs, live_url: str, kept_backup: dict[str, bytes]) -> Path:
    """A good backup of the live shape."""
    if not kept_backup:
        assert jobs.backup(live_url).code == 0
        kept_backup.update((path.name, path.read_bytes()) for path in jobs.backups.iterdir() if path.is_file())
    for name, content in kept_backup.items():
        (jobs.backups / name).write_bytes(content)
    return jobs.backups / jobs.names()[-1]


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Archives:
    return Archives(tmp_path, monkeypatch, capsys)


@pytest.fixture
def audit_log(shape_url: str, archives: Archives) -> Iterator[AuditLog]:
    """The audit log of either shape, which the archive's jobs are set to."""
    archives.use(DATABASE_URL=shape_url)
    log = AuditLog(shape_url)
    yield log
    log.close()


@pytest.fixture
def live_log(live_url: str, archives: Archives) -> Iterator[AuditLog]:
    """The audit log of the live shape, which the archive's jobs are set to."""
    archives.use(DATABASE_URL=live_url)
    log = AuditLog(live_url)
    yield log
    log.close()


@pytest.fixture
def guarded(audit_log: AuditLog, archives: Archives) -> AuditLog:
    """The audit log of either shape, archived, with the guard that lets rows be deleted that are 30 days old."""
    archives.archive()
    ended = archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    assert ended.code == 0, ended.error
    return audit_log


@pytest.fixture
def role(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A role that may log in, and has no other privileges."""
    postgres.psql("create role somebody login password 'sesame'")
    yield "somebody"
    postgres.psql("drop owned by somebody cascade; drop role somebody")


@pytest.fixture
def somebody(guarded: AuditLog, postgres: EmbeddedPostgres, role: str, shape_url: str) -> Iterator[Session]:
    """A session of a role that may do everything with the tables, as the application's often may, but owns none."""
    database = shape_url.rpartition("/")[2]
    guarded.execute(
        f"grant all on all tables in schema public to {role}; grant usage, create on schema public to {role};"
        f" create schema evil authorization {role}"
    )
    session = Session(postgres.url(database, user=role, password="sesame"))
    yield session
    session.close()
    guarded.execute(f"drop owned by {role} cascade")


@pytest.fixture
def names(postgres: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """A source and an empty target."""
    number = next(_numbers)
    source, target = f'"of {number}"', f"into_{number}"
    postgres.psql(f"create database {source} template template0; create database {target} template template0")
    create(postgres.url(f"of {number}"), "live", SCALES["small"], seed=1)
    postgres.psql('create role app; create role "Odd \'role"')
    yield f"of {number}", target
    postgres.psql(
        f"drop database {source} with (force); drop database {target} with (force); drop role app;"
        ' drop role "Odd \'role"'
    )
