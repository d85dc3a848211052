"""What a database has that is in no dump of it: the roles that its objects name, its own settings and grants.

`pg_dump` writes settings and grants of the database itself only with --create, which also settles the database's name;
roles are of the whole server (PostgreSQL's documentation of pg_dump, "Notes"). A restore without the setting of a time
zone would shift every time that is written from then on.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from exporter.schema import literal, quoted
from scripts.backup.catalog import own

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    from scripts.backup.contents import Contents

# The role that initdb makes is in no pg_shdepend, for it can't be dropped: BOOTSTRAP_SUPERUSERID, pg_authid.dat.
_FIRST = 10
# What initdb makes has lower ones, but for the schema public: FirstNormalObjectId, access/transam.h.
_MADE_LATER = "(o.oid >= 16384 or o.oid = 2200)"
_OWNED = {
    "pg_namespace": ("nspowner", "nspacl"),
    "pg_class": ("relowner", "relacl"),
    "pg_proc": ("proowner", "proacl"),
    "pg_type": ("typowner", "typacl"),
    "pg_largeobject_metadata": ("lomowner", "lomacl"),
    "pg_default_acl": ("defaclrole", "defaclacl"),
    "pg_foreign_server": ("srvowner", "srvacl"),
    "pg_event_trigger": ("evtowner", "null::aclitem[]"),
    "pg_publication": ("pubowner", "null::aclitem[]"),
    "pg_statistic_ext": ("stxowner", "null::aclitem[]"),
}


def _names_first(acl: str) -> str:
    return f"exists (select from aclexplode({acl}) a where {_FIRST} in (a.grantor, a.grantee))"


_NAMED = " union all ".join(
    f"select {_FIRST} from {catalog} o where {_MADE_LATER} and {own(catalog, 'o')}"
    f" and ({owner} = {_FIRST} or {_names_first(acl)})"
    for catalog, (owner, acl) in _OWNED.items()
)
_POLICIES = "select unnest(polroles) from pg_policy"
_DATABASE = "(select * from pg_database where datname = current_database())"
ROLES = f"""
select rolname::text as name, oid in ({_POLICIES}) as in_policy
  from pg_roles
 where oid in (select s.refobjid from pg_shdepend s join {_DATABASE} d on d.oid = s.dbid
                where s.refclassid = 'pg_authid'::regclass and s.classid <> 'pg_database'::regclass
               union all {_POLICIES}
               union all {_NAMED}
               union all select {_FIRST} from pg_attribute where attrelid >= 16384 and {_names_first("attacl")}
               union all select s.setrole from pg_db_role_setting s join {_DATABASE} d on d.oid = s.setdatabase
               union all select a.grantee from {_DATABASE} d cross join aclexplode(d.datacl) a
                          where a.grantee <> d.datdba)
 order by 1
"""
SETTINGS = f"""
select coalesce(r.rolname, '')::text as role, split_part(c.setting, '=', 1) as name,
       substr(c.setting, strpos(c.setting, '=') + 1) as value
  from pg_db_role_setting s
  join {_DATABASE} d on d.oid = s.setdatabase
  left join pg_roles r on r.oid = s.setrole
 cross join unnest(s.setconfig) c(setting)
 where s.setrole = 0 or r.oid is not null
 order by 1, 2
"""
GRANTS = f"""
select coalesce(r.rolname, '')::text as grantee, a.privilege_type as privilege, a.is_grantable as grantable
  from {_DATABASE} d
 cross join aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
  left join pg_roles r on r.oid = a.grantee
 where a.grantee <> d.datdba and (a.grantee = 0 or r.oid is not null)
 order by 1, 2
"""


class Around(NamedTuple):
    """The settings and grants of a database, as `scripts.backup.contents.Contents` has them."""

    settings: list[tuple[str, str, str]]
    grants: list[tuple[str, str, bool]]


async def read_around(connection: "Connection[Record]") -> Around:
    """Read the settings and grants of the database that a connection is to."""
    settings, grants = await connection.fetch(SETTINGS), await connection.fetch(GRANTS)
    return Around(
        [(row["role"], row["name"], row["value"]) for row in settings],
        [(row["grantee"], row["privilege"], row["grantable"]) for row in grants],
    )


class Missing(NamedTuple):
    """What a database had, and has not now.

    Attributes:
        sql: Gives it back: one or more statements, a transaction.
        told: As much of that as a log or a message may have: an extension's or the application's own setting may be a
            secret.
        above_owners: Whether only a superuser may run that, or whom one has allowed to. The database's owner can't have
            set it: it is a matter of the old server, its logging for example.
    """

    sql: str
    told: str
    above_owners: bool = False


async def missing(connection: "Connection[Record]", contents: "Contents", *, owners: bool) -> Iterator[Missing]:
    """Return what gives a database what it had when it was backed up, and has not now.

    Args:
        connection: To the database.
        contents: What was backed up.
        owners: Whether roles are as they were: their settings and grants are told of, too.
    """
    now = await read_around(connection)
    database = quoted(await connection.fetchval("select current_database()"))
    servers = await connection.fetchval("select array_agg(name) from pg_settings where context ~ '^superuser'")
    return _statements(contents, now, database, owners=owners, servers=servers)


def _statements(
    contents: "Contents", now: Around, database: str, *, owners: bool, servers: Sequence[str]
) -> Iterator[Missing]:
    for role, name, value in contents.settings:
        if (role, name, value) not in now.settings and (owners or not role):
            whose = f"role {quoted(role)} in database {database}" if role else f"database {database}"
            parameter = ".".join(map(quoted, name.split(".")))
            # As text it may be a list; only PostgreSQL knows which are.
            sql = (
                f"begin; select set_config({literal(name)}, {literal(value)}, true);"
                f" alter {whose} set {parameter} from current; commit"
            )
            told = f"alter {whose} set {parameter} to … (its value is in the manifest)" if "." in name else sql
            yield Missing(sql, told, name in servers)
    if contents.grants is None or not owners:
        return
    for grantee, privilege, grantable in contents.grants:
        if (grantee, privilege, grantable) not in now.grants:
            whom = quoted(grantee) if grantee else "public"
            option = " with grant option" if grantable else ""
            sql = f"grant {privilege} on database {database} to {whom}{option}"
            yield Missing(sql, sql)
    kept = {grant[:2] for grant in contents.grants}
    for grantee, privilege, _ in now.grants:
        if not grantee and (grantee, privilege) not in kept:
            sql = f"revoke {privilege} on database {database} from public"
            yield Missing(sql, sql)
