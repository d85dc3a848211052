"""The cleanup on a real database of either shape: what goes, what stays, who waits, and that the counts are exact."""

import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from exporter.dsn import parse
from scripts.embedded.postgres import psql
from scripts.job.exits import Exit
from tests.scripts.forking import Forked
from tests.scripts.running import CLEANUP, end, run, wait_for

# Each row: when it expires, whether and when it was revoked or used, and whether it is due after 30 days.
TOKENS = [
    ("-30 days -1 hour", False, None, "expired"),
    ("-30 days +1 hour", False, None, None),
    ("-1 day", False, None, None),
    ("7 days", False, None, None),
    ("7 days", True, "-30 days -1 hour", "done"),
    ("7 days", True, "-30 days +1 hour", None),
    ("-29 days", True, "-40 days", "done"),
    ("-40 days", True, "-1 day", "done"),
    ("-40 days", True, None, "done"),
    ("7 days", True, None, None),
]
# When the lock ends, the failed logins, and both afterwards.
LOCKS = [
    ("-1 hour", 5, None, 0),
    ("-1 second", 7, None, 0),
    ("1 hour", 5, "1 hour", 5),
    (None, 3, None, 3),
]
MANY = 20_000
NOTHING = {
    "refresh_tokens_revoked": 0,
    "refresh_tokens_expired": 0,
    "email_tokens_used": 0,
    "email_tokens_expired": 0,
    "locks_released": 0,
    "left_to_next_run": 0,
}
EXPECTED = NOTHING | {
    "refresh_tokens_revoked": 4,
    "refresh_tokens_expired": 1,
    "email_tokens_used": 4,
    "email_tokens_expired": 1,
    "locks_released": 2,
}


@pytest.fixture
def url(shape_url: str) -> str:
    """A database of either shape that has just these tokens and locks."""
    moment = "now() + interval '{}'".format
    rows = [", ".join([moment(expires), str(done), moment(at) if at else "null"]) for expires, done, at, _ in TOKENS]
    script = ["truncate refresh_tokens, email_tokens; update users set locked_until = null, failed_login_attempts = 0;"]
    for number, row in enumerate(rows, 1):
        common = f"(1, 'hash{number}', {{}}{row}, now(), now());"
        script += [
            "insert into refresh_tokens (user_id, token_hash, expires_at, is_revoked, revoked_at, created_at,"
            " updated_at) values " + common.format(""),
            "insert into email_tokens (user_id, token_hash, token_type, expires_at, is_used, used_at, created_at,"
            " updated_at) values " + common.format("'PASSWORD_RESET', "),
        ]
    script += [
        f"update users set locked_until = {moment(until) if until else 'null'}, failed_login_attempts = {failures}"
        f" where id = {number};"
        for number, (until, failures, _, _) in enumerate(LOCKS, 1)
    ]
    psql(shape_url, "\n".join(script))
    return shape_url


@pytest.fixture
def many(live_url: str) -> str:
    """A database with many tokens that are due, and a live one after each."""
    psql(
        live_url,
        f"""truncate refresh_tokens;
        insert into refresh_tokens (user_id, token_hash, expires_at, is_revoked, created_at, updated_at)
        select 1, 'hash' || i, now() + case i % 2 when 0 then interval '-40 days' else '1 day' end, false, now(), now()
        from generate_series(1, {2 * MANY}) i;
        truncate email_tokens; update users set locked_until = null""",
    )
    return live_url


def left(url: str, table: str = "refresh_tokens") -> list[int]:
    return [int(line) for line in psql(url, f"select id from {table} order by id").split()]


def locks(url: str) -> list[str]:
    return psql(url, "select id, failed_login_attempts, locked_until is null from users order by id").splitlines()


def surviving(numbers: list[int]) -> list[int]:
    return [number for number, (*_, due) in zip(numbers, TOKENS, strict=True) if due is None]


@pytest.mark.parametrize("kind", ["aware", "naive"])
def test_what_is_due_goes_and_nothing_else_whatever_the_time_zone(kind: str, url: str, env: dict[str, str]) -> None:
    name = urlsplit(url).path[1:]
    psql(url, f"alter database {name} set timezone = 'America/Los_Angeles'")
    if kind == "naive":
        for column in (
            "refresh_tokens.expires_at",
            "refresh_tokens.revoked_at",
            "email_tokens.expires_at",
            "email_tokens.used_at",
            "users.locked_until",
        ):
            table, _, column_name = column.partition(".")
            psql(url, f"alter table {table} alter {column_name} type timestamp using {column_name} at time zone 'UTC'")
    tokens = left(url), left(url, "email_tokens")
    ended = run(CLEANUP, env | {"DATABASE_URL": url})
    assert ended.code == Exit.OK
    assert ended.result["details"] == EXPECTED
    assert ended.result["items"] == 12
    assert (left(url), left(url, "email_tokens")) == (surviving(tokens[0]), surviving(tokens[1]))
    assert locks(url)[:4] == [
        f"{number}|{failures}|{'t' if until is None else 'f'}" for number, (*_, until, failures) in enumerate(LOCKS, 1)
    ]
    # A second run finds nothing.
    assert run(CLEANUP, env | {"DATABASE_URL": url}).result["details"] == NOTHING


