-- The guard of the audit log: deleting recorded rows, and nothing else, becomes possible, for one role, through two
-- functions. `unioncore-ops archive install-guard` fills in what stands between @ signs, and runs this in a transaction as
-- the owner of audit_logs, who may also create roles. It may be run again at any time.
--
-- How it holds:
--   * The trigger function lets a DELETE pass for the role @role@ only. That role can't log in and has no members; only
--     the functions below, which it owns, run as it. No setting can forge current_user, and the operators are named with
--     their schema, for a session could put one of its own before them.
--   * record_archive() takes note of a chunk of the archive, if the rows in the table are just those that the chunk has.
--     That it is in the archive the caller says; this database can't look. So the role for which this is should be the
--     job's own.
--   * delete_archived() deletes a chunk that was noted: it locks the rows, counts and digests them anew, and deletes them
--     if nothing differs. Rows younger than @retention_days@ days it deletes never.
--   * A trigger's code runs as whoever deletes, so as the guard, who may write all that the guard has: its notes, its
--     functions. Anybody with the privilege TRIGGER can make one, and no note says who did. So refuse_side_effects() lets
--     nothing be deleted as long as there is any but those of @function@; nor as long as a foreign key would delete or
--     change rows of another table with it.
--   * The server counts what a transaction deletes and updates, by whatever way; no session can change these numbers.
--     If they are not the chunk's, all is rolled back.
--   * UPDATE is as impossible as before, and TRUNCATE now is, too.

do $guard$
declare
    owner name := (select relowner::regrole from pg_catalog.pg_class where oid = '@table@'::regclass);
    stranger text;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = '@role@') then
        create role @role@ nologin noinherit;
    elsif exists (
        select from pg_catalog.pg_roles where rolname = '@role@'
           and (rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls))
    then
        raise exception 'there is a role @role@ that may do more than guard the audit log';
    end if;
    -- Whoever is its member may delete everything, and it may do what those may of whom it is one. Who owns the table, or
    -- is a superuser, could take the guard away as well.
    select string_agg(format('%I', other), ', ') into stranger
      from (select r.rolname as other
              from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
             where m.roleid = '@role@'::regrole and not r.rolsuper and r.rolname not in (current_user, owner)
               -- Since 16 whoever makes a role may administer it, and no more; so may the owner's members be here.
               and not (pg_catalog.pg_has_role(r.oid, owner, 'member')
                        and not coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
                        and not coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true))
             union all
            select m.roleid::regrole::text from pg_catalog.pg_auth_members m where m.member = '@role@'::regrole) others;
    if stranger is not null then
        raise exception 'the role @role@ is a member of another one, or another one of it: %. Look who did that, then '
            'revoke it', stranger;
    end if;
    -- Who owns the schema may put anything in the place of what is in it.
    select string_agg(format('%s (%s)', what, owned_by), ', ') into stranger
      from (select 'the schema' as what, nspowner::regrole as owned_by
              from pg_catalog.pg_namespace where nspname = '@role@'
             union all
            select c.oid::regclass::text, c.relowner::regrole
              from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where n.nspname = '@role@'
             union all
            select p.oid::regprocedure::text, p.proowner::regrole
              from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
             where n.nspname = '@role@') owned
     where owned_by <> '@role@'::regrole;
    if stranger is not null then
        raise exception 'the schema @role@ is not the guard''s, or something in it: %. If a restore without owners has '
            'brought it, give it to the role @role@ (alter ... owner to @role@); else look who made it, and drop it',
            stranger;
    end if;
    -- For the time of this script.
    execute format('grant @role@ to %I', current_user);
end
$guard$;

create schema if not exists @role@ authorization @role@;
do $guard$
begin
    execute format('grant usage on schema %s to @role@', (
        select relnamespace::regnamespace from pg_catalog.pg_class where oid = '@table@'::regclass));
