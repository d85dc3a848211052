"""Facts are found by reflection, in either shape, and again after a migration; what is not found is named."""

from collections.abc import AsyncIterator

import pytest

from exporter.facts import FACTS
from exporter.holding import CountPolicy
from exporter.metrics import CollectError
from exporter.schema import Column, Schema, literal, quoted
from scripts.embedded.postgres import EmbeddedPostgres
from tests.looking import Exporter, exporting
from tests.recount import Counts
from tests.rows import Writer, writing

NAMES = {"audit", "users", "sessions", "members", "students", "dues", "casework", "immutability"}
ACTIVE = ("unioncore_members", ("active", "foreman"))
# Where no count is made anew unless it must.
LARGE = CountPolicy(small_rows=-1)

DIFFERENT = {
    "live": {
        "audit.time": "changed_at naive",
        "dues.paid": "amount_paid number",
        "dues.due": "amount_due number",
        "dues.status": "status enum",
        "members.status": "status enum",
        "members.deleted": "is_deleted bool",
        "dispatches.status": "dispatch_status enum",
    },
    "documented": {
        "audit.time": "created_at naive",
        "dues.paid": "amount number",
        "dues.due": "amount number",
        "dues.status": "status text",
        "members.status": "status text",
        "dispatches.status": "dispatch_status text",
    },
}
ALIKE = {
    "users.active": "is_active bool",
    "users.locked_until": "locked_until aware",
    "users.last_login": "last_login aware",
    "audit.id": "id number",
    "audit.action": "action text",
    "dues.date": "payment_date date",
    "sessions.expires": "expires_at aware",
    "sessions.revoked": "is_revoked bool",
}


async def schema_of(url: str) -> Schema:
    async with exporting(url) as exporter:
        await exporter.look()
        assert exporter.reader.schema is not None
        return exporter.reader.schema


@pytest.mark.parametrize("shape", DIFFERENT)
async def test_every_fact_is_found_in_both_shapes(shape: str, request: pytest.FixtureRequest) -> None:
    schema = await schema_of(request.getfixturevalue(f"{shape}_url"))
    found = {fact: f"{column.name} {column.kind}" for fact, column in schema.columns.items()}
    assert not schema.problems
    assert (DIFFERENT[shape] | ALIKE).items() <= found.items()
    missing = {fact for fact in FACTS if not schema.has(fact)}
    if shape == "documented":
        assert missing == {fact for fact in FACTS if fact.endswith(".deleted")}
    else:
        tables_without_soft_delete = {"book_registrations", "labor_requests", "dispatches", "dues_adjustments"}
        assert missing == {f"{table}.deleted" for table in tables_without_soft_delete}


async def test_the_labels_of_an_enum_keep_their_own_case_and_order(live_url: str) -> None:
    schema = await schema_of(live_url)
    assert schema.columns["members.status"].labels == ("ACTIVE", "INACTIVE", "SUSPENDED", "RETIRED", "DECEASED")
    assert schema.columns["dues.method"].labels[-2:] == ("stripe_ach", "stripe_other")


@pytest.fixture(params=[LARGE, CountPolicy(small_rows=10**9)], ids=["large", "small"])
async def both(shape_url: str, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Exporter, Writer]]:
    async with writing(shape_url) as writer, exporting(shape_url, policy=request.param) as exporter:
        await exporter.check()
        yield exporter, writer


MISSING = {
    "alter table users drop column last_login": ("users", "table users has no column last_login or last_login_at"),
    "alter table users drop column is_active": ("users", "table users has no column is_active"),
    "alter table members drop column status": ("members", "table members has no column status"),
    "alter table students rename to pupils": ("students", "there is no table students (for its status)"),
    "alter table refresh_tokens drop column expires_at": ("sessions", "table refresh_tokens has no column expires_at"),
    "alter table dues_payments drop column payment_date": (
        "dues",
        "table dues_payments has no column payment_date or paid_at",
    ),
    "alter table audit_logs drop column table_name": ("audit", "table audit_logs has no column table_name"),
    "alter table users alter column is_active type text": ("users", "users.is_active is a text, not a bool"),
    "alter table audit_logs alter column id type text": ("audit", "audit_logs.id is a text, not a number"),
}


@pytest.mark.parametrize("both", [CountPolicy(small_rows=10**9)], indirect=True)
@pytest.mark.parametrize("migration", MISSING)
async def test_a_fact_that_is_missing_is_named_and_costs_only_its_collector(
    both: tuple[Exporter, Writer], migration: str
) -> None:
    exporter, writer = both
    name, message = MISSING[migration]
    await writer.connection.execute(migration)
    # The first look may have noticed only that the statement failed.
    await exporter.look()
    published = await exporter.look()
    assert set(exporter.errors) == {name}
    assert message in exporter.errors[name]
    (failed,) = (one for one in exporter.reader.collectors if one.name == name)
    assert not {family.name for family in failed.families} & {family for family, _ in published}
    others = {family.name for one in exporter.reader.collectors if one is not failed for family in one.families}
    assert others <= {family for family, _ in published}