def test_a_dry_run_counts_the_same_and_changes_nothing(url: str, env: dict[str, str]) -> None:
    before = left(url), left(url, "email_tokens"), locks(url)
    ended = run((*CLEANUP, "--dry-run"), env | {"DATABASE_URL": url})
    assert (ended.code, ended.result["dry_run"]) == (Exit.OK, True)
    assert ended.result["details"] == EXPECTED
    assert (left(url), left(url, "email_tokens"), locks(url)) == before


def test_tokens_are_kept_for_as_long_as_is_set(url: str, env: dict[str, str]) -> None:
    ended = run(CLEANUP, env | {"DATABASE_URL": url, "UNIONCORE_TOKEN_KEEP_DAYS": "0"})
    assert ended.result["details"]["refresh_tokens_expired"] == 3
    # Revoked, but nobody knows when: it goes when it expires.
    assert psql(url, "select is_revoked, expires_at > now() from refresh_tokens") == "f|t\nt|t"


def test_users_that_are_deleted_are_left_alone(live_url: str, env: dict[str, str]) -> None:
    psql(
        live_url,
        "update users set locked_until = null;"
        "update users set locked_until = now() - interval '1 day', is_deleted = id = 2 where id in (1, 2)",
    )
    assert run(CLEANUP, env | {"DATABASE_URL": live_url}).result["details"]["locks_released"] == 1
    assert psql(live_url, "select id from users where locked_until is not null") == "2"


async def test_rows_that_the_application_holds_are_left_to_the_next_run_without_waiting(
    url: str, env: dict[str, str]
) -> None:
    connection = await asyncpg.connect(**parse(url).connect_arguments())
    transaction = connection.transaction()
    await transaction.start()
    # A session that is renewed, one that is only looked at, and a user who is locked again.
    await connection.execute(
        "update refresh_tokens set expires_at = now() + interval '1 day' where token_hash = 'hash1'"
    )
    await connection.execute("select from email_tokens where token_hash = 'hash1' for update")
    await connection.execute("update users set locked_until = now() + interval '30 minutes' where id = 1")
    began = time.monotonic()
    ended = run(CLEANUP, env | {"DATABASE_URL": url})
    assert ended.code == Exit.OK
    assert ended.result["seconds"] < 2
    assert time.monotonic() - began < 15
    held = {"refresh_tokens_expired": 0, "email_tokens_expired": 0, "locks_released": 1, "left_to_next_run": 3}
    assert ended.result["details"] == EXPECTED | held
    await transaction.commit()
    await connection.close()
    assert run(CLEANUP, env | {"DATABASE_URL": url}).result["details"] == NOTHING | {"email_tokens_expired": 1}


async def test_the_application_waits_for_nothing_while_many_rows_go(many: str, env: dict[str, str]) -> None:
    connection = await asyncpg.connect(**parse(many).connect_arguments(lock_timeout="200ms"))
    process = Forked(CLEANUP, env | {"DATABASE_URL": many})
    logins = 0
    while process.poll() is None:
        # Live ones all over the table, between those that go.
        await connection.execute(
            "update refresh_tokens set updated_at = now() where id % 200 = 1 and expires_at > now()"
        )
        await connection.execute(
            "insert into refresh_tokens (user_id, token_hash, expires_at, is_revoked, created_at, updated_at)"
            " values (1, 'new' || $1::text, now() + interval '1 day', false, now(), now())",
            str(logins),
        )
        logins += 1
    ended = end(process)
    await connection.close()
    assert ended.result["details"] == NOTHING | {"refresh_tokens_expired": MANY}
    assert logins > 5
    assert len(left(many)) == MANY + logins


async def test_a_table_that_is_locked_ends_the_run_soon_and_says_so(url: str, env: dict[str, str]) -> None:
    connection = await asyncpg.connect(**parse(url).connect_arguments())
    async with connection.transaction():
        await connection.execute("lock table email_tokens")
        ended = run(CLEANUP, env | {"DATABASE_URL": url})
    await connection.close()
    assert ended.code == Exit.FAILED
    assert "another session holds the table for too long" in ended.result["error"]
    assert 'event="done before that" refresh_tokens_revoked=4 refresh_tokens_expired=1' in ended.log