end
$guard$;
-- FOR UPDATE asks for the right to update a column; the trigger refuses every update all the same.
grant select, delete, update (@id@) on @table@ to @role@;

set local role @role@;

create table if not exists @role@.archive (
    key text primary key,
    ids int8multirange not null,
    row_count bigint not null check (row_count > 0),
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    columns text[] not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    recorded_at timestamptz not null default now(),
    recorded_by name not null default session_user,
    deleted_at timestamptz,
    deleted_by name
);
comment on table @role@.archive is
    'Chunks of the audit archive whose rows were found equal to those of audit_logs; when they were deleted there';

-- Locks rows, counts and digests them, and looks how young the youngest is; one without a time is never old enough.
create or replace function @role@.measure(
    ids int8multirange, columns text[], out row_count bigint, out digest text, out newest timestamptz
) language plpgsql @settings@ as $function$
declare
    missing text;
    line text;
    unarchived text;
begin
    select string_agg(quote_ident(c), ', ') into missing from unnest(columns) c
     where not exists (
        select from pg_attribute where attrelid = '@table@'::regclass and attname = c and attnum > 0 and not attisdropped);
    if missing is not null then
        raise exception using errcode = 'UCG01', message = format(
            'the archive has columns that @table@ lacks by now (%s): what they held can''t be compared', missing);
    end if;
    select string_agg(format($cell$@cell@$cell$, c), $$ || ',' || $$ order by position) into line
      from unnest(columns) with ordinality named(c, position);
    -- A column that came later must be empty, for the archive does not have it.
    select coalesce(string_agg(format('t.%I is not null', attname), ' or '), 'false') into unarchived
      from pg_attribute
     where attrelid = '@table@'::regclass and attnum > 0 and not attisdropped and attname <> all (columns);
    execute format($query$
        with locked as materialized (
            select t.@id@ as id, %s as line, %s as unarchived, @instant@ as instant
              from @table@ t where t.@id@ >= lower($1) and t.@id@ < upper($1) and t.@id@::int8 <@ $1
               for update)
        select count(*), @digest@, max(coalesce(instant, 'infinity')), bool_or(unarchived) from locked
        $query$, line, unarchived)
       into row_count, digest, newest, unarchived using ids;
    if unarchived::boolean then
        raise exception using errcode = 'UCG01', message =
            '@table@ has a column that the archive lacks, and rows of the chunk have a value in it';
    end if;
end
$function$;

create or replace function @role@.record_archive(
    key text, ids int8multirange, row_count bigint, digest text, columns text[], sha256 text
) returns void language plpgsql security definer @settings@ as $function$
declare
    found record;
    known @role@.archive;
begin
    select * into known from @role@.archive a where a.key = record_archive.key;
    if known.key is not null then
        if (known.ids, known.row_count, known.digest, known.columns, known.sha256, known.deleted_at is null)
            is distinct from (ids, row_count, digest, columns, sha256, true)
        then
            raise exception using errcode = 'UCG01', message = format(
                'the chunk %s is recorded already, with other rows or as deleted', key);
        end if;
        return;
    end if;
    if exists (select from @role@.archive a where a.ids && record_archive.ids) then
        raise exception using errcode = 'UCG03', message = format(
            'the chunk %s has rows that another recorded chunk has, too', key);
    end if;
    select * into found from @role@.measure(ids, columns);
    if (found.row_count, found.digest) is distinct from (row_count, digest) then
        raise exception using errcode = 'UCG01', message = format(
            'the rows of the chunk %s are not those of @table@ (%s of %s rows are there, their digest is %s)',
            key, found.row_count, row_count, case when found.digest = digest then 'equal' else 'another' end);
    end if;
    insert into @role@.archive (key, ids, row_count, digest, columns, sha256)
    values (key, ids, row_count, digest, columns, sha256);
end
$function$;

