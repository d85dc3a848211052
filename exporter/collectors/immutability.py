"""Whether the database still refuses to change the audit log (NLRA: kept for seven years, unaltered)."""

import re

from exporter.counting import CountSpec, known_labels
from exporter.metrics import CollectError, Family
from exporter.schema import Schema, literal

AUDIT_IMMUTABLE = Family(
    "unioncore_audit_immutable",
    "1 if triggers of the database refuse this operation for every row of audit_logs, its partitions and children.",
    ("operation",),
    example="unioncore_audit_immutable == 0",
)
# pg_trigger.tgtype: bits of the events (catalog/pg_trigger.h); 1 is "for each row", 2 is "before".
_EVENTS = {"update": 16, "delete": 8, "truncate": 32}

GUARD_ROLE = "unioncore_audit_guard"
"""The role that may delete archived rows, through its own functions only (`scripts.archive.guard`)."""
GUARD_CLAUSE = (
    f"if tg_op operator(pg_catalog.=) 'DELETE' and current_user operator(pg_catalog.=) '{GUARD_ROLE}'"
    " then return old; end if;"
)
"""How the trigger function lets that role delete, and nobody else do anything."""
_RAISES = r"raise\s+exception\M(?!.*\mexception\s+when\M)"
REFUSES = rf"^\s*begin\s+{_RAISES}"
"""A trigger function that refuses everybody, as a regular expression of PostgreSQL's."""
GUARDED = r"^\s*begin\s+{}\s+{}".format(re.sub(r"[(.)]", r"\\\g<0>", GUARD_CLAUSE).replace(" ", r"\s+"), _RAISES)
"""One that refuses everybody but the guard."""
# What is within quotes is kept: a comment's mark there begins no comment.
_QUOTED = "'[^']*'|\"[^\"]*\""
_COMMENT = r"--[^\n]*|/\*([^*]|\*+[^*/])*\*+/"
_TANGLED = r"""/\*|\*/|['"]"""
"""What is left over of a body, without its quotes and comments, if these were not where they seemed to be."""
_UNREADABLE = r"\\'|\$[a-z0-9_]*\$"
"""What may have a quote end elsewhere than at the next one: whether such a function refuses can't be told."""
# PostgreSQL 16 tells apart what a member may do: one that may only administer the role is no hole.
_OPEN = f"""
    select from pg_catalog.pg_roles r where r.rolname = '{GUARD_ROLE}'
       and (r.rolcanlogin or exists (
            select from pg_catalog.pg_auth_members m, to_jsonb(m) may where m.roleid = r.oid
               and (coalesce((may ->> 'set_option')::boolean, true)
                    or coalesce((may ->> 'inherit_option')::boolean, true))))
"""


def _statement(schema: Schema) -> str:
    if not schema.has_table("audit_logs"):
        raise CollectError("there is no table audit_logs")
    # Refuses: fires before, in ordinary sessions ('O', 'A'), without a condition or a list of columns, and its
    # function raises before it does anything else, and does not catch that. Row triggers can't stop TRUNCATE, nor
    # statement ones be narrowed by a WHEN, so each bit is looked at by itself. Where a role's or everybody's
    # sessions pass for replicas from their start, there are no ordinary ones: only 'A' fires. Rows are changed by way
    # of any table above theirs, and emptied by way of their own: only that one's triggers are sure to fire.
    return f"""
    with recursive family(oid) as (
      select c.oid from pg_catalog.pg_class c
       where c.relname = 'audit_logs' and pg_catalog.pg_table_is_visible(c.oid)
      union select i.inhrelid from pg_catalog.pg_inherits i join family f on f.oid = i.inhparent
    ), ordinary as (
      select current_setting('session_replication_role') <> 'replica' and not exists (
        select from pg_catalog.pg_db_role_setting s cross join lateral unnest(s.setconfig) setting
         where lower(setting) = 'session_replication_role=replica' and s.setdatabase in (
           0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))) as sessions)
    select '{AUDIT_IMMUTABLE.name}', e.operation, null::text,
           (not exists (select from family f where not exists (
             select from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid,
              regexp_replace(p.prosrc, {literal(f"({_QUOTED})|{_COMMENT}")}, '\\1', 'g') body
              where t.tgrelid = f.oid and t.tgtype & e.bit <> 0 and t.tgtype & 2 <> 0
                and (t.tgenabled = 'A' or t.tgenabled = 'O' and (select sessions from ordinary))
                and t.tgqual is null and t.tgattr = ''::pg_catalog.int2vector
                and p.prosrc !~* {literal(_UNREADABLE)}
                and regexp_replace(body, {literal(_QUOTED)}, '', 'g') !~ {literal(_TANGLED)}
                and (body ~* {literal(REFUSES)} or body ~* {literal(GUARDED)} and not p.prosecdef
                     and not (e.operation = 'delete' and exists ({_OPEN})))
           )) and exists (select from family))::int::float8, null::timestamptz
      from (values {", ".join(f"('{operation}', {bit})" for operation, bit in _EVENTS.items())}) e(operation, bit)
    """


SPEC = CountSpec(
    "immutability",
    (AUDIT_IMMUTABLE,),
    (),
    _statement,
    lambda _: known_labels(AUDIT_IMMUTABLE, _EVENTS),
)