def test_a_run_that_is_killed_has_whole_batches_done_and_the_next_one_does_the_rest(
    many: str, env: dict[str, str], tmp_path: Path
) -> None:
    process = Forked(CLEANUP, env | {"DATABASE_URL": many})
    wait_for(lambda: len(left(many)) < 2 * MANY - 1000)
    process.slay()
    # The server may be finishing the batch that was under way.
    wait_for(
        lambda: psql(many, "select count(*) from pg_stat_activity where application_name like 'unioncore-ops%'") == "0"
    )
    rest = len(left(many)) - MANY
    assert 0 < rest < MANY
    assert rest % 500 == 0
    ended = run(CLEANUP, env | {"DATABASE_URL": many})
    assert ended.result["details"] == NOTHING | {"refresh_tokens_expired": rest}
    assert len(left(many)) == MANY
    assert not list((tmp_path / "backups" / ".spool").glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["a signal", "the time limit"])
def test_a_run_that_is_ended_tells_what_it_has_done_to_the_row(
    number: signal.Signals | None, many: str, env: dict[str, str]
) -> None:
    # As a statement that is so far that it can't be cancelled any more.
    psql(
        many,
        "create function dawdle() returns trigger language plpgsql as"
        " 'begin perform pg_sleep(1.5); return null; exception when query_canceled then return null; end';"
        "create trigger dawdle before delete on refresh_tokens for each statement execute function dawdle()",
    )
    process = Forked(CLEANUP, env | {"DATABASE_URL": many, "UNIONCORE_CLEANUP_TIMEOUT": "60" if number else "1"})
    if number:
        wait_for(lambda: psql(many, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") != "0")
        process.signal(number)
    ended = end(process)
    assert ended.code == (Exit.TERMINATED if number else Exit.TIMEOUT)
    gone = 2 * MANY - len(left(many))
    assert gone == 500
    assert f"refresh_tokens_expired={gone} " in ended.log


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("alter table email_tokens rename to mail_tokens", "there is no table email_tokens"),
        ("alter table users drop column failed_login_attempts", "table users has no column failed_login_attempts"),
    ],
)
def test_a_database_of_another_shape_is_named_and_nothing_is_touched(
    change: str, words: str, live_url: str, env: dict[str, str]
) -> None:
    psql(live_url, change)
    before = left(live_url)
    ended = run(CLEANUP, env | {"DATABASE_URL": live_url, "UNIONCORE_TOKEN_KEEP_DAYS": "0"})
    assert ended.code == Exit.FAILED
    assert words in ended.result["error"]
    assert left(live_url) == before


def test_a_role_that_may_not_delete_is_told_so(live_url: str, env: dict[str, str]) -> None:
    psql(live_url, "create role looker login password 'look'; grant select on all tables in schema public to looker")
    login = urlsplit(live_url)
    try:
        ended = run(
            CLEANUP,
            env
            | {
                "DATABASE_URL": login._replace(netloc=f"looker:look@{login.hostname}:{login.port}").geturl(),
                "UNIONCORE_TOKEN_KEEP_DAYS": "0",
            },
        )
        assert ended.code == Exit.FAILED
        assert "permission denied for table refresh_tokens" in ended.result["error"]
    finally:
        psql(live_url, "drop owned by looker; drop role looker")


def test_what_is_due_goes_whatever_its_id_and_whatever_a_trigger_keeps(many: str, env: dict[str, str]) -> None:
    psql(
        many,
        "delete from refresh_tokens where id > (select min(id) + 2999 from refresh_tokens);"
        "update refresh_tokens set id = -id where id < (select min(id) + 10 from refresh_tokens);"
        "update refresh_tokens set id = 0 where id = (select max(id) from refresh_tokens);"
        "create function keep() returns trigger language plpgsql as"
        " 'begin if old.id % 4 = 0 and old.id > 0 then return null; end if; return old; end';"
        "create trigger keep before delete on refresh_tokens for each row execute function keep()",
    )
    due = "from refresh_tokens where expires_at <= now() - interval '30 days'"
    before = int(psql(many, f"select count(*) {due}"))
    kept = int(psql(many, f"select count(*) {due} and id > 0 and id % 4 = 0"))
    details = run(CLEANUP, env | {"DATABASE_URL": many}).result["details"]
    assert (details["refresh_tokens_expired"], details["left_to_next_run"]) == (before - kept, kept)
    assert int(psql(many, f"select count(*) {due}")) == kept > 0
