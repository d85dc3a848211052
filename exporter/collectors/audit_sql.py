"""The statements that read audit_logs (see `exporter.collectors.audit`)."""

from exporter.metrics import Family
from exporter.schema import Schema

WINDOWS = ("today", "7d")
# Bisection stops at so many ids: counting them costs about a millisecond, and a table that is no larger is
# counted whole, without relying on any order.
SPAN = 10_000
# How many rows at each end of the table are asked for the newest and the oldest event.
ENDS = 10_000
# So many rows, evenly spread and ever denser towards the window, must be in the order of time for bisection to be
# believed. Of those that are spread, one or more in as many ids as the window has, within limits: each costs some
# microseconds, once per survey, and a window that looks small may be what is left of one that is hidden.
LEAST_SPREAD, MOST_SPREAD, DENSE = 512, 4096, 128
# The highest id that a sequence gives. A range with two ends is a narrow one to the planner, which does not know how
# few rows lie above an id: with one end it would read a third of the table, and so all of it.
HIGHEST = 2**63 - 1

# What the collector keeps for itself; no family has these names.
SEEN = "seen"  # a, b: table, action; value: new events
TOP = "top"  # the highest new id
FILLED = "filled"  # an id in a gap that has become visible
GAP = "gap"  # value: first, a: last id that is not visible; at: the time of the row above it
NEXT = "next"  # the number that the next transaction to write will get
NEWEST = "newest"
OLDEST = "oldest"
SURVEYED = "surveyed"


def _fresh(schema: Schema) -> str:
    identity, time, table, action = schema.need("audit.id", "audit.time", "audit.table", "audit.action")
    columns = f"{identity} as id, {time.instant()} as at, {table}::text as tab, {action}::text as act"
    return f"""
    fresh as materialized (
      select {columns} from audit_logs
       where {identity} between cast(:top as bigint) + 1 and {HIGHEST}
      union all
      select {columns} from unnest(cast(:firsts as bigint[]), cast(:lasts as bigint[])) gap(first, last)
        join audit_logs on {identity} between gap.first and gap.last)"""


def _counted(source: str) -> str:
    """Return the CTE `counted`: one pass over a source with the event times in `at`."""
    counts = ", ".join(
        f"""count(*) filter (where at >= cast(:start_{window} as timestamptz)
                               and at <= cast(:now as timestamptz)) as "{window}\""""
        for window in WINDOWS
    )
    return f"""
    counted as materialized (
      select {counts}, max(at) filter (where at <= cast(:now as timestamptz)) as newest,
             min(at) filter (where isfinite(at)) as oldest,
             array_agg(at) filter (where at > cast(:now as timestamptz)
                                     and at <= cast(:horizon as timestamptz)) as coming
        from {source})"""


def _windows(family: Family) -> str:
    counts = ", ".join(f"""('{window}', "{window}")""" for window in WINDOWS)
    return f"""
    select '{family.name}', v.label, null::text, v.value::float8, null::timestamptz
      from counted cross join lateral (values {counts}) v(label, value)
    union all
    select '{family.name}', v.label, null, 1, at from counted cross join lateral unnest(coming) at
     cross join (values {", ".join(f"('{window}')" for window in WINDOWS)}) v(label)"""


def _gaps(ids: str, below: str) -> str:
    """Tell where ids are missing.

    Args:
        ids: The source of the ids that are there, in their order: nothing need be sorted.
        below: From which id on, exclusive; null: from the lowest.
    """
    # A time far from any calendar must not spoil the answer, and tells nothing of when the ids were taken.
    return f"""
    select '{GAP}', (id - 1)::text, null, before + 1,
           greatest(least(at, cast(:now as timestamptz)), cast(:now as timestamptz) - interval '1 day')
      from (select id, at, lag(id, 1, {below}) over (order by id) as before from {ids}) ids
     where id > before + 1"""


def _news() -> str:
    """What both statements tell of the ids: what is new, what filled a gap, where the new ids have gaps."""
    return f"""
    select '{SEEN}', tab, act, count(*)::float8, null::timestamptz from fresh group by tab, act
    union all select '{FILLED}', null, null, id, null from fresh where id <= cast(:top as bigint)
    union all {_gaps("(select id, at from fresh where id > cast(:top as bigint)) new_ids", "cast(:top as bigint)")}
    union all select '{NEXT}', null, null, seen::text::bigint + age(seen::xid), null
      from pg_snapshot_xmax(pg_current_snapshot()) seen"""


