"""What is written down of a database is the same after a restore, and is not the same after any change."""

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from exporter.dsn import parse
from scripts.backup.contents import Contents, differences
from scripts.backup.inventory import snapshot
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.job.console import Meter
from scripts.job.database import session

ZOO = Path(__file__).with_name("zoo.sql").read_text()
KINDS = 17
_numbers = count(1)


CHANGES = [
    ("drop index by_lower", "index public.by_lower is missing"),
    ("drop index by_words; create index by_words on everything (words)", "index public.by_words is"),
    ("alter table everything disable trigger on_change", "trigger public.everything.on_change is"),
    ("alter table parent enable trigger off", "trigger public.parent.off is"),
    ("drop trigger on_change on everything", "trigger public.everything.on_change is missing"),
    ("alter table everything drop constraint sane", "constraint public.everything.sane is missing"),
    ("alter table referring drop constraint referring_id_fkey", "constraint public.referring.referring_id_fkey"),
    ("alter domain positive drop constraint positive_check", "constraint public.positive.positive_check is"),
    ("alter table everything alter late drop default", "column public.everything.late is"),
    ("alter table parent alter note set not null", "column public.parent.note is"),
    ("alter table referring alter id type bigint", "column public.referring.id is"),
    ("alter table child disable row level security", "table public.child is"),
    ("drop policy own_rows on child", "policy public.child.own_rows is missing"),
    ("drop rule quiet on child", "rule public.child.quiet is missing"),
    ("create or replace view seen_simple as select id, long as text from everything", "view public.seen"),
    ("drop view seen_simple", "view public.seen_simple is missing"),
    ("drop materialized view kept", "view public.kept is missing"),
    ("drop statistics correlated", "statistics public.correlated is missing"),
    ("drop procedure act", "function public.act() is missing"),
    ("alter function plain volatile", "function public.plain(a integer, b text) is"),
    ("create or replace function modern(a integer) returns integer language sql begin atomic select a + 2; end",
     "sql function public.modern(a integer) is"),
    ("alter type color add value 'blue'", "type public.color is"),
    ("select nextval('untouched')", "sequence public.untouched goes on with 8, not with 7"),
    ("select setval('counter', 5)", "sequence public.counter goes on with 2, not with 15"),
    ("alter sequence untouched increment by 2", "sequence public.untouched"),
    ("drop event trigger watch", "event trigger watch is missing"),
    ("create table surplus (id integer)", "table public.surplus is not in the backup"),
    ("delete from no_columns where ctid = '(0,1)'", "table public.no_columns has 1 rows, not 2"),
    ("update everything set long = 'NULL' where id = 2", "table public.everything has 3 rows, but not the same"),
    ("update everything set long = null where id = 2", "table public.everything has 3 rows, but not the same"),
    ("update everything set long = null where id = 3", "table public.everything has 3 rows, but not the"),
    ("update everything set double = 0 where double = '-0'", "table public.everything has 3 rows, but not the"),
    ("update everything set exact = 1.1 where exact = 1.1", "table public.everything has 3 rows, but not the"),
    ("update everything set plain = '{\"b\":1, \"a\":[1.10]}' where whole = 3", "table public.everything has 3 rows"),
    ("update everything set moment_tz = moment_tz + interval '1 us'", "table public.everything has 3 rows, but not"),
    ("update everything set numbers = '[0:2]={1,null,3}' where whole = 3", "table public.everything has 3 rows"),
    ("update parent set note = 'Parent' where id = 1", "table public.parent has 1 rows, but not the same content"),
    ("alter table parent rename note to notes", "column public.parent.note is missing"),
    ("""update "Odd names"."A ""quoted"" table" set "a, b" = "NULL", "NULL" = "a, b" where "NULL" = 'a'""",
     'table "Odd names"."A ""quoted"" table" has 4 rows, but not'),
    # Two rows that are the same, and then two others: an exclusive or would not notice.
    ("""update "Odd names"."A ""quoted"" table" set "a, b" = 'b' where ctid in
        (select ctid from "Odd names"."A ""quoted"" table" where "a, b" = 'a' limit 2)""",
     'table "Odd names"."A ""quoted"" table" has 4 rows, but not'),
    ("alter table only parted drop constraint parted_pkey", "constraint public.parted.parted_pkey is missing"),
    ("select lo_from_bytea(0, 'a')", "there are 1 large objects, not 0"),
    ("drop table unlogged_one", "table public.unlogged_one is missing"),
    ("drop schema \"Odd names\" cascade", 'schema "Odd names" is missing'),
    ("drop extension citext cascade", "extension citext is missing"),
]  # fmt: skip


