"""The gauge that says whether the audit log is immutable is 1 only where every row is protected."""

import pytest

from tests.looking import exporting
from tests.rows import writing

RAISES = "begin raise exception 'no'; end"
FUNCTION = "create or replace function prevent_audit_modification() returns trigger language plpgsql as $$ {} $$;"
UPDATE = "audit_logs_prevent_update"
REPLACED = (
    f"drop trigger {UPDATE} on audit_logs; create trigger {UPDATE} {{}} execute function prevent_audit_modification()"
)

TRIGGER = f"drop trigger {UPDATE} on audit_logs; create trigger {UPDATE} {{}}"
AS_REPLICAS = """
    do $$ begin
      execute format('alter database %I set session_replication_role = replica', current_database());
    end $$;
"""

PARTITIONED = "".join(
    f"{statement};"
    for statement in (
        "alter table audit_logs rename to audit_old",
        "create table audit_logs (like audit_old including defaults, primary key (id)) partition by range (id)",
        "create table audit_part partition of audit_logs default",
        *(
            f"create trigger audit_logs_prevent_{event} before {event} on audit_logs for each row"
            " execute function prevent_audit_modification()"
            for event in ("update", "delete")
        ),
        *(
            f"create trigger t before truncate on {table} execute function prevent_audit_modification()"
            for table in ("audit_logs", "audit_part")
        ),
    )
)

# What is done, and what then is refused of: update, delete, truncate.
ALTERATIONS = {
    "nothing": ("select 1", "110"),
    "a trigger is dropped": (f"drop trigger {UPDATE} on audit_logs", "010"),
    "a trigger is disabled": (f"alter table audit_logs disable trigger {UPDATE}", "010"),
    "all triggers are disabled": ("alter table audit_logs disable trigger all", "000"),
    "a trigger fires for replicas only": (f"alter table audit_logs enable replica trigger {UPDATE}", "010"),
    "a trigger fires always": (f"alter table audit_logs enable always trigger {UPDATE}", "110"),
    "the function lets rows through": (FUNCTION.format("begin return new; end"), "000"),
    "the function raises for some rows": (
        FUNCTION.format("begin if old.id > 5 then raise exception 'no'; end if; return new; end"),
        "000",
    ),
    "the function raises only a notice": (FUNCTION.format("begin raise notice 'no'; return new; end"), "000"),
    "the function catches what it raises": (
        FUNCTION.format("begin raise exception 'no'; exception when others then return old; end"),
        "000",
    ),
    "the function only says in a comment that it raises": (
        FUNCTION.format("/* begin raise exception */ begin return new; end"),
        "000",
    ),
    "the function is commented": (FUNCTION.format(f"/* no */ -- no\n{RAISES}; -- done"), "110"),
    "a comment's mark in a text hides that it is caught": (
        FUNCTION.format("begin raise exception 'no -- really'; exception when others then return old; end"),
        "000",
    ),
    "a mark in a quoted name hides it": (
        FUNCTION.format("begin raise exception '%', old.\"a--\"; exception when others then return old; end"),
        "000",
    ),
    "a quote within an escaped text hides it": (
        FUNCTION.format("begin raise exception e'it\\'s -- no'; exception when others then return old; end"),
        "000",
    ),
    "a text in dollars hides it": (
        FUNCTION.format("begin raise exception $x$--$x$; exception when others then return old; end"),
        "000",
    ),
    "all that raises is within a comment in a comment": (
        FUNCTION.format("/* /* */ begin raise exception 'no'; end */ begin return old; end"),
        "000",
    ),
    "the text has a comment's mark, and is not caught": (
        FUNCTION.format("begin raise exception 'it''s -- /* no'; /* 'done */ end"),
        "110",
    ),
    "a child has no triggers": ("create table audit_child () inherits (audit_logs)", "000"),
    "a grandchild has all but one": (
        "create table audit_child () inherits (audit_logs); create table audit_grandchild () inherits (audit_child);"
        + "".join(
            f"create trigger {event} before {event} on {table} execute function prevent_audit_modification();"
            for event, table in (
                ("update", "audit_child"),
                ("delete", "audit_child"),
                ("delete", "audit_grandchild"),
            )
        ),
        "010",
    ),
    "its partitions have the triggers of the whole": (PARTITIONED, "111"),
    "a trigger is disabled on a partition": (
        f"{PARTITIONED} alter table audit_part disable trigger audit_logs_prevent_delete",
        "101",
    ),
    "a partition can be emptied": (f"{PARTITIONED} drop trigger t on audit_part", "110"),
    "a trigger has a condition": (
        REPLACED.format("before update on audit_logs for each row when (old.id > 5)"),
        "010",
    ),
    "a trigger fires for one column": (REPLACED.format("before update of notes on audit_logs for each row"), "010"),
    "a trigger fires after the fact": (REPLACED.format("after update on audit_logs for each row"), "010"),
    "a trigger fires for each statement": (REPLACED.format("before update on audit_logs for each statement"), "110"),
    "the trigger is another table's": (
        REPLACED.format("before update on members for each row"),
        "010",
    ),
    "truncate is refused too": (
        "create trigger t before truncate on audit_logs execute function prevent_audit_modification()",
        "111",
    ),
    "one trigger refuses all rows' changes": (
        "drop trigger audit_logs_prevent_delete on audit_logs;"
        + REPLACED.format("before update or delete on audit_logs for each row"),
        "110",
    ),
    "every session of the database passes for a replica's": (AS_REPLICAS, "000"),
    "a trigger fires for those too": (
        f"{AS_REPLICAS} alter table audit_logs enable always trigger {UPDATE}",
        "100",
    ),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
async def test_the_audit_log_is_immutable_only_as_far_as_every_change_is_refused(
    live_url: str, alteration: str
) -> None:
    sql, refused = ALTERATIONS[alteration]
    async with writing(live_url) as writer, exporting(live_url) as exporter:
        await exporter.look()
        await writer.connection.execute(sql)
        published = await exporter.look()
    assert not exporter.errors
    found = [published["unioncore_audit_immutable", (name,)] for name in ("update", "delete", "truncate")]
    assert found == [int(digit) for digit in refused]


async def test_without_an_audit_log_nothing_is_said_of_its_immutability(live_url: str) -> None:
    async with writing(live_url) as writer, exporting(live_url) as exporter:
        await writer.connection.execute("drop table audit_logs")
        published = await exporter.look()
    assert "there is no table audit_logs" in exporter.errors["immutability"]
    assert not any(name == "unioncore_audit_immutable" for name, _ in published)
    assert set(exporter.errors) == {"audit", "immutability"}
