"""The role that `grants` makes, used as that role on a real server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import asyncpg
import pytest
from click.testing import CliRunner

from exporter import grants
from exporter.assembly import Parts, assemble
from exporter.cli import main
from exporter.dsn import parse
from exporter.facts import TABLES
from exporter.settings import load
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError, psql

_numbers = count(1)
PASSWORD = "only for this test"
SECRETS = (
    ("users", "password_hash"),
    ("users", "email"),
    ("users", "first_name"),
    ("users", "id"),
    ("members", "first_name"),
    ("members", "date_of_birth"),
    ("members", "notes"),
    ("refresh_tokens", "token_hash"),
    ("refresh_tokens", "ip_address"),
    ("email_tokens", "token_hash"),
    ("email_tokens", "id"),
    ("audit_logs", "old_values"),
    ("audit_logs", "changed_by"),
    ("dues_payments", "member_id"),
    ("member_notes", "note_text"),
    ("pg_catalog.pg_authid", "rolpassword"),
)
WRITES = (
    "update users set is_active = true",
    "delete from audit_logs",
    "truncate audit_logs",
    "insert into refresh_tokens (expires_at, is_revoked) values (now(), false)",
    "select nextval('users_id_seq')",
    "select from members for update",
    "create table mine (id int)",
    "create schema mine",
    "alter table audit_logs disable trigger all",
    "drop table students",
    "set session_replication_role = replica",
    "lock table members in access exclusive mode",
    "copy members (status) to program 'true'",
)


@asynccontextmanager
async def parts_for(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    monkeypatch.setenv("DATABASE_URL", url)
    parts = assemble(load())
    try:
        yield parts
    finally:
        await parts.close()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(params=["online", "offline"])
async def reader_url(
    request: pytest.FixtureRequest, shape_url: str, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A database of either shape, as the role that either kind of SQL makes; run twice, as it may be."""
    role = f"reader_{next(_numbers)}"
    async with parts_for(shape_url, monkeypatch) as parts:
        sql = await grants.online(parts.database, role) if request.param == "online" else grants.offline(role)
    psql(shape_url, sql)
    psql(shape_url, sql)
    psql(shape_url, "alter role :\"role\" password :'password'", variables={"role": role, "password": PASSWORD})
    return postgres.url(shape_url.rpartition("/")[2], user=role, password=PASSWORD)


