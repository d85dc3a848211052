"""Nothing but the recorded rows goes when the guard deletes, whatever triggers and foreign keys others have made."""

import re

import asyncpg
import pytest

from exporter.collectors.immutability import GUARD_ROLE
from scripts.job.exits import Exit
from tests.scripts.archiving import Archives, AuditLog, Session

# Each runs code of somebody's own as the guard, when the guard deletes.
PLANTED = {
    "before a row": "create trigger a before delete on audit_logs for each row execute function evil.boom()",
    "after a row": "create trigger z after delete on audit_logs for each row execute function evil.boom()",
    "before the statement": "create trigger a before delete on audit_logs execute function evil.boom()",
    "after the statement": "create trigger z after delete on audit_logs execute function evil.boom()",
    "at the end of the transaction": """
        create constraint trigger z after delete on audit_logs deferrable initially deferred
           for each row execute function evil.boom()""",
    "in a condition": """
        create trigger a before delete on audit_logs for each row when (old.id = 7 and evil.does())
           execute function prevent_audit_modification()""",
}
DONE = {
    "delete": "delete from public.audit_logs where id = (select max(id) from public.audit_logs)",
    "update": "update public.audit_logs set id = -id where id = (select max(id) from public.audit_logs)",
    "truncate": "truncate public.audit_logs",
    "record": f"update {GUARD_ROLE}.archive set ids = '{{[1,1000000]}}'",
    "grant": f"grant all on {GUARD_ROLE}.archive to somebody",
}


@pytest.mark.parametrize(
    ("how", "what"), [*((how, "delete") for how in PLANTED), *(("after the statement", what) for what in DONE)]
)
def test_a_trigger_of_somebodys_own_does_nothing_as_the_guard(
    guarded: AuditLog, somebody: Session, archives: Archives, how: str, what: str
) -> None:
    before = guarded.rows()
    body = f"if current_user = '{GUARD_ROLE}' and pg_trigger_depth() < 2 then {DONE[what]}; end if;"
    somebody.execute(
        f"create function evil.boom() returns trigger language plpgsql as $$ begin {body} return old; end $$;"
        f" create function evil.does() returns boolean language plpgsql as $$ begin {body} return false; end $$;"
        f" {PLANTED[how]}"
    )
    ended = archives.delete()
    assert ended.code == Exit.REFUSED
    assert re.search("the trigger [az] of public.audit_logs .*: drop trigger [az] on public.audit_logs", ended.error)
    assert guarded.rows() == before
    assert not guarded.fetch(f"select from {GUARD_ROLE}.archive")
    # As the message says.
    guarded.execute(ended.error.rpartition(": ")[2])
    assert archives.delete().rows == len(before) - len(guarded.ids()) > 0


def test_a_trigger_is_found_that_a_transaction_began_too_early_to_see(
    guarded: AuditLog, somebody: Session, archives: Archives, role: str
) -> None:
    archives.install_guard(role)
    somebody.execute("begin isolation level repeatable read; select from audit_logs")
    with pytest.raises(asyncpg.PostgresError, match="only in a transaction that is READ COMMITTED"):
        somebody.execute(f"select {GUARD_ROLE}.delete_archived('x')")
    somebody.execute("rollback")
    before = len(guarded.ids())
    database = guarded.value("select quote_ident(current_database())")
    guarded.execute(f"alter database {database} set default_transaction_isolation = 'repeatable read'")
    archives.install_guard()
    assert archives.delete().rows == before - len(guarded.ids()) > 0


def test_rows_that_would_change_along_with_those_of_the_chunk_keep_all_of_it(
    live_log: AuditLog, archives: Archives
) -> None:
    archives.archive()
    archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30")
    live_log.execute(
        """
        alter table audit_logs disable trigger audit_logs_prevent_update;
        create rule along as on delete to audit_logs
            do also update audit_logs set notes = 'gone' where id = (select max(id) from audit_logs)"""
    )
    before = live_log.rows()
    ended = archives.delete()
    assert ended.code == Exit.NOT_VERIFIED
    assert "401 rows of public.audit_logs would have been deleted or changed, not 400" in ended.error
    assert live_log.rows() == before


def test_a_partition_has_no_trigger_of_somebodys_own_either(live_log: AuditLog, archives: Archives) -> None:
    live_log.execute(
        """
        alter table audit_logs rename to whole;
        create table audit_logs (like whole including defaults) partition by range (id);
        create table low partition of audit_logs for values from (0) to (300);
        create table high partition of audit_logs for values from (300) to (maxvalue);
        insert into audit_logs select * from whole;
        create trigger audit_logs_prevent_update before update on audit_logs
           for each row execute function prevent_audit_modification();
        create trigger audit_logs_prevent_delete before delete on audit_logs
           for each row execute function prevent_audit_modification();
        create function boom() returns trigger language plpgsql as 'begin return old; end'"""
    )
    archives.archive()
    assert archives.install_guard(UNIONCORE_AUDIT_RETENTION_DAYS="30").code == 0
    before = live_log.rows()
    for table in ("high", "audit_logs"):
        live_log.execute(f"create trigger a before delete on {table} for each row execute function boom()")
        ended = archives.delete()
        assert ended.code == Exit.REFUSED
        assert ended.error.endswith(f": drop trigger a on public.{table}")
        assert live_log.rows() == before
        live_log.execute(ended.error.rpartition(": ")[2])
    assert archives.delete().rows == 400


@pytest.mark.parametrize("action", ["cascade", "set null", "set default", ""])
def test_rows_of_another_table_that_refer_to_events_stay_as_they_are(
    guarded: AuditLog, archives: Archives, action: str
) -> None:
    clause = f"on delete {action}" if action else ""
    guarded.execute(f"create table comments (audit_id integer default 1 references audit_logs {clause})")
    last = guarded.value("select max(id) from audit_logs")
    guarded.execute("insert into comments select id from audit_logs" + ("" if action else f" where id = {last}"))
    before, comments = guarded.ids(), guarded.fetch("select * from comments order by 1")
    ended = archives.delete()
    if action:
        assert ended.code == Exit.REFUSED
        assert "by the foreign key comments_audit_id_fkey of public.comments" in ended.error
        assert guarded.ids() == before
    else:
        assert ended.rows, ended.error
    assert guarded.fetch("select * from comments order by 1") == comments
