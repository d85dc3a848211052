"""Restores between two databases of one server: what is compared, and a user who owns all but the database."""

from scripts.embedded.postgres import EmbeddedPostgres

SETTINGS = """
select coalesce(setrole::regrole::text, '-'), setting
  from pg_db_role_setting cross join unnest(setconfig) setting
 where setdatabase = (select oid from pg_database where datname = current_database())
 order by coalesce(setrole::regrole::text, '-') collate "C", setting
"""
GRANTS = """
select grantee::regrole, privilege_type, is_grantable
  from pg_database cross join aclexplode(coalesce(datacl, acldefault('d', datdba)))
 where datname = current_database() and grantee <> datdba
 order by grantee::regrole::text collate "C", 2
"""


def restorer(postgres: EmbeddedPostgres, source: str, target: str) -> None:
    """Let the role app own all that is in the source, and restore it into a database that is not its own."""
    postgres.psql(
        """
        select format('alter table %s owner to app', oid::regclass) from pg_class
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm')
        union all
        select format('alter type %s owner to app', oid::regtype) from pg_type
         where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
        union all
        select format('alter routine %s owner to app', oid::regprocedure) from pg_proc
         where pronamespace = 'public'::regnamespace
        \\gexec
        """,
        source,
    )
    postgres.psql(
        "alter role app login password 'app'; alter schema public owner to app;"
        f" grant create on database {target} to app",
        target,
    )