async def test_every_collector_publishes_as_that_role_what_it_does_as_the_owner(
    reader_url: str, shape_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parts_for(shape_url, monkeypatch) as parts:
        owner = await parts.scraper.scrape(9)
    async with parts_for(reader_url, monkeypatch) as parts:
        reader = await parts.scraper.scrape(9)
        counted = {name for name in parts.reader.names if not reader.outcomes[name].error}
        assert counted == set(parts.reader.names)
    for name in counted:
        series = [{sample[:2] for sample in snapshot.outcomes[name].samples} for snapshot in (owner, reader)]
        assert series[0] == series[1] != set(), name


async def test_the_pulse_sees_what_the_statistics_say_of_every_table(
    reader_url: str, shape_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql(shape_url, "insert into audit_logs (table_name, record_id, action) values ('users', '1', 'READ')")
    async with parts_for(reader_url, monkeypatch) as parts, parts.database.link() as link:
        pulse = await link.pulse(TABLES)
    assert pulse.statistics
    assert set(pulse.tables) == set(TABLES)
    assert pulse.tables["audit_logs"].inserted == 1


async def test_the_role_may_read_the_columns_that_hold_facts_and_no_others(
    reader_url: str, shape_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parts_for(shape_url, monkeypatch) as parts, parts.database.link() as link:
        found = (await link.reflect(TABLES)).columns.values()
    readable = psql(
        shape_url,
        "select c.relname || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and not a.attisdropped"
        "   and has_column_privilege(:'role', c.oid, a.attnum, 'select')",
        variables={"role": parse(reader_url).user},
    )
    assert set(readable.split()) == {f"{column.table}.{column.name}" for column in found}


async def test_personal_data_and_secrets_are_refused(reader_url: str) -> None:
    async with session(reader_url) as reader:
        for table, column in SECRETS:
            for select in (f"select {column} from {table}", f"select count(*) from {table} where {column} is null"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reader.fetch(select)
        for table in ("users", "email_tokens"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch(f"select * from {table}")


async def test_nothing_can_be_written_even_by_a_session_that_calls_itself_writable(reader_url: str) -> None:
    async with session(reader_url) as reader:
        denied = asyncpg.InsufficientPrivilegeError
        for mode, refusals in ("", (denied, asyncpg.ReadOnlySQLTransactionError)), ("read write", (denied,)):
            for write in WRITES:
                with pytest.raises(refusals):
                    await reader.execute(f"begin {mode}; {write}")
                await reader.execute("rollback")


async def test_the_role_has_its_limits(reader_url: str) -> None:
    limits = {
        "default_transaction_read_only": "on",
        "statement_timeout": "15s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "30s",
        "search_path": "public",
    }
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session(reader_url)) for _ in range(6)]
        assert {name: await sessions[0].fetchval(f"show {name}") for name in limits} == limits
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await stack.enter_async_context(session(reader_url))


def test_what_the_role_was_granted_before_is_taken_back(live_url: str) -> None:
    psql(live_url, "create role greedy; grant all on all tables in schema public to greedy")
    psql(live_url, "grant select (email) on users to greedy")
    psql(live_url, grants.offline("greedy"))
    for table in ("users", "email_tokens", "member_notes"):
        assert psql(live_url, f"select has_any_column_privilege('greedy', '{table}', 'insert,update')") == "f"
    assert psql(live_url, "select has_column_privilege('greedy', 'users', 'email', 'select')") == "f"
    assert psql(live_url, "select has_column_privilege('greedy', 'users', 'is_active', 'select')") == "t"


def test_a_role_that_is_more_than_a_reader_is_left_alone(live_url: str) -> None:
    psql(live_url, "create role application login; alter table members owner to application")
    for role in ("postgres", "application"):
        with pytest.raises(PostgresError, match=f"role {role} exists and is no mere reader"):
            psql(live_url, grants.offline(role))
        assert psql(live_url, f"select coalesce(rolconfig::text, '') from pg_roles where rolname = '{role}'") == ""
    psql(live_url, "alter table members owner to postgres; drop role application")


def test_the_owner_of_the_tables_need_not_be_a_superuser(live_url: str, postgres: EmbeddedPostgres) -> None:
    psql(
        live_url,
        "create role owner login createrole password :'password';"
        "select format('alter table %I owner to owner', relname) from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' \\gexec",
        variables={"password": PASSWORD},
    )
    url = postgres.url(live_url.rpartition("/")[2], user="owner", password=PASSWORD)
    for _ in range(2):
        psql(url, grants.offline("owners_reader"))
    assert psql(url, "select has_column_privilege('owners_reader', 'members', 'status', 'select')") == "t"


async def test_a_database_without_the_tables_is_refused(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PostgresError, match="none of UnionCore's tables is in database postgres"):
        postgres.psql(grants.offline("nobodys_reader"))
    assert postgres.psql("select count(*) from pg_roles where rolname = 'nobodys_reader'") == "0"
    async with parts_for(postgres.url("postgres"), monkeypatch) as parts:
        with pytest.raises(LookupError, match="none of UnionCore's tables"):
            await grants.online(parts.database, "nobodys_reader")


def test_the_command_names_the_columns_that_the_database_has(
    documented_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", documented_url)
    done = CliRunner().invoke(main, ["grants", "--role", "metrics-reader"])
    assert done.exit_code == 0
    assert 'grant select (id, table_name, action, created_at) on public.audit_logs to "metrics-reader";' in done.stdout
    assert '\\password "metrics-reader"' in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("url", [None, "postgresql://reader:a-secret@127.0.0.1:1/unioncore", "mysql://a-secret"])
def test_the_command_does_without_a_database(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if url:
        monkeypatch.setenv("DATABASE_URL", url)
    done = CliRunner().invoke(main, ["grants"])
    assert done.exit_code == 0
    assert done.stdout == grants.offline("unioncore_exporter")
    assert "finds the columns when it is run" in done.stderr
    assert "a-secret" not in done.output


@pytest.mark.parametrize("name", ["", 'a"b', "a b", "a;b", "$a$", "pg_reader", "x" * 64, "a\nb"])
def test_a_role_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    done = CliRunner().invoke(main, ["grants", "--role", name])
    assert done.exit_code == 2
    assert "--role" in done.stderr
    assert done.stdout == ""
