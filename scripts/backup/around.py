"""What a database has that is in no dump of it: the roles that its objects name, its own settings and grants.

`pg_dump` writes settings and grants of the database itself only with --create, which also settles the database's name;
roles are of the whole server (PostgreSQL's documentation of pg_dump, "Notes"). A restore without the setting of a time
zone would shift every time that is written from then on.
"""

import re
from collections.abc import Collection, Iterator, Sequence
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


def _in_dumped(schema: str) -> str:
    # Temporary tables, and the schemas that PostgreSQL makes for them in the name of that role, are in no dump.
    return f"exists (select from pg_namespace n where n.oid = {schema} and n.nspname !~ '^pg_')"


_OWNED = {
    "pg_namespace": ("nspowner", "nspacl", _in_dumped("o.oid")),
    "pg_class": ("relowner", "relacl", _in_dumped("relnamespace")),
    "pg_proc": ("proowner", "proacl", _in_dumped("pronamespace")),
    "pg_type": ("typowner", "typacl", _in_dumped("typnamespace")),
    "pg_largeobject_metadata": ("lomowner", "lomacl", "true"),
    "pg_default_acl": ("defaclrole", "defaclacl", "true"),
    "pg_foreign_server": ("srvowner", "srvacl", "true"),
    "pg_event_trigger": ("evtowner", "null::aclitem[]", "true"),
    "pg_publication": ("pubowner", "null::aclitem[]", "true"),
    "pg_statistic_ext": ("stxowner", "null::aclitem[]", _in_dumped("stxnamespace")),
}


def _names_first(acl: str) -> str:
    return f"exists (select from aclexplode({acl}) a where {_FIRST} in (a.grantor, a.grantee))"


_NAMED = " union all ".join(
    f"select {_FIRST} from {catalog} o where {_MADE_LATER} and {own(catalog, 'o')} and {dumped}"
    f" and ({owner} = {_FIRST} or {_names_first(acl)})"
    for catalog, (owner, acl, dumped) in _OWNED.items()
)
_POLICIES = "select unnest(polroles) from pg_policy"
_DATABASE = "(select * from pg_database where datname = current_database())"
# An object is in a schema, or of an extension, by pg_depend, whatever catalog has it. Grants on what an extension made
# are dumped, its owner is not.
_DEPENDENT = f"""
select s.refobjid from pg_shdepend s join {_DATABASE} d on d.oid = s.dbid
 where s.refclassid = 'pg_authid'::regclass
   and s.classid not in ('pg_database'::regclass, 'pg_extension'::regclass)
   and not exists (select from pg_depend e
                    where e.classid = s.classid and e.objid = s.objid
                      and (e.deptype = 'e' and s.deptype = 'o'
                           or e.refclassid = 'pg_namespace'::regclass and not {_in_dumped("e.refobjid")}))
"""
ROLES = f"""
select rolname::text as name, oid in ({_POLICIES}) as in_policy
  from pg_roles
 where oid in ({_DEPENDENT}
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


async def missing_roles(connection: "Connection[Record]", roles: Collection[str]) -> list[str]:
    """Return those of some roles that a server does not have."""
    found = await connection.fetch(
        "select role from unnest($1::text[]) wanted(role) where not exists (select from pg_roles where rolname = role)",
        list(roles),
    )
    return [role for (role,) in found]


async def read_around(connection: "Connection[Record]") -> Around:
    """Read the settings and grants of the database that a connection is to."""
    settings, grants = await connection.fetch(SETTINGS), await connection.fetch(GRANTS)
    return Around(
        [(row["role"], row["name"], row["value"]) for row in settings],
        [(row["grantee"], row["privilege"], row["grantable"]) for row in grants],
    )


# GUC_LIST_QUOTE in guc_tables.c: lists of names, each of which SET wants as a text of its own. pg_dump has the same
# ones (variable_is_guc_list_quote), for an extension can't add to them.
_LISTS_OF_NAMES = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_NAME_IN_LIST = re.compile(r'"(?:[^"]|"")*"|[^\s,"]+')


class Missing(NamedTuple):
    """What a database had, and has not now.

    Attributes:
        sql: The statement that gives it back.
        secret: The part of it that is in no log or message, if any: an extension's or the application's own setting may
            be a password.
        above_owners: Whether only a superuser may run that, or whom one has allowed to. The database's owner can't have
            set it: it is a matter of the old server, its logging for example.
    """

    sql: str
    secret: str = ""
    above_owners: bool = False

    @property
    def told(self) -> str:
        """As much of the statement as a log or a message may have."""
        return self.sql.replace(self.secret, "… (its value is in the manifest)") if self.secret else self.sql


async def missing(connection: "Connection[Record]", contents: "Contents", *, owners: bool) -> list[Missing]:
    """Return what gives a database what it had when it was backed up, and has not now.

    Args:
        connection: To the database.
        contents: What was backed up.
        owners: Whether roles are as they were: their settings and grants are told of, too.
    """
    now = await read_around(connection)
    database = quoted(await connection.fetchval("select current_database()"))
    for_owners = await connection.fetchval("select array_agg(name) from pg_settings where context !~ '^superuser'")
    settings = _settings(contents, now, database, owners=owners, for_owners=for_owners)
    return [*settings, *(_grants(contents, now, database) if owners else ())]


def _parts(name: str, value: str) -> list[str]:
    """Return the texts that SET wants for what pg_db_role_setting has as one."""
    if name not in _LISTS_OF_NAMES:
        return [value]
    return [
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _NAME_IN_LIST.findall(value)
    ] or [""]


def _settings(
    contents: "Contents", now: Around, database: str, *, owners: bool, for_owners: Sequence[str]
) -> Iterator[Missing]:
    there = {(role, name): _parts(name, value) for role, name, value in now.settings}
    for role, name, value in contents.settings:
        parts = _parts(name, value)
        if there.get((role, name)) == parts or (role and not owners):
            continue
        whose = f"role {quoted(role)} in database {database}" if role else f"database {database}"
        own_name = "." in name
        texts = ", ".join(map(literal, parts))
        # What an ordinary role is not shown, it may not set. A name with a dot is not there before it is set: whether
        # the application needs it, only its operator knows.
        yield Missing(
            f"alter {whose} set {'.'.join(map(quoted, name.split('.')))} to {texts}",
            texts if own_name else "",
            name not in for_owners and not own_name,
        )


def _grants(contents: "Contents", now: Around, database: str) -> Iterator[Missing]:
    if contents.grants is None:
        return
    for grantee, privilege, grantable in contents.grants:
        if (grantee, privilege, grantable) not in now.grants:
            whom = quoted(grantee) if grantee else "public"
            option = " with grant option" if grantable else ""
            yield Missing(f"grant {privilege} on database {database} to {whom}{option}")
    kept = {grant[:2] for grant in contents.grants}
    for grantee, privilege, _ in now.grants:
        if not grantee and (grantee, privilege) not in kept:
            yield Missing(f"revoke {privilege} on database {database} from public")
