"""Whose a backup is: two servers may have a database of the same name, and a database may be renamed."""

from typing import NamedTuple


class Database(NamedTuple):
    """What tells databases apart.

    Attributes:
        name: Its name; None if that is not known.
        cluster: The system identifier of its cluster, which its stand-bys have, too; None or empty if not known.
        oid: Its number in there, which it keeps when it is renamed; None or 0 if that is not known.
    """

    name: str | None
    cluster: str | None = None
    oid: int | None = None

    def is_same(self, other: "Database") -> bool:
        """Say whether both are one database. What one of both doesn't know can't tell them apart."""
        if None in (self.name, other.name):
            return True
        if not self.cluster or not other.cluster:
            return self.name == other.name
        return self.cluster == other.cluster and (self.name == other.name or self.oid == other.oid)

    def __str__(self) -> str:
        """Return what the operator knows it by."""
        return f"{self.name} of the cluster {self.cluster}" if self.cluster else str(self.name)