@pytest.mark.parametrize("both", [CountPolicy(small_rows=10**9)], indirect=True)
async def test_several_facts_that_are_missing_are_all_named(both: tuple[Exporter, Writer]) -> None:
    exporter, writer = both
    await writer.connection.execute("alter table users drop column is_active, drop column locked_until")
    await exporter.look()
    await exporter.look()
    assert exporter.errors["users"] == ("table users has no column is_active; table users has no column locked_until")


async def test_an_enum_none_of_whose_labels_means_completed_is_an_error(live_url: str) -> None:
    async with writing(live_url) as writer, exporting(live_url) as exporter:
        await writer.connection.execute("alter type duespaymentstatus rename value 'PAID' to 'SETTLED'")
        await exporter.look()
        assert set(exporter.errors) == {"dues"}
        assert "dues_payments.status: none of its labels" in exporter.errors["dues"]
        assert "means completed or paid" in exporter.errors["dues"]


RENAMED = {
    "audit_logs": ("changed_at", "created_at"),
    "dues_payments": ("payment_method", "method"),
    "users": ("last_login", "last_login_at"),
    "dispatches": ("dispatch_status", "status"),
}


@pytest.mark.parametrize("table", RENAMED)
async def test_a_column_that_is_renamed_while_the_exporter_runs_is_found_at_the_next_scrape(
    both: tuple[Exporter, Writer], table: str
) -> None:
    exporter, writer = both
    before = await exporter.look()
    old, new = RENAMED[table]
    old = writer.column(old)
    new = "changed_at" if old == new else new
    await writer.connection.execute(f"alter table {table} rename column {old} to {new}")
    await exporter.look()
    after = await exporter.look()
    assert exporter.errors == {}
    assert without_totals(after) == without_totals(before)


def without_totals(published: Counts) -> Counts:
    return {key: value for key, value in published.items() if key[0] != "unioncore_audit_events_total"}


@pytest.mark.parametrize("column", ["is_deleted boolean not null default false", "deleted_at timestamp"])
async def test_a_soft_delete_column_that_is_added_while_the_exporter_runs_is_honoured_at_the_next_scrape(
    documented_url: str, column: str
) -> None:
    async with writing(documented_url) as writer, exporting(documented_url, policy=LARGE) as exporter:
        before = await exporter.check()
        added = await writer.insert("members", status="active")
        await writer.connection.execute(f"alter table members add column {column}")
        value = "true" if "boolean" in column else "now()"
        name = column.partition(" ")[0]
        await writer.connection.execute(f"update members set {name} = {value} where id = $1", added)
        after = await exporter.look()
        assert exporter.errors == {}
        assert after[ACTIVE] == before[ACTIVE]


async def test_a_soft_delete_column_that_is_lost_fails_the_count_rather_than_to_count_deleted_rows(
    live_url: str,
) -> None:
    async with writing(live_url) as writer, exporting(live_url, policy=LARGE) as exporter:
        await exporter.check()
        await writer.connection.execute("alter table members rename is_deleted to is_archived")
        await writer.connection.execute("alter table members rename deleted_at to archived_at")
        for _ in range(2):
            published = await exporter.look()
            assert set(exporter.errors) == {"members"}
            assert "table members has lost its column is_deleted" in exporter.errors["members"]
            assert ACTIVE not in published
        # Once a new one has learnt that there is none, that is how it is.
        async with exporting(live_url, policy=LARGE) as later:
            await later.look()
            assert later.errors == {}
        await writer.connection.execute("alter table members rename is_archived to is_deleted")
        await exporter.look()
        assert exporter.errors == {}


async def test_a_modules_table_whose_status_is_not_found_is_named_and_no_family_vanishes_in_silence(
    live_url: str,
) -> None:
    async with writing(live_url) as writer, exporting(live_url) as exporter:
        await exporter.check()
        await writer.connection.execute("alter table grievances rename status to stage")
        await exporter.look()
        assert exporter.errors == {"casework": "table grievances has no column status"}
        await writer.connection.execute("drop table grievances")
        await exporter.look()
        assert exporter.errors == {}


async def test_a_row_deleted_by_the_migration_itself_is_not_counted_at_the_next_scrape(documented_url: str) -> None:
    # A column with a constant default rewrites nothing: no row is updated, no file is made.
    async with writing(documented_url) as writer, exporting(documented_url, policy=LARGE) as exporter:
        assert (await exporter.check())[ACTIVE] > 0
        await writer.connection.execute("alter table members add column is_deleted boolean not null default true")
        assert (await exporter.look())[ACTIVE] == 0


