"""Students of the apprenticeship programme."""

from exporter.collectors.labels import labels_of
from exporter.counting import CountSpec, known_labels
from exporter.metrics import Family
from exporter.schema import Schema

STUDENTS = Family(
    "unioncore_students",
    "Students by status; active ones are enrolled or on leave (or active, in the documented shape).",
    ("status",),
    example='sum(unioncore_students{status=~"active|enrolled|on_leave"})',
)
STATUSES = ("applicant", "active", "completed", "dropped", "dismissed")


def _statement(schema: Schema) -> str:
    (status,) = schema.need("students.status")
    return f"""
    select '{STUDENTS.name}', {status}::text, null::text, count(*)::float8, null::timestamptz
      from students where {schema.alive("students")} group by {status}
    """


SPEC = CountSpec(
    "students",
    (STUDENTS,),
    ("students",),
    _statement,
    lambda schema: known_labels(STUDENTS, labels_of(schema.need("students.status")[0], STATUSES)),
)
