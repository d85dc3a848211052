"""The collectors, one file a domain, and the registry of what they publish.

A new gauge is one new file here, and one line in `SPECS` (or `SOURCES`, if it does not read the database).
"""

from exporter.collectors import casework, dues, immutability, members, sessions, students, users
from exporter.collectors.audit import AuditCollector
from exporter.counting import CountCollector, DatabaseCollector
from exporter.holding import CountPolicy

SPECS = (users.SPEC, sessions.SPEC, members.SPEC, students.SPEC, dues.SPEC, casework.SPEC, immutability.SPEC)


def database_collectors(policy: CountPolicy) -> list[DatabaseCollector]:
    """Make the collectors that read UnionCore's database, with nothing counted yet."""
    return [AuditCollector(policy), *(CountCollector(spec, policy) for spec in SPECS)]