async def test_amounts_that_a_migration_splits_are_read_from_their_new_columns(documented_url: str) -> None:
    async with writing(documented_url) as writer, exporting(documented_url, policy=LARGE) as exporter:
        await exporter.check()
        await writer.connection.execute(
            "alter table dues_payments add column amount_due numeric(10, 2), add column amount_paid numeric(10, 2);"
            "update dues_payments set amount_due = 10, amount_paid = 4"
        )
        published = await exporter.look()
        rows = await writer.connection.fetch("select status, count(*) from dues_payments group by status")
    assert exporter.errors == {}
    owed = {labels[0]: value for (name, labels), value in published.items() if name.endswith("outstanding_dollars")}
    assert {status: owed[status] for status, _ in rows} == {status: 6 * number for status, number in rows}


async def test_a_column_that_changes_its_type_while_the_exporter_runs_is_read_as_it_is(
    both: tuple[Exporter, Writer], shape_url: str
) -> None:
    exporter, writer = both
    time = writer.column("changed_at")
    await writer.connection.execute(f"""
        set timezone = 'UTC';
        alter table users alter column last_login type timestamp, alter column locked_until type timestamp;
        alter table refresh_tokens alter column expires_at type timestamp;
        alter table audit_logs alter column {time} type timestamptz;
        alter table dues_payments alter column payment_date type timestamptz;
    """)
    await exporter.check()
    async with exporting(shape_url) as another:
        await another.look()
        async with another.reader._database.link() as link:
            await link._connection.exec_driver_sql("set timezone = 'Asia/Kolkata'")
            await link._connection.commit()
        another.reader.forget()
        await another.check()


async def test_a_column_that_may_not_be_read_is_named_and_the_others_go_on(
    shape_url: str, postgres: EmbeddedPostgres
) -> None:
    database = shape_url.rpartition("/")[2]
    role = f"reader_of_{database}"
    async with writing(shape_url) as writer:
        await writer.connection.execute(f"""
            create role {role} login password 'reader';
            grant select on all tables in schema public to {role};
            revoke select on members, users, refresh_tokens from {role};
            grant select (id, classification) on members to {role};
            grant select (is_active, last_login, locked_until) on users to {role};
            grant select (expires_at, is_revoked) on refresh_tokens to {role};
        """)
        try:
            async with exporting(postgres.url(database, user=role, password="reader")) as exporter:
                published = await exporter.look()
                # In the live shape, users who are deleted could not be told from the others.
                assert set(exporter.errors) == ({"members", "users"} if writer.live else {"members"})
                assert "members.status may not be read" in exporter.errors["members"]
                if writer.live:
                    assert "users.is_deleted may not be read" in exporter.errors["users"]
                assert ("unioncore_login_sessions", ("live",)) in published
                await writer.connection.execute(f"grant select on members, users to {role}")
                await exporter.look()
                assert exporter.errors == {}
                await writer.connection.execute(f"revoke select on members from {role}")
                await writer.insert("members")
                await exporter.look()
                assert set(exporter.errors) == {"members"}
                assert "permission denied" in exporter.errors["members"]
                await exporter.look()
                assert "members.status may not be read" in exporter.errors["members"]
        finally:
            await writer.connection.execute(f"drop owned by {role}; drop role {role}")


async def test_labels_are_published_whatever_characters_they_have(live_url: str) -> None:
    odd = 'it\'s :now "50%" \\ {x}'
    async with writing(live_url) as writer:
        for name in ("memberstatus", "duespaymentstatus", "grievancestatus"):
            await writer.connection.execute(f"alter type {name} add value {literal(odd)}")
        await writer.insert("members", status=odd)
        await writer.insert("dues_payments", status=odd)
        async with exporting(live_url) as exporter:
            published = await exporter.look()
    assert exporter.errors == {}
    assert published["unioncore_members", (odd, "foreman")] == 1
    assert published["unioncore_dues_payments", (odd,)] == 1
    assert published["unioncore_grievances", (odd,)] == 0


async def test_a_table_of_another_schema_is_not_taken_for_the_applications(shape_url: str) -> None:
    async with writing(shape_url) as writer:
        await writer.connection.execute("create schema elsewhere; create table elsewhere.members (status text)")
        async with exporting(shape_url) as exporter:
            await exporter.check()


def test_identifiers_and_literals_are_quoted_as_postgresql_does() -> None:
    assert quoted('a"b') == '"a""b"'
    assert literal("it's") == "'it''s'"
    assert str(Column("users", "Last Login", "aware")) == '"Last Login"'


def test_what_no_row_describes_is_a_problem_by_its_table() -> None:
    schema = Schema([])
    assert not schema.has("users.active")
    with pytest.raises(CollectError, match=r"there is no table users \(for its is_active\)"):
        schema.need("users.active")
    assert schema.alive("users") == "true"