create or replace function @role@.table_and_partitions() returns setof oid language sql @settings@ as $function$
    with recursive tables as (
        select '@table@'::regclass::oid as oid
         union select i.inhrelid from pg_inherits i join tables on i.inhparent = tables.oid)
    select oid from tables
$function$;

drop function if exists @role@.refuse_triggers();

-- Makes sure that no code but the trigger function's runs when rows are deleted, and nothing goes with them that no
-- archive has, from now to the transaction's end.
create or replace function @role@.refuse_side_effects() returns void language plpgsql @settings@ as $function$
declare
    planted record;
begin
    -- An older snapshot would not show a trigger that is there, and fires.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'UCG02', message =
            'the guard deletes only in a transaction that is READ COMMITTED';
    end if;
    -- Until the transaction's end nobody can make a trigger or a foreign key, nor enable one. Partitions are locked, too.
    lock table @table@ in row exclusive mode;
    select format('%I', t.tgname) as name, t.tgrelid::regclass as table into planted
      from pg_trigger t join @role@.table_and_partitions() tables(oid) on tables.oid = t.tgrelid
     -- 8: it fires when rows are deleted. A condition is code, too. Those of foreign keys are looked at below.
     where t.tgtype & 8 <> 0 and t.tgenabled <> 'D'
       and (t.tgfoid <> '@function@'::regprocedure or t.tgqual is not null)
       and not exists (select from pg_constraint k where k.oid = t.tgconstraint and k.contype = 'f')
     order by t.tgparentid, t.tgname limit 1;
    if planted.name is not null then
        raise exception using errcode = 'UCG02', message = format(
            'the trigger %s of %s would run code with the guard''s rights. Find out who made it, then remove it: '
            'drop trigger %1$s on %2$s', planted.name, planted.table);
    end if;
    select format('%I', k.conname) as name, k.conrelid::regclass as table into planted
      from pg_constraint k join @role@.table_and_partitions() tables(oid) on tables.oid = k.confrelid
     -- Neither NO ACTION nor RESTRICT: rows of the other table would be deleted, too, or lose what they refer to.
     where k.contype = 'f' and k.confdeltype not in ('a', 'r')
     order by k.conparentid, k.conname limit 1;
    if planted.name is not null then
        raise exception using errcode = 'UCG02', message = format(
            'by the foreign key %s of %s, rows would be deleted there or lose what they refer to, and no archive has '
            'them: make it one without ON DELETE', planted.name, planted.table);
    end if;
end
$function$;

-- Counts what this transaction has deleted or updated in the table so far.
create or replace function @role@.changed() returns bigint language sql @settings@ as $function$
    select sum(pg_stat_get_xact_tuples_deleted(oid) + pg_stat_get_xact_tuples_updated(oid))
      from @role@.table_and_partitions() tables(oid)
$function$;

create or replace function @role@.delete_archived(key text) returns bigint
language plpgsql security definer @settings@ as $function$
declare
    found record;
    known @role@.archive;
    before bigint;
    deleted bigint;
begin
    perform @role@.refuse_side_effects();
    select * into known from @role@.archive a where a.key = delete_archived.key and a.deleted_at is null for update;
    if known.key is null then
        raise exception using errcode = 'UCG02', message = format('no chunk %s is recorded for deletion', key);
    end if;
    select * into found from @role@.measure(known.ids, known.columns);
    if (found.row_count, found.digest) is distinct from (known.row_count, known.digest) then
        raise exception using errcode = 'UCG01', message = format(
            'the rows of the chunk %s are no longer those that were recorded', key);
    end if;
    if found.newest > statement_timestamp() - make_interval(days => @retention_days@) then
        raise exception using errcode = 'UCG02', message = format(
            'the chunk %s has rows that are younger than @retention_days@ days, which the guard never deletes', key);
    end if;
    before := @role@.changed();
    delete from @table@ t
     where t.@id@ >= lower(known.ids) and t.@id@ < upper(known.ids) and t.@id@::int8 <@ known.ids;
    get diagnostics deleted = row_count;
    if (deleted, @role@.changed() - before) is distinct from (known.row_count, known.row_count) then
        raise exception using errcode = 'UCG01', message = format(
            '%s rows of @table@ would have been deleted or changed, not %s: look which triggers and foreign keys it has, '
            'and that track_counts is on', greatest(deleted, @role@.changed() - before), known.row_count);
    end if;
    update @role@.archive a set deleted_at = now(), deleted_by = session_user where a.key = delete_archived.key;
    return deleted;
