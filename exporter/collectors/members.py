"""Members by status and classification."""

from exporter.collectors.labels import labels_of
from exporter.counting import CountSpec, Key, known_labels
from exporter.metrics import Family
from exporter.schema import Schema

MEMBERS = Family(
    "unioncore_members",
    "Members by status and classification; the sum is the total.",
    ("status", "classification"),
    example="sum by (status) (unioncore_members)",
)
STATUSES = ("active", "inactive", "suspended", "retired", "deceased")
CLASSIFICATIONS = (
    *(f"apprentice_{year}_year" for year in ("1st", "2nd", "3rd", "4th", "5th")),
    *("journeyman", "foreman", "retiree", "honorary"),
)


def _statement(schema: Schema) -> str:
    status, classification = schema.need("members.status", "members.classification")
    return f"""
    select '{MEMBERS.name}', {status}::text, {classification}::text, count(*)::float8, null::timestamptz
      from members where {schema.alive("members")} group by {status}, {classification}
    """


def _known(schema: Schema) -> list[Key]:
    status, classification = schema.need("members.status", "members.classification")
    return known_labels(MEMBERS, labels_of(status, STATUSES), labels_of(classification, CLASSIFICATIONS))


SPEC = CountSpec("members", (MEMBERS,), ("members",), _statement, _known)
