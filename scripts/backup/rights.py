"""The question whose all that is in a database, and who else may do what with it.

A restore that may not grant something is told so by a warning alone (PostgreSQL's GRANT, "Notes"), which pg_restore
does not pass on; and new objects have what the default privileges of their place give. So it is compared.
"""

import re
from itertools import combinations

from scripts.backup.catalog import NAMESPACE, RELATION, own
from scripts.backup.definitions import same

OWNED = "rights"
"""The kind of these objects; a restore brings it back only with the owners."""

_RELATION_KIND = "case c.relkind when 'S' then 's' else 'r' end::\"char\""
# Whose the schema public is, a platform may have chosen.
_SCHEMA_OWNER = "case when n.nspname <> 'public' then n.nspowner::regrole::text end"


def _rights(owner: str, acl: str, kind: str, *, whose: str = "") -> str:
    """Return the expression of whose an object is, and who else may do what with it.

    MAINTAIN came with 17, and is given to whom a dump of before grants all.

    Args:
        owner: The column with its owner.
        acl: The column with its privileges; NULL stands for those that its kind has by itself.
        kind: What acldefault calls that, as an expression.
        whose: Said in place of the owner.
    """
    return f"""
           concat_ws(': ', {whose or f"{owner}::regrole::text"}, (
             select string_agg(concat(coalesce(quote_ident(r.rolname), 'public'), ' ', lower(a.privilege_type),
                                      case when a.is_grantable then ' with grant option' end),
                               ', ' order by r.rolname nulls first, a.privilege_type)
               from aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) a
               left join pg_roles r on r.oid = a.grantee
              where a.grantee <> {owner} and a.privilege_type <> 'MAINTAIN'
                and r.rolname is distinct from 'pg_database_owner'))"""


_PARTS = (
    f"""
    select quote_ident(n.nspname), {_rights("n.nspowner", "n.nspacl", "'n'", whose=_SCHEMA_OWNER)}
      from pg_namespace n where {NAMESPACE} and {own("pg_namespace", "n")}
    """,
    f"""
    select format('%I.%I', n.nspname, c.relname), {_rights("c.relowner", "c.relacl", _RELATION_KIND)}
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f', 'm', 'v', 'S') and {RELATION}
    """,
    f"""
    select format('%I.%I.%I', n.nspname, c.relname, a.attname), {_rights("c.relowner", "a.attacl", "'c'")}
      from pg_attribute a
      join pg_class c on c.oid = a.attrelid
      join pg_namespace n on n.oid = c.relnamespace
     where a.attacl is not null and a.attnum > 0 and not a.attisdropped and {RELATION}
    """,
    f"""
    select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           {_rights("p.proowner", "p.proacl", "'f'")}
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where {NAMESPACE} and {own("pg_proc", "p")}
    """,
    f"""
    select format('%I.%I', n.nspname, y.typname), {_rights("y.typowner", "y.typacl", "'T'")}
      from pg_type y join pg_namespace n on n.oid = y.typnamespace
     where y.typtype in ('d', 'e', 'r') and {NAMESPACE} and {own("pg_type", "y")}
    """,
    f"""
    select concat('default privileges of ', d.defaclrole::regrole, ' in ' || quote_ident(n.nspname), ': ',
                  d.defaclobjtype),
           {_rights("d.defaclrole", "d.defaclacl", "d.defaclobjtype")}
      from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
    """,
)

RIGHTS = f"select * from ({' union all '.join(_PARTS)}) part(name, definition) order by name"
"""Each object with its owner and the privileges of others."""

_NAME = r'"(?:[^"]|"")*"'
_DEFINITION = re.compile(rf"(?:({_NAME}|[^\s\":]+)(?:: |$))?(.*)", re.DOTALL)
_GRANT = re.compile(rf"(?:{_NAME}|[^\",])+")
_MANY = 10
"""Grants of which every combination is tried."""


def left_from_before(kept: str, found: str, before: str) -> list[str]:
    """Return what roles may do with a schema beyond what was backed up, as they might before the restore.

    A restore adds the backup's grants to those of a schema that it finds. It takes back what every role may do by
    itself, such as USAGE for public, if the backup says so: of that nothing may be left.

    Args:
        kept: What was backed up: a definition of `RIGHTS`, or its hash.
        found: The definition after the restore.
        before: The definition before.

    Returns:
        The grants without which both are the same; none if that can't be had.
    """
    (owner, grants), (_, had) = _parsed(found), _parsed(before)
    removable = [grant for grant in grants if grant in had and not grant.startswith("public ")][:_MANY]
    for count in range(1, len(removable) + 1):
        for more in combinations(removable, count):
            rest = ", ".join(grant for grant in grants if grant not in more)
            if same(kept, ": ".join(filter(None, (owner, rest)))):
                return list(more)
    return []


def _parsed(definition: str) -> tuple[str, list[str]]:
    owner, grants = _DEFINITION.fullmatch(definition).groups("")  # type: ignore[union-attr]  # it matches all
    return owner, [grant.strip() for grant in _GRANT.findall(grants)]
