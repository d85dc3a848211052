"""SQL of a least-privilege role: it may read the columns that the collectors read, and nothing else.

Which those are is said by `exporter.facts` alone, and where they are by the database itself: either now, or when the
SQL is run. Both ask it by the same query.
"""

from sqlalchemy import text

from exporter.database import Database
from exporter.facts import FACTS
from exporter.schema import literal, quoted


def offline(role: str) -> str:
    """Return SQL that grants what it finds where it is run, whatever the shape of that database.

    Args:
        role: The role's name.
    """
    run = f"""\
-- Which columns there are is looked up when this is run: run it in UnionCore's database.
do $grants$
declare
  command text;
  nothing boolean := true;
begin
  for command in{_commands(role)}
  loop
    execute command;
    nothing := false;
  end loop;
  if nothing then
    raise exception 'none of UnionCore''s tables is in database %: connect to the right one', current_database();
  end if;
end
$grants$;
"""
    return _script(role, run)


async def online(database: Database, role: str) -> str:
    """Return SQL that grants the columns that a database has now.

    Args:
        database: Where to look; as whom does not matter, the catalog is open to all.
        role: The role's name.

    Raises:
        DatabaseDownError: It does not answer.
        LookupError: It holds none of the tables.
    """
    async with database.link() as link:
        commands = [str(row[0]) for row in await link.read(text(_commands(role)), {})]
    if not commands:
        raise LookupError(f"the database {database.address} has none of UnionCore's tables")
    return _script(role, "".join(f"{command};\n" for command in commands))


def _commands(role: str) -> str:
    """Return the query for the commands that grant what is there.

    A fact is in the first of its columns that exists, as in `exporter.schema`; so the others stay unreadable.
    Whatever the role was granted before, on these tables or others, is taken back first.
    """
    name = quoted(role)
    facts = ",\n        ".join(
        f"({literal(fact.table)}, array[{', '.join(literal(column) for column in fact.columns)}])"
        for fact in FACTS.values()
    )
    return f"""
    with fact(table_name, names) as (values
        {facts}),
    found as (
      select distinct n.nspname, c.relname, a.attname, a.attnum
        from fact
        join pg_catalog.pg_class c on c.relname = fact.table_name and c.relkind in ('r', 'p', 'v', 'm', 'f')
         and pg_catalog.pg_table_is_visible(c.oid)
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       cross join lateral (
         select attname, attnum from pg_catalog.pg_attribute
          where attrelid = c.oid and attnum > 0 and not attisdropped and attname = any(fact.names)
          order by array_position(fact.names, attname::text) limit 1) a),
    granted as (
      select distinct n.nspname, c.relname
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_attribute a on a.attrelid = c.oid
       cross join lateral (select * from aclexplode(c.relacl) union all select * from aclexplode(a.attacl)) p
        join pg_catalog.pg_roles r on r.oid = p.grantee and r.rolname = {literal(role)}),
    command(rank, relation, words) as (
      select 1, '', format('grant connect on database %I to {name}', current_database())
       where exists (select from found)
      union all
      select 2, nspname, format('grant usage on schema %I to {name}', nspname) from found group by nspname
      union all
      select 3, '', format('alter role {name} set search_path = %s', string_agg(schema_name, ', '))
        from (select distinct quote_ident(nspname) as schema_name from found order by 1) s having count(*) > 0
      union all
      select 4, relname, format('revoke all on %I.%I from {name}', nspname, relname)
        from (table granted union select nspname, relname from found) revoked where exists (select from found)
      union all
      select 5, relname, format('grant select (%s) on %I.%I to {name}',
                                string_agg(quote_ident(attname), ', ' order by attnum), nspname, relname)
        from found group by nspname, relname)
    select words from command order by rank, relation"""


def _script(role: str, grants: str) -> str:
    name = quoted(role)
    return f"""\
-- The role {role} for UnionCore's exporter: it reads the columns that are counted, and nothing else. Run this as
-- the owner of the tables who may also create roles, with a client that stops at errors:
--   psql -v ON_ERROR_STOP=1 -f FILE "$ADMIN_DATABASE_URL"
-- It may be run again at any time, and must be after a migration that adds or renames such a column.
begin;

do $role$
declare
  reader text := {literal(role)};
begin
  if not exists (select from pg_catalog.pg_roles where rolname = reader) then
    execute format('create role %I', reader);
  elsif exists (
    select from pg_catalog.pg_roles r where r.rolname = reader
       and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
            or exists (select from pg_catalog.pg_shdepend d
                        where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                          and d.refobjid = r.oid and d.deptype = 'o')))
  then
    raise exception 'role % exists and is no mere reader: it owns something or may do more', reader
      using hint = 'Choose another name with --role: what follows would get in the way of its own work.';
  end if;
end
$role$;

-- Room for two connections of an exporter, two of its successor while it is replaced, and two of a `check`.
alter role {name} with login noinherit connection limit 6;
-- A second lock on the door, and limits for whoever else logs in so; the exporter's sessions set their own.
alter role {name} set default_transaction_read_only = on;
alter role {name} set statement_timeout = '15s';
alter role {name} set lock_timeout = '2s';
alter role {name} set idle_in_transaction_session_timeout = '30s';

{grants}
commit;

-- Without a password it can't log in. Set one in psql, which sends only its hash and keeps it out of every log:
--   \\password {name}
"""
