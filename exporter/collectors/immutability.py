"""Whether the database still refuses to change the audit log (NLRA: kept for seven years, unaltered)."""

from exporter.counting import CountSpec, known_labels
from exporter.metrics import CollectError, Family
from exporter.schema import Schema

AUDIT_IMMUTABLE = Family(
    "unioncore_audit_immutable",
    "1 if a trigger of the database refuses this operation on audit_logs for every row.",
    ("operation",),
    example="unioncore_audit_immutable == 0",
)
# pg_trigger.tgtype: bits of the events (catalog/pg_trigger.h); 1 is "for each row", 2 is "before".
_EVENTS = {"update": 16, "delete": 8, "truncate": 32}


def _statement(schema: Schema) -> str:
    if not schema.has_table("audit_logs"):
        raise CollectError("there is no table audit_logs")
    # Refuses: fires before, in ordinary sessions ('O', 'A'), without a condition or a list of columns, and its
    # function raises before it does anything else, and does not catch that. Row triggers can't stop TRUNCATE, nor
    # statement ones be narrowed by a WHEN, so each bit is looked at by itself. Where a role's or everybody's
    # sessions pass for replicas from their start, there are no ordinary ones: only 'A' fires.
    return f"""
    with ordinary as (
      select current_setting('session_replication_role') <> 'replica' and not exists (
        select from pg_catalog.pg_db_role_setting s cross join lateral unnest(s.setconfig) setting
         where lower(setting) = 'session_replication_role=replica' and s.setdatabase in (
           0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))) as sessions)
    select '{AUDIT_IMMUTABLE.name}', e.operation, null::text,
           (exists (
             select from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid
              join pg_catalog.pg_class c on c.oid = t.tgrelid
              where c.relname = 'audit_logs' and pg_catalog.pg_table_is_visible(c.oid)
                and t.tgtype & e.bit <> 0 and t.tgtype & 2 <> 0
                and (t.tgenabled = 'A' or t.tgenabled = 'O' and (select sessions from ordinary))
                and t.tgqual is null and t.tgattr = ''::pg_catalog.int2vector and not t.tgisinternal
                and regexp_replace(regexp_replace(p.prosrc, '/\\*.*?\\*/', '', 'g'), '--[^\\n]*', '', 'g')
                    ~* '^\\s*begin\\s+raise\\s+exception\\M(?!.*\\mexception\\s+when\\M)'
           ))::int::float8, null::timestamptz
      from (values {", ".join(f"('{operation}', {bit})" for operation, bit in _EVENTS.items())}) e(operation, bit)
    """


SPEC = CountSpec(
    "immutability",
    (AUDIT_IMMUTABLE,),
    (),
    _statement,
    lambda _: known_labels(AUDIT_IMMUTABLE, _EVENTS),
)