end
$function$;

-- Whoever could delete before can do so no longer, but for the one for whom this is. Reading the notes opens nothing,
-- and a backup needs it: that stays.
do $guard$
declare
    other text;
begin
    for other in
        select distinct case grantee when 0 then 'public' else grantee::regrole::text end
          from pg_catalog.pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
         where pronamespace = '@role@'::regnamespace and grantee <> proowner
    loop
        execute format('revoke all on all functions in schema @role@ from %s', other);
    end loop;
end
$guard$;
grant usage on schema @role@ to @grantee@;
grant select on @role@.archive to @grantee@;
do $guard$
declare
    -- A backup reads all tables, as their owner does.
    owner name := (select relowner::regrole from pg_catalog.pg_class where oid = '@table@'::regclass);
begin
    execute format('grant usage on schema @role@ to %I', owner);
    execute format('grant select on @role@.archive to %I', owner);
end
$guard$;
grant execute on function
    @role@.record_archive(text, int8multirange, bigint, text, text[], text), @role@.delete_archived(text)
    to @grantee@;

reset role;

do $guard$
declare
    body text := (select prosrc from pg_catalog.pg_proc where oid = '@function@'::regprocedure);
    guarded text := regexp_replace(body, '^(\s*begin\s)', '\1' || $clause$    @clause@$clause$ || chr(10), 'i');
    unprotected text;
begin
    if body !~* $pattern$@guarded_pattern@$pattern$ then
        if guarded !~* $pattern$@guarded_pattern@$pattern$ then
            raise exception 'the trigger function @function@ does not begin with RAISE EXCEPTION: it is left alone';
        end if;
        execute replace(pg_get_functiondef('@function@'::regprocedure), body, guarded);
    end if;
    if not exists (
        select from pg_catalog.pg_trigger where tgrelid = '@table@'::regclass and tgname = '@truncate_trigger@')
    then
        create trigger @truncate_trigger@ before truncate on @table@
            for each statement execute function @function@;
    end if;
    -- A trigger of the right name may be there and protect nothing: as the exporter looks at it (immutability.py).
    select string_agg(format('%s: %s', operation, coalesce(flaws, 'no trigger comes before it')), '; ') into unprotected
      from (values ('UPDATE', 16), ('DELETE', 8), ('TRUNCATE', 32)) operations(operation, bit)
     cross join lateral (
        select string_agg(format('%I %s', tgname, flaw), ', ') as flaws, bool_or(flaw is null) as protected
          from pg_catalog.pg_trigger t
         cross join lateral (select case
            when t.tgfoid <> '@function@'::regprocedure then 'executes another function'
            when t.tgenabled not in ('O', 'A') then 'is off'
            when t.tgqual is not null or t.tgattr <> ''::int2vector then 'is not for every row and column'
            end) looked(flaw)
         where t.tgrelid = '@table@'::regclass and not t.tgisinternal and t.tgtype & 2 <> 0 and t.tgtype & bit <> 0
     ) triggers
     where protected is distinct from true;
    if unprotected is not null then
        raise exception '@table@ is not protected from %. Turn its triggers on, by '
            '`alter table @table@ enable trigger ...`, or make those anew that are missing or differ from '
            '`create trigger ... before ... on @table@ ... execute function @function@`', unprotected;
    end if;
    execute format('revoke @role@ from %I', current_user);
end
$guard$;
