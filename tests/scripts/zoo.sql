-- A little of everything that a database can hold, in ways that versions word or store differently.
create schema "Odd names";
create extension if not exists citext;
create type color as enum ('red', 'GREEN', 'a "quoted" one', '');
create type pair as (one integer, two text);
create type span as range (subtype = float8);
create domain positive as integer default 1 not null check (value > 0);
create sequence counter as smallint increment by -3 minvalue -300 maxvalue 300 start 30 cycle;
select nextval('counter'), nextval('counter');
create sequence untouched start 7;

create table everything (
    dropped text,
    id bigint generated always as identity primary key,
    small smallint not null default nextval('counter'),
    whole positive,
    exact numeric,
    exact2 numeric(10, 2),
    single real,
    double double precision,
    cash money,
    yes boolean,
    fixed char(5),
    short varchar(20) collate "C",
    long text,
    tag citext,
    bytes bytea,
    day date,
    moment timestamp,
    moment_tz timestamptz,
    clock time,
    clock_tz timetz,
    duration interval,
    plain json,
    binary_json jsonb,
    numbers integer[],
    words text[],
    hue color,
    hues color[],
    couple pair,
    reach span,
    days daterange,
    period tstzrange,
    net inet,
    hardware macaddr,
    flags bit varying,
    words_found tsvector,
    query tsquery,
    spot point,
    shape polygon,
    uid uuid,
    xid xid8,
    place pg_lsn,
    "Mixed Case" integer,
    computed text generated always as (lower(long) || coalesce(short, '')) stored,
    constraint sane check (double is null or double <> 3 or whole > 2) not valid,
    constraint no_overlap exclude using gist (days with &&)
);
alter table everything drop column dropped;
alter table everything add column late text default 'added later';
insert into everything (whole, exact, exact2, single, double, cash, yes, fixed, short, long, tag, bytes, day, moment,
    moment_tz, clock, clock_tz, duration, plain, binary_json, numbers, words, hue, hues, couple, reach, days, period, net,
    hardware, flags, words_found, query, spot, shape, uid, xid, place, "Mixed Case")
values
    (3, 1.10, 2.5, 0.1, 1e-310, 1234.5, true, 'ab', 'ünï', E'tab\tline\nquote"back\\slash', 'Tag', '\x00ff', '2026-02-28',
     '2026-02-28 23:59:59.999999', '2026-03-08 02:30:00 America/Los_Angeles', '24:00', '12:00+05:30',
     '1 year -2 days 03:04:05.678', '{"b":1,  "a":[1.10]}', '{"b":1,"a":[1.10, null, "\u00fc"]}', '{1,null,3}',
     '{"a b",NULL,"NULL",""}', 'GREEN', '{red,"a \"quoted\" one"}', '(1,"x,y")', '[1.5,2.5)', '[2026-01-01,2026-02-01)',
     '[2026-01-01 00:00+00,)', '10.0.0.1/8', '08:00:2b:01:02:03', '10101', 'fat:2 cat:1', 'fat & cat', '(1,2)',
     '((0,0),(1,1),(1,0))', '00000000-0000-0000-0000-000000000001', '12345678901', '16/B374D848', 7),
    (1, 'NaN', 0, '-0', '-0', -0.01, false, '', '', '', '', '', 'infinity', '-infinity', 'infinity', '00:00', '00:00-12',
     '0', '[]', '{}', '{}', '{}', '', '{}', '(,)', 'empty', 'empty', 'empty', '::1', null, '', '', '', '(0,-0)', null,
     null, null, null, null),
    (5, null, null, 'NaN', 'Infinity', null, null, 'NULL', 'NULL', 'NULL', null, null, null, null, null, null, null,
     null, 'null', 'null', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null, null);
create table "Odd names"."A ""quoted"" table" ("a, b" text, "NULL" text);
insert into "Odd names"."A ""quoted"" table" values ('a', null), (null, 'a'), ('', ''), ('a', null);
create table no_columns ();
insert into no_columns default values;
insert into no_columns default values;
create unlogged table unlogged_one (id integer);
create table parent (id integer primary key, note text);
create table child (extra text) inherits (parent);
insert into parent values (1, 'parent');
insert into child values (2, 'child', 'more');
create table parted (id integer, day date not null, hue color, primary key (id, day)) partition by range (day);
create table parted_2025 partition of parted for values from ('2025-01-01') to ('2026-01-01');
create table parted_rest partition of parted default;
create index parted_hue on parted (hue);
insert into parted values (1, '2025-05-05', 'red'), (2, '2026-05-05', 'GREEN');
create table referring (
    id integer primary key references parent on delete cascade deferrable initially deferred,
    hue color unique nulls not distinct
);
insert into referring values (1, 'red');

create unique index by_lower on everything (lower(long), double desc nulls last) include (short) where id > 0;
create index by_words on everything using gin (words) with (fastupdate = off);
alter table everything replica identity using index everything_pkey;
alter table everything set (fillfactor = 80, autovacuum_enabled = off);
create statistics correlated on day, hue from parted;
create view seen as select e.id, e.long, p.note from everything e left join parent p using (id) where e.id in (1, 2, 3);
create view seen_simple with (security_barrier) as select id, long as text from everything where hue = 'red';
create materialized view kept as select count(*) as n, max(day) as last from everything;
create unique index on kept (n);
create rule quiet as on delete to child where old.id = 2 do instead nothing;
create function plain(a integer, b text default 'x') returns text language plpgsql immutable strict as $$
begin
    return a || b;
end $$;
create function modern(a integer) returns integer language sql begin atomic select a + 1; end;
create procedure act() language sql as 'select 1';
create aggregate added (integer) (sfunc = int4pl, stype = integer, initcond = '0');
create function touch() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin return new; end $$;
create trigger on_change before insert or update of long on everything
    for each row when (new.long is not null) execute function touch();
create trigger replica_only after delete on parent for each statement execute function touch();
alter table parent enable replica trigger replica_only;
create trigger off after insert on parent for each row execute function touch();
alter table parent disable trigger off;
alter table child enable row level security;
create policy own_rows on child for select using (id = 1);
-- PostgreSQL words these in another way once they have been restored.
create domain state as varchar(10) check (value in ('open', 'closed'));
create table listed (
    id integer primary key,
    status varchar(20) not null default 'a' check (status in ('a', 'it''s ] (', 'c')),
    of_kind text generated always as (case when status not in ('a', 'b') then 'x' else 'y' end) stored,
    check (status = any (array[null, 'a', 'b']::varchar[]) or id in (1, 2))
);
insert into listed values (1), (2);
create index some_listed on listed (id, (status in ('a', 'b'))) where status not in ('d', 'e');
create view listed_some as select id, status in ('a', 'b') as is_some from listed where status in ('a', 'c');
alter table listed enable row level security;
create statistics of_listed on (status in ('a', 'it''s ] (')), (status || 'x' in ('b')), id from listed;
create policy some_rows on listed using (status in ('a', 'b')) with check (status not in ('c', 'd'));
create rule also as on insert to listed where new.status in ('c', 'd') do also select 1;
create trigger listed_only before update on listed for each row when (new.status in ('a', 'b')) execute function touch();
create function number_listed() returns bigint language sql begin atomic
    select count(*) from listed where status in ('a', 'b');
end;
comment on table everything is 'It''s all here';
create function on_ddl() returns event_trigger language plpgsql as 'begin end';
create event trigger watch on ddl_command_end when tag in ('DROP TABLE') execute function on_ddl();
