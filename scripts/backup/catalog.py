"""The questions that `scripts.backup.inventory` asks PostgreSQL's catalogs: the same answers from 15 to 18.

What belongs to an extension is left out everywhere: a restore makes it by making the extension. So is what
PostgreSQL makes by itself: the triggers of foreign keys, the NOT NULL constraints that have a name since 18 (the
column says it), the parts of a partitioned table's indexes, constraints and triggers.
"""

from collections.abc import Sequence

PINNED = {
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "extra_float_digits": "3",
    "IntervalStyle": "postgres",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "xmlbinary": "base64",
    # A policy that hides rows must fail the reading, not shorten it.
    "row_security": "off",
    # The snapshot lives as long as its transaction, whatever the server thinks of idle ones.
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    # A backup is in nobody's way: one process reads, and none compiles.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
"""Settings on which the text of a value, or the right to read it, depends."""

EXACT = frozenset({"view", "rule", "sql function"})
"""Kinds whose definition is PostgreSQL's own rendering of a query, which another major version words differently."""

OWN_WORDS = frozenset({"function"})
"""Kinds of which PostgreSQL keeps the words that it was given."""

DATABASE = """
select d.datname as name, current_setting('server_version_num')::int / 10000 as major,
       split_part(current_setting('server_version'), ' ', 1) as version, pg_encoding_to_char(d.encoding) as encoding,
       d.datcollate as collation, d.datctype as ctype, d.datlocprovider::text as provider,
       -- The column's name until 16, and since.
       coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale', '') as locale,
       pg_database_size(d.oid) as size,
       (select count(*) from pg_largeobject_metadata) as large_objects, clock_timestamp() as now
  from pg_database d
 where d.datname = current_database()
"""

NAMESPACE = r"n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"


def own(catalog: str, alias: str) -> str:
    """Return the condition that an object is of no extension.

    Args:
        catalog: The catalog that has it.
        alias: The catalog's name in the statement.
    """
    return (
        f"not exists (select from pg_depend e where e.classid = 'pg_catalog.{catalog}'::regclass"
        f" and e.objid = {alias}.oid and e.deptype = 'e')"
    )


RELATION = f"{NAMESPACE} and {own('pg_class', 'c')}"

# Types of PostgreSQL's own of which no value has an empty text; those of others may have any cast to text.
_BUILT_IN = "y.oid < 16384"
_NEVER_EMPTY = f"""({_BUILT_IN} and (y.typcategory in ('A', 'B', 'D', 'I', 'N', 'T')
                    or y.typname in ('bytea', 'json', 'jsonb', 'uuid')))"""
# Types whose values are hashed as numbers, in a fraction of the time that their text takes. No two values of one have
# the same number: a moment is its seconds, which as a float8 tell microseconds apart from the year 1700 to 2200.
_WHOLE = "y.oid in ('int2'::regtype, 'int4'::regtype)"
_MOMENT = "y.oid in ('timestamp'::regtype, 'timestamptz'::regtype)"

TABLES = f"""
select c.oid, format('%I.%I', n.nspname, c.relname) as name, n.nspname || '.' || c.relname as plain_name,
       convert_to(n.nspname || '.' || c.relname, getdatabaseencoding()) as stored_name,
       coalesce(array_agg(format(case
           when {_WHOLE} then 'hashint8extended(coalesce(t.%I::int8, 0), '
           when {_MOMENT} then 'hashfloat8extended(coalesce(date_part(''epoch'', t.%I), 0), '
           when {_BUILT_IN} then 'hashtextextended(coalesce(t.%I::text, '''') collate "C", '
           else 'hashtextextended(coalesce(concat(t.%I), '''') collate "C", ' end, a.attname)
           order by a.attname collate "C") filter (where a.attname is not null), '{{}}') as hashes,
       coalesce(array_agg(format('t.%I', a.attname) order by a.attname collate "C")
                filter (where not a.attnotnull and ({_WHOLE} or {_MOMENT} or not {_NEVER_EMPTY})), '{{}}') as doubtful
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_type y on y.oid = a.atttypid
 where c.relkind = 'r' and {RELATION}
 group by c.oid, n.nspname, c.relname
 order by 1
"""
"""Every table that holds rows; for each of its columns, in the order of their names, which a restore does not change,
the call of a hash function up to its seed; and those columns that may be NULL where their hash does not tell."""

SEQUENCES = f"""
select format('%I.%I', n.nspname, c.relname) as name, s.seqincrement as step
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_sequence s on s.seqrelid = c.oid
 where {RELATION}
 order by 1
"""

# kind, name, definition; a part each.
_PARTS = (
    f"""
    select 'schema', quote_ident(n.nspname), '' from pg_namespace n where {NAMESPACE} and {own("pg_namespace", "n")}
    """,
    "select 'extension', quote_ident(extname), '' from pg_extension",
    f"""
    select 'table', format('%I.%I', n.nspname, c.relname),
           concat_ws(' ', c.relkind, c.relpersistence, array_to_string(c.reloptions, ','),
                     case when c.relrowsecurity then 'row security' end,
                     case when c.relforcerowsecurity then 'forced' end,
                     'replica identity ' || c.relreplident::text, pg_get_partkeydef(c.oid),
                     pg_get_expr(c.relpartbound, c.oid),
                     (select 'inherits ' || string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno)
                        from pg_inherits i where i.inhrelid = c.oid))
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f', 'm', 'v') and {RELATION}
    """,
    f"""
    select 'column', format('%I.%I.%I', n.nspname, c.relname, a.attname),
           concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                     case when a.attcollation <> y.typcollation then 'collate ' || a.attcollation::regcollation end,
                     case when a.attnotnull then 'not null' end,
                     'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
                     'default ' || pg_get_expr(d.adbin, d.adrelid))
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join pg_type y on y.oid = a.atttypid
      left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where c.relkind in ('r', 'p', 'f', 'm', 'v', 'c') and {RELATION}
    """,
    f"""
    select 'view', format('%I.%I', n.nspname, c.relname), pg_get_viewdef(c.oid)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('v', 'm') and {RELATION}
    """,
    # pg_dump leaves out indexes that are not valid: their making was broken off.
    f"""
    select 'index', format('%I.%I', n.nspname, c.relname),
           concat_ws(' ', pg_get_indexdef(c.oid), case when i.indisclustered then 'clustered' end,
                     case when i.indisreplident then 'replica identity' end)
      from pg_index i
      join pg_class c on c.oid = i.indexrelid
      join pg_namespace n on n.oid = c.relnamespace
     where i.indisvalid and not c.relispartition and {RELATION}
    """,
    f"""
    select 'constraint', format('%I.%I.%I', n.nspname, coalesce(c.relname, y.typname), o.conname),
           pg_get_constraintdef(o.oid)
      from pg_constraint o
      join pg_namespace n on n.oid = o.connamespace
      left join pg_class c on c.oid = o.conrelid
      left join pg_type y on y.oid = o.contypid
     where o.contype in ('c', 'f', 'p', 'u', 'x') and o.conparentid = 0 and {NAMESPACE}
       and (c.oid is null or {own("pg_class", "c")}) and (y.oid is null or {own("pg_type", "y")})
    """,
    f"""
    select 'trigger', format('%I.%I.%I', n.nspname, c.relname, t.tgname),
           concat_ws(' ', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled)
      from pg_trigger t
      join pg_class c on c.oid = t.tgrelid
      join pg_namespace n on n.oid = c.relnamespace
     where not t.tgisinternal and t.tgparentid = 0 and {RELATION}
    """,
    f"""
    select 'sequence', format('%I.%I', n.nspname, c.relname),
           concat_ws(' ', format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                     case when s.seqcycle then 'cycle' end,
                     (select 'of ' || format('%s.%I', p.refobjid::regclass, a.attname)
                        from pg_depend p
                        join pg_attribute a on a.attrelid = p.refobjid and a.attnum = p.refobjsubid
                       where p.classid = 'pg_class'::regclass and p.objid = c.oid
                         and p.refclassid = 'pg_class'::regclass and p.deptype in ('a', 'i')))
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_sequence s on s.seqrelid = c.oid
     where {RELATION}
    """,
    f"""
    select case when p.prosqlbody is null then 'function' else 'sql function' end,
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           case p.prokind when 'a' then pg_get_function_result(p.oid) else pg_get_functiondef(p.oid) end
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where {NAMESPACE} and {own("pg_proc", "p")}
    """,
    # The types of tables and arrays come with what they are of.
    f"""
    select 'type', format('%I.%I', n.nspname, y.typname),
           concat_ws(' ', y.typtype,
                     (select string_agg(quote_literal(l.enumlabel), ', ' order by l.enumsortorder)
                        from pg_enum l where l.enumtypid = y.oid),
                     nullif(format_type(nullif(y.typbasetype, 0), y.typtypmod), '-'),
                     case when y.typnotnull then 'not null' end, 'default ' || y.typdefault,
                     (select 'of ' || format_type(r.rngsubtype, null) from pg_range r where r.rngtypid = y.oid))
      from pg_type y join pg_namespace n on n.oid = y.typnamespace
     where {NAMESPACE} and {own("pg_type", "y")}
       and (y.typtype in ('d', 'e', 'r')
            or y.typtype = 'c' and exists (select from pg_class c where c.oid = y.typrelid and c.relkind = 'c'))
    """,
    f"""
    select 'policy', format('%I.%I.%I', n.nspname, c.relname, p.polname),
           concat_ws(' ', p.polcmd, case when not p.polpermissive then 'restrictive' end,
                     'using ' || pg_get_expr(p.polqual, p.polrelid),
                     'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
      from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
     where {RELATION}
    """,
    f"""
    select 'rule', format('%I.%I.%I', n.nspname, c.relname, r.rulename), pg_get_ruledef(r.oid)
      from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
     where r.rulename <> '_RETURN' and {RELATION}
    """,
    f"""
    select 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
      from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace
     where {NAMESPACE} and {own("pg_statistic_ext", "s")}
    """,
    f"""
    select 'event trigger', quote_ident(t.evtname),
           concat_ws(' ', t.evtevent, array_to_string(t.evttags, ','), t.evtfoid::regprocedure, 'enabled', t.evtenabled)
      from pg_event_trigger t
     where {own("pg_event_trigger", "t")}
    """,
)

OBJECTS = f"select * from ({' union all '.join(_PARTS)}) part(kind, name, definition) order by kind, name"
"""What there is beside the rows, each with its definition; a view's columns are comparable across versions."""


_BITS = 31
"""So many columns' NULLs go into a seed: hashint8extended puts the upper half of a number over its lower one."""


def digest_of(table: str, hashes: Sequence[str], doubtful: Sequence[str]) -> str:
    """Return the question for a table's row count and content digest.

    A row's hash is that of its last value, seeded with the hash of the value before, and so on: it tells one value's
    end from the next one's beginning. The first seeds say which of the doubtful columns are NULL. Over the rows the
    hashes are summed, and so is what a second hash makes of them: sums, unlike exclusive ors, do not cancel what is
    there twice, and do not depend on the order.

    Args:
        table: Its name, qualified and quoted.
        hashes: For each of its columns, of the table `t`, the call of a hash function up to its seed.
        doubtful: The columns of which the hash does not tell whether they are NULL, of the table `t`.
    """
    seeds = [
        " | ".join(f"(({column} is null)::int::int8 << {bit})" for bit, column in enumerate(doubtful[at : at + _BITS]))
        for at in range(0, len(doubtful), _BITS)
    ]
    row = "1"
    for call in (*(f"hashint8extended({seed}, " for seed in seeds), *hashes):
        row = f"{call}{row})"
    # OFFSET 0 keeps the planner from making the hash of a row twice.
    return f"""
    select count(*) as rows, sum(row) as one, sum(hashint8extended(row, 2)) as two
      from (select {row} as row from only {table} t offset 0) hashes
    """