def follow(schema: Schema, events: Family) -> str:
    """Return the statement that reads what is new: ids above :top, and in the gaps below it."""
    return f"""
    with {_fresh(schema)}, {_counted("fresh")}
    {_news()}
    union all select '{TOP}', null, null, max(id), null from fresh
    union all select '{NEWEST}', null, null, extract(epoch from newest), null from counted
    union all select '{OLDEST}', null, null, extract(epoch from oldest), null from counted
    union all {_windows(events)}"""


def survey(schema: Schema, events: Family) -> str:
    """Return the statement that counts the windows by bisection.

    The first of all has :top null; it tells of all gaps, as does one that finds the highest id lower than that.

    The recursion keeps: the row at `low` is older than the target, or the first of all; every row from
    `high` on is younger, as far as ids are in the order of time but for the margin. An import of old events is not in
    that order, and would hide what was there before it, and meanwhile: where any of many probes below `low` is older
    than one before it, all rows between it and its neighbours are looked at, and if one of them is in the window, the
    whole table is counted.
    """
    identity, time = schema.need("audit.id", "audit.time")
    target = """(cast(:start_7d as timestamptz) - cast(:margin as interval))"""
    rows = f"select {identity} as id, {time.instant()} as at from audit_logs"
    anew = "cast(:top as bigint) is null or (select max(high) from search) < cast(:top as bigint)"
    region_ids = f"(select id, at from region where {anew}) region_ids"
    # Where the region is the whole table, its gaps begin at 1; else nothing is known of what is below it.
    below = "(select case when low = first then 0 end from trusted)"
    return f"""
    with recursive {_fresh(schema)},
    search(low, high) as (
      select min({identity})::bigint, max({identity})::bigint from audit_logs
      union all
      select case when probe.at < {target} then probe.id else halves.low end,
             case when probe.at < {target} then halves.high else halves.middle end
        from (select low, high, (low + high) / 2 as middle from search where high - low > {SPAN}) halves
       cross join lateral ({rows} where {identity} >= halves.middle order by {identity} limit 1) probe),
    found(first, low, spread) as materialized (
      select min(low), max(low), greatest({LEAST_SPREAD}, least({MOST_SPREAD},
             (max(low) - min(low)) / greatest(max(high) - max(low), 1)))::int
        from search),
    probes as materialized (
      select distinct row.id, row.at
        from found
       cross join lateral (
         select low from search union all select high from search
         union all select found.low - ((found.low - first) * (step / spread::numeric))::bigint
           from generate_series(0, spread) step
         union all select found.low - least(power((found.low - first)::float8, step / {DENSE}.0), 9e18)::bigint
           from generate_series(0, {DENSE}) step) probe(id)
       cross join lateral ({rows} where {identity} <= least(probe.id, found.low) order by {identity} desc limit 1) row
       where found.low > first),
    ordered as (
      select id, at, lag(id) over (order by id) as previous,
             max(at) over (order by id rows between unbounded preceding and 1 preceding)
               - cast(:margin as interval) > at as behind
        from probes where at <= cast(:now as timestamptz)),
    doubtful(first, last) as materialized (
      select previous, id
        from (select previous, id, behind, lag(behind) over (order by id) as was_behind from ordered) ordered
       where behind or was_behind),
    amid(hidden, oldest) as materialized (
      select bool_or(stretch.hidden), min(stretch.oldest)
        from doubtful
       cross join lateral (
         select bool_or(at >= {target} and at <= cast(:now as timestamptz)) as hidden,
                min(at) filter (where isfinite(at)) as oldest
           from ({rows} where {identity} between doubtful.first and doubtful.last) r) stretch),
    trusted(first, low) as materialized (
      select first, case when (select hidden from amid) then first else low end
        from found),
    region as not materialized (
      select {identity} as id, {time.instant()} as at, {schema.columns["audit.table"]}::text as tab,
             {schema.columns["audit.action"]}::text as act
        from audit_logs where {identity} >= (select low from trusted)),
    {_counted("region")}
    {_news()}
    union all {_gaps(region_ids, below)}
    union all select '{SURVEYED}', null, null, 1, null
    union all select distinct '{SEEN}', tab, act, 0, null::timestamptz
      from region where cast(:top as bigint) is null
    union all select '{TOP}', null, null, max(high), null from search
    union all select '{NEWEST}', null, null, extract(epoch from max(at)), null
      from (select newest as at from counted
            union all (select at from ({rows} order by {identity} desc limit {ENDS}) l
                        where at <= cast(:now as timestamptz))) n
    union all select '{OLDEST}', null, null, extract(epoch from min(at)), null
      from (select oldest as at from counted
            union all select oldest from amid
            union all (select at from ({rows} order by {identity} limit {ENDS}) f where isfinite(at))) o
    union all {_windows(events)}"""
