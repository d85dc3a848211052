"""User accounts and logins."""

from collections.abc import Iterator

from exporter.counting import CountSpec, Key, known_labels
from exporter.metrics import Family
from exporter.schema import Schema
from exporter.windows import DAYS

USERS = Family(
    "unioncore_users",
    "User accounts by state, each in one; the sum is the total. "
    "locked: active, but barred until locked_until; inactive: deactivated, locked or not.",
    ("state",),
    example="sum(unioncore_users)",
)
USERS_ACTIVE = Family(
    "unioncore_users_active",
    "Users who logged in within the window; today is the local's calendar day.",
    ("window",),
    example='unioncore_users_active{window="today"}',
)


def _statement(schema: Schema) -> str:
    active, locked, login = schema.need("users.active", "users.locked_until", "users.last_login")
    alive = schema.alive("users")
    barred = f"{active} and {locked} > {locked.moment('now')}"
    came = " ".join(
        f"""count(*) filter (where {login} >= {login.moment(f"start_{window}")}
                                 and {login} <= {login.moment("now")}) as came_{window},"""
        for window in DAYS
    )
    return f"""
    with counted as materialized (
      select count(*) filter (where {active} is not true) as inactive,
             count(*) filter (where {barred}) as locked,
             count(*) as total, {came}
             array_agg({locked.instant()})
               filter (where {barred} and {locked} <= {locked.moment("horizon")}) as unlocking,
             array_agg({login.instant()})
               filter (where {login} > {login.moment("now")} and {login} <= {login.moment("horizon")}) as coming
        from users where {alive})
    select v.metric, v.label, null::text, v.value::float8, null::timestamptz
      from counted cross join lateral (values
        ('{USERS.name}', 'inactive', inactive), ('{USERS.name}', 'locked', locked),
        ('{USERS.name}', 'active', total - inactive - locked),
        {", ".join(f"('{USERS_ACTIVE.name}', '{window}', came_{window})" for window in DAYS)}
      ) v(metric, label, value)
    union all
    select '{USERS.name}', v.label, null, v.delta, at from counted cross join lateral unnest(unlocking) at
     cross join (values ('locked', -1), ('active', 1)) v(label, delta)
    union all
    select '{USERS_ACTIVE.name}', v.label, null, 1, at from counted cross join lateral unnest(coming) at
     cross join (values {", ".join(f"('{window}')" for window in DAYS)}) v(label)
    """


def _known(_: Schema) -> Iterator[Key]:
    yield from known_labels(USERS, ("active", "inactive", "locked"))
    yield from known_labels(USERS_ACTIVE, DAYS)


SPEC = CountSpec("users", (USERS, USERS_ACTIVE), ("users",), _statement, _known)