def read(url: str, **settings: str) -> Contents:
    async def look() -> Contents:
        async with (
            session(parse(url), application="test", patience=5, settings=settings) as connection,
            snapshot(connection) as moment,
        ):
            return await moment.contents(Meter(lambda _: None))

    return asyncio.run(look())


def changes(before: Contents, url: str) -> list[str]:
    return list(differences(before.condensed(), read(url)))


def move(source: EmbeddedPostgres, database: str, target: EmbeddedPostgres) -> str:
    """Restore a database on another server with the source's own programs; the URL of the copy."""
    name = f"moved_{next(_numbers)}"
    target.create_database(name, template="template0")
    with subprocess.Popen(
        [source.bin("pg_dump"), "--format=custom", "--dbname", source.url(database)], stdout=subprocess.PIPE
    ) as dumping:
        subprocess.run(
            [source.bin("pg_restore"), "--exit-on-error", "--no-owner", "--dbname", target.url(name)],
            stdin=dumping.stdout,
            check=True,
        )
    return target.url(name)


def zoo(server: EmbeddedPostgres) -> str:
    name = f"zoo_{next(_numbers)}"
    server.create_database(name, template="template0")
    server.psql(ZOO, name)
    return name


@pytest.mark.parametrize(("source", "target"), [(15, 15), (15, 17), (15, 18), (17, 17), (17, 18), (18, 18)])
def test_everything_that_a_database_can_hold_is_the_same_after_a_restore(
    request: pytest.FixtureRequest, source: int, target: int
) -> None:
    fixtures = {15: "postgres15", 17: "postgres17", 18: "postgres"}
    servers = [request.getfixturevalue(fixtures[major]) for major in (source, target)]
    name = zoo(servers[0])
    before = read(servers[0].url(name))
    assert len(before.objects) == KINDS
    assert changes(before, move(servers[0], name, servers[1])) == []


@pytest.fixture(scope="module")
def zoo_name(postgres: EmbeddedPostgres) -> str:
    return zoo(postgres)


@pytest.fixture(scope="module")
def zoo_contents(postgres: EmbeddedPostgres, zoo_name: str) -> Contents:
    return read(postgres.url(zoo_name))


@pytest.fixture
def copy(postgres: EmbeddedPostgres, zoo_name: str) -> Iterator[str]:
    name = f"copy_{next(_numbers)}"
    postgres.create_database(name, template=zoo_name)
    yield name
    postgres.drop_database(name)


def test_each_change_is_told(postgres: EmbeddedPostgres, zoo_contents: Contents, copy: str) -> None:
    before = zoo_contents
    for change, told in CHANGES:
        postgres.psql(change, copy)
        after = read(postgres.url(copy))
        problems = list(differences(before, after))
        assert any(problem.startswith(told) for problem in problems), (change, problems)
        before = after


def test_values_that_move_from_row_to_row_are_noticed(postgres: EmbeddedPostgres, copy: str) -> None:
    postgres.psql("create table t (a text, b text); insert into t values ('1', '2'), ('3', '4')", copy)
    before = read(postgres.url(copy))
    postgres.psql("truncate t; insert into t values ('1', '4'), ('3', '2')", copy)
    assert changes(before, postgres.url(copy)) == ["table public.t has 2 rows, but not the same content"]


