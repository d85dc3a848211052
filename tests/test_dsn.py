"""Database addresses: as the platforms give them, and as a real server takes them."""

import asyncio
import ipaddress
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from exporter.database import Database, DatabaseDownError, DatabaseLimits
from exporter.dsn import SSL_MODES, Address, parse
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.programs import psql

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
# As some platforms print it: not encoded. A % that means itself is the one thing that can't be told apart then.
RAW = st.text(st.characters(codec="utf-8", exclude_characters="\0%"), min_size=1, max_size=30)
HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,6}){0,2}", fullmatch=True)
PORT = st.integers(1, 65535)


def encoded(words: str) -> str:
    return quote(words, safe="")


@given(user=TEXT, password=TEXT, host=HOST, port=PORT, database=TEXT, mode=st.sampled_from(["", *SSL_MODES]))
def test_what_is_percent_encoded_comes_back_whole(
    *, user: str, password: str, host: str, port: int, database: str, mode: str
) -> None:
    query = f"?sslmode={mode}" if mode else ""
    url = f"postgresql://{encoded(user)}:{encoded(password)}@{host}:{port}/{encoded(database)}{query}"
    assert parse(url) == Address(host, port, database, user, password, sslmode=mode)


@given(password=RAW, host=HOST, port=PORT)
def test_a_password_may_be_raw_whatever_it_holds(password: str, host: str, port: int) -> None:
    assert parse(f"postgres://reader:{password}@{host}:{port}/unioncore").password == password


@given(password=TEXT, address=st.ip_addresses(v=6), port=PORT | st.none())
def test_an_ipv6_address_stands_in_brackets(password: str, address: ipaddress.IPv6Address, port: int | None) -> None:
    colon = f":{port}" if port else ""
    parsed = parse(f"postgresql+asyncpg://reader:{encoded(password)}@[{address}]{colon}/unioncore")
    assert parsed == Address(str(address), port or 5432, "unioncore", "reader", password)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader@/unioncore?host=/run/postgresql&port=6432",
        "postgresql:///unioncore?host=%2Frun%2Fpostgresql&port=6432&user=reader",
        "postgresql://reader@%2Frun%2Fpostgresql:6432/unioncore",
    ],
)
def test_a_unix_socket_is_a_directory_as_host(url: str) -> None:
    assert parse(url) == Address("/run/postgresql", 6432, "unioncore", "reader")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_whatever_driver_the_url_was_made_for_is_no_matter(scheme: str) -> None:
    assert parse(f" {scheme}://reader:secret@db:6432/unioncore\n") == (
        Address("db", 6432, "unioncore", "reader", "secret")
    )


def test_what_is_left_out_is_what_libpq_takes() -> None:
    assert parse("postgresql://reader@") == Address("localhost", 5432, "reader", "reader")
    assert parse("postgresql://reader@db") == Address("db", 5432, "reader", "reader")


@given(options=st.dictionaries(st.sampled_from(["user", "password", "dbname", "host"]), TEXT, min_size=4))
def test_everything_may_stand_in_the_query(options: dict[str, str]) -> None:
    parsed = parse(f"postgresql:///?{urlencode(options, quote_via=quote, safe='')}")
    assert parsed == Address(options["host"], 5432, options["dbname"], options["user"], options["password"])


