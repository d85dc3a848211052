"""The throw-away server is a real PostgreSQL, and can be made to fail in every way a real one does."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.embedded import programs
from scripts.embedded.directories import remove_directory
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError, psql

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as two users")


@pytest.mark.parametrize("major", [18, 17])
def test_each_wheel_serves_its_version(major: int) -> None:
    with EmbeddedPostgres(major) as server:
        assert server.psql("show server_version").startswith(f"{major}.")
        dump = subprocess.run([server.bin("pg_dump"), "--version"], capture_output=True, text=True, check=True)
        assert f" {major}." in dump.stdout


def test_a_version_that_is_not_installed_is_named() -> None:
    with pytest.raises(PostgresError, match="PostgreSQL 9 is not installed"):
        EmbeddedPostgres(9)


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError, match="password authentication failed"):
        psql(postgres.url("postgres", password="wrong"), "select 1")


def test_names_and_passwords_may_hold_anything(postgres: EmbeddedPostgres) -> None:
    name, password = 'odd /?#@:%"name', "p@ss/w:rd%20#"
    postgres.psql("create role :\"who\" login password :'word'", who=name, word=password)
    postgres.create_database(name)
    url = postgres.url(name, user=name, password=password)
    assert psql(url, "select current_user || current_database()") == name * 2
    postgres.drop_database(name)
    postgres.psql('drop role :"who"', who=name)


def test_psql_stops_at_the_first_error(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError, match="division by zero"):
        postgres.psql("create database left_behind; select 1/0; create database never;")
    assert postgres.psql("select count(*) from pg_database where datname = 'never'") == "0"
    postgres.drop_database("left_behind")
    postgres.drop_database("left_behind")


def test_a_template_is_copied(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("original")
    postgres.psql("create table t as select 7 as x", "original")
    postgres.create_database("copy", template="original")
    assert postgres.psql("select x from t", "copy") == "7"
    for name in ("original", "copy"):
        postgres.drop_database(name)


def test_settings_and_the_port_can_be_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with EmbeddedPostgres(port=port, settings={"max_connections": "7", "timezone": "Asia/Tokyo"}) as server:
            assert server.port != port
            assert server.psql("show max_connections; show timezone") == "7\nAsia/Tokyo"


def test_data_and_port_outlive_a_restart_and_a_crash() -> None:
    with EmbeddedPostgres() as server:
        url = server.url("postgres")
        server.psql("create table t as select 1 as x")
        server.restart()
        assert psql(url, "select x from t") == "1"
        server.psql("insert into t values (2)")
        server.kill()
        with pytest.raises(PostgresError, match="Connection refused"):
            psql(url, "select x from t")
        server.start()
        assert psql(url, "select sum(x) from t") == "3"
        assert "was interrupted" in server.log


async def test_a_frozen_server_accepts_and_never_answers() -> None:
    with EmbeddedPostgres() as server:
        connection = await asyncpg.connect(server.url("postgres"))
        server.freeze()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(TimeoutError):
            await asyncpg.connect(server.url("postgres"), timeout=0.3)
        waiting = asyncio.create_task(connection.fetchval("select 1"))
        assert not (await asyncio.wait([waiting], timeout=0.2))[0]
        server.thaw()
        assert await waiting == 1
        await connection.close()


def test_a_frozen_server_can_be_stopped_and_started() -> None:
    with EmbeddedPostgres() as server:
        server.freeze()
        server.stop()
        with pytest.raises(PostgresError, match="not running"):
            _ = server.pid
        server.start()
        assert server.psql("select 1") == "1"


def test_many_start_at_once() -> None:
    def run(_: int) -> tuple[int, str]:
        with EmbeddedPostgres() as server:
            return server.port, server.psql("show port")

    with ThreadPoolExecutor(4) as pool:
        ports = list(pool.map(run, range(4)))
    assert len({port for port, _ in ports}) == 4
    assert all(str(port) == shown for port, shown in ports)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "lots"})
    with pytest.raises(PostgresError, match="invalid value for parameter"), server:
        pass
    with pytest.raises(PostgresError, match="never started"):
        _ = server.data


def test_version_17_speaks_tls() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = {
        "server.crt": certificate.public_bytes(pem).decode(),
        "server.key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
    }
    with EmbeddedPostgres(17, settings={"ssl": "on"}, files=files) as server:
        url = server.url("postgres") + "?sslmode=require"
        assert psql(url, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t"


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/python3.11").exists(), reason="needs a Python that every user can execute")
@pytest.mark.skipif(
    not all(path.stat().st_mode & 0o001 for path in Path(__file__).parents),
    reason="needs a checkout that every user can reach",
)
def test_another_user_than_root_runs_it_directly(scratch: Path, leftovers: Callable[[], list[str]]) -> None:
    code = (
        "from scripts.embedded.postgres import EmbeddedPostgres\n"
        "with EmbeddedPostgres() as s: print(s.data.owner(), s.psql('select 1'))"
    )
    scratch.chmod(0o777)
    done = subprocess.run(
        ["/usr/bin/python3.11", "-c", code],
        env={"TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        **programs.as_server(),
    )
    assert (done.stdout.split(), done.stderr) == (["nobody", "1"], "")
    assert leftovers() == []


@needs_root
def test_programs_that_only_root_can_reach_are_copied(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = scratch / "hidden"
    hidden.mkdir(mode=0o700)
    wheel = programs.find_programs(18).parents[1]
    for tree in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(tree, hidden / tree.name, symlinks=True)
    monkeypatch.syspath_prepend(str(hidden))
    programs.find_programs.cache_clear()
    with EmbeddedPostgres() as server:
        assert not server.bin("postgres").is_relative_to(hidden)
        assert not server.bin("postgres").is_relative_to(wheel)
        assert server.psql("select 1") == "1"
    assert EmbeddedPostgres().bin("postgres") == server.bin("postgres")
    programs.find_programs.cache_clear()
    remove_directory(server.bin("postgres").parents[3])


def test_initdb_runs_once_for_a_version_wherever_it_is_installed(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres
) -> None:
    made = []

    def initialize(programs: Path, archive: Path) -> None:
        made.append(programs)
        archive.touch()

    monkeypatch.setattr(programs, "cache", lambda: scratch)
    monkeypatch.setattr(programs, "_initialize", initialize)
    shutil.copy(postgres.bin("postgres"), scratch)
    first = programs.fresh_data(scratch)
    assert programs.fresh_data(postgres.bin("postgres").parent) == first
    assert programs.fresh_data(programs.find_programs(17)) != first
    assert made == [scratch, programs.find_programs(17)]
