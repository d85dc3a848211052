"""Generated data is exact in number, the same for the same arguments, and holds every trap that the real one has."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from typing import get_args

import pytest
from click.testing import CliRunner

from scripts.dev.generate import SCALES, Scale, Shape, create, main
from scripts.embedded.postgres import EmbeddedPostgres, PostgresError

SCALE = SCALES["small"]
NOW = datetime(2026, 3, 9, 20, 30, tzinfo=UTC)  # The Monday after the change to summer time.
EVENT_TIME = {"live": "changed_at", "documented": "created_at"}
Query = Callable[[str], str]
_numbers = count()

both_shapes = pytest.mark.parametrize("shape", get_args(Shape))


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[Callable[[], str]]:
    made = []

    def make() -> str:
        made.append(f"generated_{next(_numbers)}")
        postgres.create_database(made[-1])
        return made[-1]

    yield make
    for name in made:
        postgres.drop_database(name)


def digests(postgres: EmbeddedPostgres, database: str) -> dict[str, str]:
    """A digest of each table's rows. Notes bear the time of their insertion: that is the table's own default."""
    ignored = {"member_notes": " - 'created_at' - 'updated_at'"}
    digest = "select '{0}', md5(string_agg((to_jsonb(t){1})::text, '' order by to_jsonb(t)->>'id')) from {0} t"
    tables = postgres.psql("select relname from pg_stat_user_tables", database).split()
    sql = " union all ".join(digest.format(table, ignored.get(table, "")) for table in tables)
    return dict(line.split("|") for line in postgres.psql(sql, database).splitlines())


@both_shapes
def test_every_number_is_exact(shape: Shape, postgres: EmbeddedPostgres, empty: Callable[[], str]) -> None:
    database = empty()
    scale = Scale(users=7, members=53, students=53, payments=101, audit_events=997, days=3, sessions=11, email_tokens=1)
    create(postgres.url(database), shape, scale, now=NOW)
    tables = {"payments": "dues_payments", "audit_events": "audit_logs", "sessions": "refresh_tokens"}
    for name, number in asdict(scale).items():
        if name != "days":
            assert postgres.psql(f"select count(*) from {tables.get(name, name)}", database) == str(number), name


@both_shapes
def test_nothing_is_as_little_as_can_be(shape: Shape, postgres: EmbeddedPostgres, empty: Callable[[], str]) -> None:
    database = empty()
    create(postgres.url(database), shape, Scale(1, 1, 0, 0, 0, 1, 0, 0))
    assert postgres.psql("select count(*) from members", database) == "1"
    assert postgres.psql("select count(*) from audit_logs", database) == "0"


@both_shapes
def test_the_same_call_makes_the_same_rows(shape: Shape, postgres: EmbeddedPostgres, empty: Callable[[], str]) -> None:
    first, second, other = empty(), empty(), empty()
    for database, seed in ((first, 3), (second, 3), (other, 4)):
        create(postgres.url(database), shape, SCALE, seed=seed, now=NOW)
    assert digests(postgres, first) == digests(postgres, second)
    differing = {name for name, _ in digests(postgres, other).items() ^ digests(postgres, first).items()}
    assert differing >= {
        "users",
        "members",
        "students",
        "dues_payments",
        "audit_logs",
        "refresh_tokens",
        "email_tokens",
    }


@both_shapes
def test_statistics_are_right_after_the_load(
    shape: Shape, postgres: EmbeddedPostgres, empty: Callable[[], str]
) -> None:
    database = empty()
    create(postgres.url(database), shape, SCALE)
    counted = "select n_live_tup, last_analyze is not null from pg_stat_user_tables where relname = 'audit_logs'"
    assert postgres.psql(counted, database) == f"{SCALE.audit_events}|t"


def test_a_second_load_fails_and_changes_nothing(postgres: EmbeddedPostgres, empty: Callable[[], str]) -> None:
    database = empty()
    create(postgres.url(database), "live", SCALE, now=NOW)
    before = digests(postgres, database)
    with pytest.raises(PostgresError, match='"memberstatus" already exists'):
        create(postgres.url(database), "live", SCALE, seed=2)
    assert digests(postgres, database) == before


@pytest.fixture(scope="module", params=get_args(Shape))
def shape(request: pytest.FixtureRequest) -> Shape:
    chosen: Shape = request.param
    return chosen


@pytest.fixture(scope="module")
def query(shape: Shape, postgres: EmbeddedPostgres) -> Iterator[Query]:
    """Asks a database of middling size that was filled at NOW."""
    database = f"realistic_{shape}"
    postgres.create_database(database)
    scale = replace(SCALE, users=60, members=2_000, students=600, payments=6_000, audit_events=40_000, days=120)
    create(postgres.url(database), shape, scale, now=NOW)
    yield lambda sql: postgres.psql(sql, database)
    postgres.drop_database(database)


def test_audit_events_are_nearly_in_order_of_their_ids(shape: Shape, query: Query) -> None:
    moment = EVENT_TIME[shape]
    late = f"select max({moment}) over (order by id) - {moment} as late from audit_logs"
    sql = f"select avg((late > interval '0')::int), extract(epoch from max(late)) from ({late}) t"
    share, worst = query(sql).split("|")
    assert 0.004 < float(share) < 0.02
    assert 30 < float(worst) <= 100


def test_audit_ids_have_gaps_and_the_sequence_is_past_the_end(query: Query) -> None:
    gap = "select id - lag(id) over (order by id) as gap from audit_logs"
    gaps = query(f"select bool_or(gap between 2 and 31), bool_or(gap > 31) from ({gap}) t")
    assert gaps == "t|t"
    assert query("select nextval('audit_logs_id_seq') > max(id) from audit_logs") == "t"


def test_no_id_is_given_twice_after_a_crash() -> None:
    with EmbeddedPostgres() as server:
        server.create_database("x")
        create(server.url("x"), "live", SCALE)
        new = "insert into member_notes (member_id, note_text, visibility) values (1, '', '') returning id"
        given = [server.psql(new, "x")]
        server.kill()
        server.start()
        assert server.psql(new, "x") not in given
        sequences = server.psql("select sequencename from pg_sequences where last_value is null", "x")
        assert sequences == ""


def test_audit_events_lie_in_the_period_and_keep_working_hours(shape: Shape, query: Query) -> None:
    moment = EVENT_TIME[shape]
    first = query(f"select min({moment}) - (timestamp '2026-03-09 20:30' - interval '120 days') from audit_logs")
    assert first.removeprefix("-") < "02:00:00"
    assert query(f"select max({moment}) between '2026-03-09 20:00' and '2026-03-09 20:30' from audit_logs") == "t"
    local = f"{moment} at time zone 'UTC' at time zone 'America/Los_Angeles'"
    worked = f"extract(hour from {local}) between 7 and 17 and extract(isodow from {local}) < 6"
    busy = query(f"select avg(({worked})::int) from audit_logs")
    assert float(busy) > 0.9
    reads = query("select avg((action = 'READ')::int), count(distinct action) from audit_logs").split("|")
    assert 0.6 < float(reads[0]) < 0.8
    assert reads[1] == "5"


def test_every_status_occurs(shape: Shape, query: Query) -> None:
    columns = {
        "members": "status", "students": "status", "dues_payments": "status", "book_registrations": "status",
        "labor_requests": "status", "dispatches": "dispatch_status", "grievances": "status",
        "benevolence_applications": "status", "grants": "status",
    }  # fmt: skip
    for table, column in columns.items():
        kind = query(
            f"select udt_name from information_schema.columns where table_name = '{table}' and column_name = '{column}'"
        )
        found = set(query(f"select distinct {column} from {table}").split())
        if shape == "documented":
            assert kind == "varchar"
            assert all(word == word.lower() for word in found)
        else:
            assert found == set(query(f"select unnest(enum_range(null::{kind}))").split()), table
    if shape == "documented":
        assert query("select count(*) from dues_payments where status = 'completed'") > "0"
        assert query("select count(*) from students where status = 'active'") > "0"
        assert query("select count(*) from pg_type where typtype = 'e'") == "0"


def test_payments_hold_what_is_easily_miscounted(shape: Shape, query: Query) -> None:
    partial, paid = ("PARTIAL", "PAID") if shape == "live" else ("partial", "completed")
    amount = "amount_paid" if shape == "live" else "amount"
    assert query(f"select count(*) > 20, min({amount}) > 0 from dues_payments where status = '{partial}'") == "t|t"
    assert (
        int(query(f"select count(*) from dues_payments where payment_date > '2026-03-09' and status = '{paid}'")) > 10
    )
    assert int(query(f"select count(*) from dues_payments where payment_date = '2026-03-09' and status = '{paid}'")) > 5
    assert (
        int(query("select count(*) from dues_payments where payment_date is not null and payment_method is null")) > 50
    )
    assert query(f"select min({amount}) >= 9, max({amount}) < 100 from dues_payments where status = '{paid}'") == "t|t"
    assert (
        query("select count(*) from (select 1 from dues_payments group by member_id, period_id having count(*) > 1) t")
        == "0"
    )


def test_users_are_active_inactive_locked_and_were_locked(query: Query) -> None:
    at = "timestamptz '2026-03-09 20:30Z'"
    states = query(
        f"select count(*) filter (where locked_until > {at}) > 1, count(*) filter (where locked_until < {at}) > 1,"
        " count(*) filter (where not is_active) > 1, count(*) filter (where last_login is null) > 1,"
        f" bool_and(last_login is null or last_login <= {at}),"
        f" count(*) filter (where last_login > {at} - interval '7 days') > 5 from users"
    )
    assert set(states.split("|")) == {"t"}
    sessions = query(
        f"select count(*) filter (where is_revoked), count(*) filter (where not is_revoked and expires_at > {at}),"
        f" count(*) filter (where not is_revoked and expires_at <= {at}) from refresh_tokens"
    )
    assert min(map(int, sessions.split("|"))) > 5


def test_each_shape_has_its_own_deletions(shape: Shape, query: Query) -> None:
    tables = query("select table_name from information_schema.columns where column_name = 'is_deleted'").split()
    if shape == "documented":
        assert tables == []
    else:
        assert len(tables) == 8
        for table in set(tables) - {"member_notes"}:
            assert (
                query(f"select bool_or(is_deleted), bool_and(is_deleted = (deleted_at is not null)) from {table}")
                == "t|t"
            )


def test_the_only_indexes_are_those_of_the_application(query: Query) -> None:
    assert query("""select relname from pg_class join pg_index on indexrelid = pg_class.oid
                    where relnamespace = 'public'::regnamespace and not indisunique order by 1""").split() == [
        "ix_audit_logs_record_id", "ix_audit_logs_table_name", "ix_students_status"]  # fmt: skip
    assert query("select version_num from alembic_version") == "3f0166296a87"
    assert (
        query("select count(*) from pg_class where relpersistence <> 'p' and relnamespace = 'public'::regnamespace")
        == "0"
    )


@pytest.mark.parametrize(
    "statement", ["update audit_logs set notes = 'x' where id = 1", "delete from audit_logs where id = 1"]
)
def test_the_audit_log_is_immutable(query: Query, statement: str) -> None:
    message = "Audit logs are immutable. UPDATE and DELETE operations are prohibited for NLRA compliance."
    with pytest.raises(PostgresError, match=message):
        query(statement)


def test_a_scale_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="60 students are more than 50 members"):
        replace(SCALE, members=50)
    with pytest.raises(ValueError, match="no number negative"):
        replace(SCALE, payments=-1)
    with pytest.raises(ValueError, match="time zone"):
        create("postgresql:///x", "live", SCALE, now=datetime(2026, 1, 1))  # noqa: DTZ001 -- that is the mistake


def test_the_command_makes_what_it_is_told(postgres: EmbeddedPostgres, empty: Callable[[], str]) -> None:
    database = empty()
    arguments = ["--url", postgres.url(database), "--scale", "small", "--audit-rows", "1234", "--shape", "documented"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "documented: 200 members, 800 payments, 1,234 audit events" in done.output
    assert postgres.psql("select count(*) from audit_logs", database) == "1234"
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, "already exists" in again.output) == (1, True)
    assert "Examples:" in CliRunner().invoke(main, ["--help"]).output