@pytest.mark.parametrize(
    ("given_mode", "mode"),
    [
        ("sslmode=verify-full", "verify-full"),
        ("ssl=true", "require"),
        ("ssl=false", "disable"),
        ("ssl=require", "require"),
    ],
)
def test_tls_may_be_asked_for_in_libpqs_words_or_those_of_other_drivers(given_mode: str, mode: str) -> None:
    assert parse(f"postgresql://reader@db/unioncore?{given_mode}").sslmode == mode


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with postgres:// or postgresql://"),
        ("db.example.org:5432/unioncore", "must begin with postgres:// or postgresql://"),
        ("mysql://reader:secret@db/unioncore", "must begin with postgres:// or postgresql://"),
        ("postgresql://db/unioncore", "names no user"),
        ("postgresql://:secret@db/unioncore", "names no user"),
        ("postgresql://reader:secret@[::1/unioncore", "without its closing bracket"),
        ("postgresql://reader:secret@db:port/unioncore", "port that is not a number"),
        ("postgresql://reader:secret@db:65536/unioncore", "port that is not a number"),
        ("postgresql://reader:secret@db/unioncore?port=0", "port that is not a number"),
        ("postgresql://reader:secret@one:5432,two:5432/unioncore", "port that is not a number"),
        ("postgresql://reader:secret@db/unioncore?sslmode=maybe", "sslmode that is none of disable, allow"),
        (
            "postgresql://reader:secret@db/unioncore?sslcert=a&sslkey=b",
            "has the option sslcert, which is not supported",
        ),
        ("postgresql://reader:secret@db/unioncore?schema=local46", "has the option schema, which is not supported"),
        ("postgresql://reader:secret@db/unioncore?search_path=a", "has an option that is none of host, port"),
        ("postgresql://a/b:secret@db/unioncore", "user's name with / or . in it"),
    ],
)
def test_what_is_no_address_is_said_to_be_none(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


URLISH = st.lists(
    st.sampled_from(["postgresql://", "postgres://", "reader", ":", "@", "/", "?", "#", "[", "]", "%2F", "%", "&", "="])
    | st.sampled_from(["sslmode=", "require", "ssl=", "port=", "host=", "5432", "db", "::1", ","])
    | TEXT,
    max_size=12,
).map("".join)


@given(before=URLISH, after=URLISH)
def test_whatever_it_is_given_it_answers_with_an_address_or_a_reason_free_of_secrets(before: str, after: str) -> None:
    try:
        address = parse(f"postgresql://reader:s3kr1t{before}@{after}")
        shown = f"{address} {address!r}"
    except ValueError as error:
        shown = str(error)
    assert "s3kr1t" not in shown


async def encrypted(url: str) -> bool:
    database = Database(parse(url), DatabaseLimits(connect=10))
    try:
        async with database.link() as link:
            statement = text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            return bool((await link.read(statement, {}))[0][0])
    finally:
        await database.close()


@pytest.mark.parametrize("password", ["p@ss:w/o?r#d&=+ []\"'\\é", "a", "%", "p@:/", "100% sûr"])
async def test_a_server_takes_the_password_that_was_meant(password: str, postgres: EmbeddedPostgres) -> None:
    postgres.psql("create role nasty login; alter role nasty password :'password'", password=password)
    try:
        for written in {encoded(password), password}:
            url = f"postgres://nasty:{written}@{postgres.host}:{postgres.port}/postgres"
            assert not await encrypted(url)
    finally:
        postgres.psql("drop role nasty")


def certificate() -> tuple[str, str]:
    """Make a key and a certificate for 127.0.0.1, but not for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return pem.decode(), signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A server that takes TLS only, and the certificate to trust it by."""
    key, chain = certificate()
    files = {
        "server.key": key,
        "server.crt": chain,
        "pg_hba.conf": "hostssl all all all scram-sha-256\n",
    }
    trusted = tmp_path_factory.mktemp("tls") / "ca.pem"
    trusted.write_text(chain)
    with EmbeddedPostgres(17, settings={"ssl": "on"}, files=files) as server:
        yield server, trusted


@pytest.mark.parametrize("mode", ["", "allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_every_mode_but_disable_encrypts_where_the_server_wants_it(
    mode: str, tls: tuple[EmbeddedPostgres, Path]
) -> None:
    server, trusted = tls
    query = urlencode(
        {"sslmode": mode, "sslrootcert": str(trusted)} if mode.startswith("verify") else {"sslmode": mode}
    )
    assert await encrypted(f"{server.url('postgres')}?{query}")


@pytest.mark.parametrize(
    ("query", "host", "why"),
    [
        ("sslmode=disable", "127.0.0.1", "no encryption"),
        ("sslmode=verify-full&sslrootcert={trusted}", "localhost", "Hostname mismatch"),
        ("sslmode=verify-full&sslrootcert={other}", "127.0.0.1", "certificate verify failed"),
        ("sslmode=verify-ca&sslrootcert={other}", "127.0.0.1", "certificate verify failed"),
        ("sslmode=verify-full", "127.0.0.1", "certificate verify failed"),
        ("sslmode=verify-full&sslrootcert=system", "127.0.0.1", "certificate verify failed"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "127.0.0.1", "No such file"),
    ],
)
async def test_a_server_that_is_not_proven_is_refused_with_the_reason(
    query: str, host: str, why: str, tls: tuple[EmbeddedPostgres, Path], tmp_path: Path
) -> None:
    server, trusted = tls
    (tmp_path / "other.pem").write_text(certificate()[1])
    url = server.url("postgres").replace("127.0.0.1", host)
    with pytest.raises(DatabaseDownError, match=why) as caught:
        await encrypted(f"{url}?{query.format(trusted=trusted, other=tmp_path / 'other.pem')}")
    assert server.password not in str(caught.value)


@pytest.mark.parametrize("query", ["sslmode=verify-full", "sslmode=verify-ca&sslrootcert=system"])
async def test_who_is_trusted_by_the_machine_is_so_by_postgresqls_own_programs_too(
    query: str, tls: tuple[EmbeddedPostgres, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, trusted = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    url = f"{server.url('postgres')}?{query}"
    assert await encrypted(url)
    dumping = await asyncio.create_subprocess_exec(
        server.bin("pg_dump"), "--schema-only", env=parse(url).libpq_environment(), stdout=PIPE, stderr=PIPE
    )
    assert ((await dumping.communicate())[1], dumping.returncode) == (b"", 0)


async def test_verify_ca_asks_for_no_name(tls: tuple[EmbeddedPostgres, Path]) -> None:
    server, trusted = tls
    url = server.url("postgres").replace("127.0.0.1", "localhost")
    assert await encrypted(f"{url}?sslmode=verify-ca&sslrootcert={trusted}")


def test_an_at_sign_in_an_option_does_not_move_the_host() -> None:
    address = parse("postgresql://u:p@db.example.org/unioncore?application_name=a@b&sslmode=require")
    assert (address.host, address.password, address.sslmode) == ("db.example.org", "p", "require")


def test_where_the_user_is_an_option_an_at_sign_in_the_password_is_no_end_of_a_login() -> None:
    for place in ("db.example.org/unioncore?", "/unioncore?host=db.example.org&"):
        address = parse(f"postgresql://{place}user=app&password=Sesame@open")
        assert (address.host, address.user, address.password) == ("db.example.org", "app", "Sesame@open")
        assert "Sesame" not in f"{address} {address!r}"


def test_what_only_says_how_to_connect_is_passed_over() -> None:
    noise = (
        "channel_binding=require&connect_timeout=5&application_name=x&keepalives_idle=9&pgbouncer=true&pool_timeout=1"
    )
    assert parse(f"postgresql://u@h/d?{noise}") == Address("h", 5432, "d", "u")


async def test_the_schema_that_the_options_name_is_used_by_the_exporter_and_by_postgresqls_own_programs(
    live_url: str,
) -> None:
    psql(live_url, "create schema local46; create table local46.here ()")
    address = parse(f"{live_url}?options=-csearch_path%3Dlocal46%20-c%20lock_timeout%3D9")
    connection = await asyncpg.connect(**address.connect_arguments(lock_timeout="7ms"))
    assert await connection.fetchval("select to_regclass('here')::text") == "here"
    assert await connection.fetchval("show lock_timeout") == "7ms"
    await connection.close()
    assert psql(f"{live_url}?options=-csearch_path%3Dlocal46", "select to_regclass('here')") == "here"
    assert address.libpq_environment()["PGOPTIONS"] == "-csearch_path=local46 -c lock_timeout=9"


def test_a_plus_in_an_option_is_a_plus() -> None:
    assert parse("postgresql://u@h/d?password=a+b%2Bc").password == "a+b+c"


def test_require_with_a_root_certificate_verifies_the_server(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        parse(f"postgresql://u@h/d?sslmode=require&sslrootcert={tmp_path}/missing.pem").connect_arguments()