def test_null_is_told_from_an_empty_text_in_each_of_many_columns(postgres: EmbeddedPostgres, copy: str) -> None:
    names = [f"c{number}" for number in range(130)]
    postgres.psql(f"create table t ({' text, '.join(names)} text); insert into t (c0) values (null)", copy)
    expected = ["table public.t has 1 rows, but not the same content"]
    for name in ("c0", "c61", "c62", "c129"):
        before = read(postgres.url(copy))
        postgres.psql(f"update t set {name} = ''", copy)
        assert changes(before, postgres.url(copy)) == expected
    # From one column to the next, and two at once.
    for change in ("c0 = null, c1 = ''", "c2 = '', c34 = ''", "c1 = null, c0 = ''"):
        before = read(postgres.url(copy))
        postgres.psql(f"update t set {change}", copy)
        assert changes(before, postgres.url(copy)) == expected


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("smallint", ["null", "0", "1", "-1", "256", "-32768", "32767"]),
        ("integer", ["null", "0", "1", "-1", "2147483647", "-2147483648", "65536", "-65536"]),
        ("bigint", ["null", "0", "-1", "4294967296", "-4294967296", "4294967295", "9223372036854775807"]),
        *(
            (kind, ["null", "'epoch'", "'infinity'", "'-infinity'", "'1700-01-01'", "'1700-01-01 0:0:0.000001'",
                    "'1969-12-31 23:59:59.999999+00'", "'2026-11-26 08:00:00.123456'", "'2026-11-26 08:00:00.123457'",
                    "'2026-11-26 09:11:34.967296'", "'2199-12-31 23:59:59.999998'", "'2199-12-31 23:59:59.999999'"])
            for kind in ("timestamp", "timestamptz")
        ),
    ],
)  # fmt: skip
def test_no_two_values_are_taken_for_the_same(
    postgres: EmbeddedPostgres, copy: str, kind: str, values: list[str]
) -> None:
    digests = {}
    for value in values:
        postgres.psql(f"drop table if exists t; create table t as select cast({value} as {kind}) as a", copy)
        digests[read(postgres.url(copy)).tables["public.t"].digest] = value
    assert list(digests.values()) == values


def test_the_order_of_rows_and_of_columns_does_not_matter(postgres: EmbeddedPostgres, copy: str) -> None:
    postgres.psql("create table t (a text, b text); insert into t values ('1', '2'), ('3', '4')", copy)
    before = read(postgres.url(copy))
    postgres.psql("drop table t; create table t (b text, a text); insert into t values ('4', '3'), ('2', '1')", copy)
    assert changes(before, postgres.url(copy)) == []


def test_what_a_role_or_a_database_sets_does_not_matter(
    postgres: EmbeddedPostgres, zoo_contents: Contents, copy: str
) -> None:
    for name, value in {
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "iso_8601",
        "TimeZone": "Asia/Kathmandu",
        "extra_float_digits": "-5",
        "bytea_output": "escape",
        "lc_monetary": "C.UTF-8",
        "quote_all_identifiers": "on",
        "search_path": '"Odd names", public',
        "xmlbinary": "hex",
    }.items():
        postgres.psql(f"alter database {copy} set {name} = {value if name == 'search_path' else repr(value)}", copy)
    assert changes(zoo_contents, postgres.url(copy)) == []


def test_a_role_that_is_shown_only_some_rows_is_refused(postgres: EmbeddedPostgres, copy: str) -> None:
    postgres.psql("create role limited login password 'x'", copy)
    postgres.psql('grant select on all tables in schema public, "Odd names" to limited', copy)
    postgres.psql('grant usage on schema "Odd names" to limited', copy)
    postgres.psql("grant select on all sequences in schema public to limited", copy)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            read(postgres.url(copy, user="limited", password="x"))
    finally:
        postgres.psql("drop owned by limited; drop role limited", copy)


@pytest.mark.parametrize(
    ("backed_up", "restored", "right"),
    [
        ((5, 5), 5, True),
        ((5, 5), 4, False),
        ((5, 5), 6, False),
        ((5, 9), 5, True),
        ((5, 9), 7, True),
        ((5, 9), 9, True),
        ((5, 9), 10, False),
        ((9, 2), 10, True),
        ((9, 2), 1, True),
        ((9, 2), 5, False),
    ],
)
def test_a_sequence_may_have_moved_while_the_backup_ran_and_no_further(
    zoo_contents: Contents, backed_up: tuple[int, int], restored: int, right: bool
) -> None:
    name = "public.untouched"
    expected = replace(zoo_contents, sequences={**zoo_contents.sequences, name: backed_up})
    found = replace(zoo_contents, sequences={**zoo_contents.sequences, name: (restored, restored)})
    assert (not list(differences(expected, found))) is right
