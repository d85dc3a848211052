-- Removes the guard of the audit log: the trigger function is what it was before, and nothing can be deleted any more.
-- `unioncore-ops archive remove-guard` fills in what stands between @ signs, and runs this in a transaction as the one
-- who has installed it. What was noted of deleted chunks goes, too; the archive's manifests stay.

do $guard$
declare
    body text := (select prosrc from pg_catalog.pg_proc where oid = '@function@'::regprocedure);
    free text := replace(body, $clause$    @clause@$clause$ || chr(10), '');
begin
    if free ~* $pattern$@guarded_pattern@$pattern$ then
        raise exception 'the text of @function@ was changed since: take out of it what lets @role@ pass, by '
            '`create or replace function`, then remove the guard again';
    end if;
    if free <> body then
        execute replace(pg_get_functiondef('@function@'::regprocedure), body, free);
    end if;
    drop trigger if exists @truncate_trigger@ on @table@;
    if not exists (select from pg_catalog.pg_roles where rolname = '@role@') then
        return;
    end if;
    execute format('grant @role@ to %I', current_user);
    drop schema if exists @role@ cascade;
    execute format('revoke @role@ from %I', current_user);
    revoke all on @table@ from @role@;
    execute format('revoke all on schema %s from @role@', (
        select relnamespace::regnamespace from pg_catalog.pg_class where oid = '@table@'::regclass));
    begin
        drop role @role@;
    exception when dependent_objects_still_exist then
        raise notice 'the role @role@ stays: it guards another database of this server, too';
    end;
end
$guard$;
