"""Login sessions: the refresh tokens that the application has handed out."""

from exporter.counting import CountSpec, known_labels
from exporter.metrics import Family
from exporter.schema import Schema

LOGIN_SESSIONS = Family(
    "unioncore_login_sessions",
    "Refresh tokens by state: live (can still be used), expired, revoked.",
    ("state",),
    example='unioncore_login_sessions{state="live"}',
)
STATES = ("live", "expired", "revoked")


def _statement(schema: Schema) -> str:
    expires, revoked = schema.need("sessions.expires", "sessions.revoked")
    live = f"{revoked} is not true and {expires} > {expires.moment('now')}"
    return f"""
    with counted as materialized (
      select count(*) filter (where {revoked}) as revoked, count(*) filter (where {live}) as live,
             count(*) as total,
             array_agg({expires.instant()})
               filter (where {live} and {expires} <= {expires.moment("horizon")}) as expiring
        from refresh_tokens)
    select '{LOGIN_SESSIONS.name}', v.state, null::text, v.value::float8, null::timestamptz
      from counted cross join lateral
           (values ('live', live), ('revoked', revoked), ('expired', total - live - revoked)) v(state, value)
    union all
    select '{LOGIN_SESSIONS.name}', v.state, null, v.delta, at from counted cross join lateral unnest(expiring) at
     cross join (values ('live', -1), ('expired', 1)) v(state, delta)
    """


SPEC = CountSpec(
    "sessions",
    (LOGIN_SESSIONS,),
    ("refresh_tokens",),
    _statement,
    lambda _: known_labels(LOGIN_SESSIONS, STATES),
)
