"""Members and students: who they are, and who comes and goes."""

from grafana.fields import BRIGHT, DEEP, P2, WELL, board, coloured, runbook
from grafana.layout import Board, Row
from grafana.panels import Bars, Graph, Panel, Stat
from grafana.queries import ACTIVE_STUDENTS, Query, own, total

_STATUSES = {
    "active": WELL,
    "inactive": BRIGHT,
    "suspended": P2,
    "retired": DEEP,
    "deceased": "#808080",
}
_PIPELINE = {
    "applicant": BRIGHT,
    "enrolled": WELL,
    "on leave": "yellow",
    "completed": DEEP,
    "dropped": P2,
    "dismissed": "red",
}
_LEFT = "=~retired|deceased|suspended|inactive"
_DRIFT = runbook("UnionCoreSchemaDrift")
_CASEWORK = {
    "unioncore_book_registrations": ("Book registrations", "who is on the out-of-work books"),
    "unioncore_labor_requests": ("Labor requests", "what employers have asked for"),
    "unioncore_dispatches": ("Dispatches", "who was sent to work, and how it went"),
    "unioncore_grievances": ("Grievances", "how far each one is"),
    "unioncore_benevolence_applications": ("Benevolence applications", "how far each one is"),
    "unioncore_grants": ("Grants", "how far each one is"),
}


def _changed(metric: str, window: str, *, by: str = "") -> str:
    return f"{total(metric, by=by)} - {total(metric, by=by, offset=window)}"


def _casework(metric: str, name: str, meaning: str) -> Panel:
    return Bars(
        title=name,
        description=f"Rows by status: {meaning}. If one bar only grows, work is piling up there: ask those who do it.",
        unit="locale",
        queries=[Query(f"sort_desc({own(metric)})", "{{status}}")],
        no_value="Not in this database",
        links=[_DRIFT],
        minimum=0,
    )


def _students(status: str) -> Query:
    return Query(own("unioncore_students", status=status.replace(" ", "_")), status.replace("applicant", "applied"))


BOARD = Board(
    name="members",
    description="Who the members and the students are, and who comes and goes.",
    since="now-30d",
    refresh="5m",
    rows=[
        Row(
            "",
            [
                Stat(
                    title="Members",
                    description="All members who are not deleted. After a jump that nobody can explain, look below at"
                    " which status and classification changed.",
                    unit="locale",
                    queries=[Query(total("unioncore_members"))],
                    links=[_DRIFT],
                ),
                Stat(
                    title="Active members",
                    description="Members whose status is active. If it falls while the total does not, look at the"
                    " changes of status below.",
                    unit="locale",
                    queries=[Query(total("unioncore_members", status="active"))],
                    links=[board("dues")],
                ),
                Stat(
                    title="Active share",
                    description="Active members as a share of all. A slow fall is retirements; a sudden one is an"
                    " import or a mistake: look at the changes of status below.",
                    unit="percentunit",
                    decimals=1,
                    queries=[
                        Query(f"{total('unioncore_members', status='active')} / {total('unioncore_members')}"),
                    ],
                    links=[board("dues")],
                ),
                Stat(
                    title="Change in 30 days",
                    description="How many more members there are than 30 days ago, whatever their status. If it is far"
                    " below 0, members were deleted: open Audit and security.",
                    unit="locale",
                    queries=[Query(_changed("unioncore_members", "30d"))],
                    no_value="Too early to say",
                    links=[board("audit")],
                ),
                Stat(
                    title="Active students",
                    description="Apprentices who are enrolled or on leave. After a jump, look at the pipeline below.",
                    unit="locale",
                    queries=[Query(total("unioncore_students", status=ACTIVE_STUDENTS))],
                    links=[_DRIFT],
                ),
                Stat(
                    title="Applicants",
                    description="Students who have applied and are not enrolled yet. If it only grows, ask who decides"
                    " on applications.",
                    unit="locale",
                    queries=[Query(own("unioncore_students", status="applicant"))],
                    links=[_DRIFT],
                ),
            ],
        ),
        Row(
            "Members",
            [
                Bars(
                    title="By status",
                    description="Members by status. A status that you do not know was added to UnionCore: tell those"
                    " who use these numbers.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(f"sort_desc({total('unioncore_members', by='status')})", "{{status}}")],
                    links=[_DRIFT],
                ),
                Bars(
                    title="Active members by classification",
                    description="Active members by classification. If apprentices do not move up at the end of the"
                    " year, ask who updates them.",
                    unit="locale",
                    minimum=0,
                    queries=[
                        Query(
                            f"sort_desc({total('unioncore_members', status='active', by='classification')})",
                            "{{classification}}",
                        )
                    ],
                    links=[_DRIFT],
                ),
                Graph(
                    title="All members by status",
                    description="Members by status over time. A step is an import or a clean-up: if nobody knows of"
                    " one, open Audit and security.",
                    unit="locale",
                    minimum=0,
                    stacked=True,
                    queries=[Query(total("unioncore_members", by="status"), "{{status}}")],
                    overrides=coloured(_STATUSES),
                    links=[board("audit")],
                ),
                Graph(
                    title="Joins and losses within 7 days",
                    description="By how much each status grew or shrank in the 7 days before each moment: joins and"
                    " returns lift active, losses lift the others. A jump is an import or a mistake: open Audit and"
                    " security.",
                    unit="locale",
                    queries=[Query(_changed("unioncore_members", "7d", by="status"), "{{status}}")],
                    no_value="Too early to say",
                    overrides=coloured(_STATUSES),
                    links=[board("audit")],
                    width=12,
                ),
                Graph(
                    title="Members who are not active",
                    description="Members who are inactive, suspended, retired or deceased. A rise of suspended members"
                    " follows unpaid dues: open Dues.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(total("unioncore_members", status=_LEFT, by="status"), "{{status}}")],
                    overrides=coloured(_STATUSES),
                    links=[board("dues")],
                    width=12,
                ),
            ],
        ),
        Row(
            "Students",
            [
                Bars(
                    title="Students' pipeline",
                    description="Students by status, from the application to the end. If one bar only grows, students"
                    " are stuck there: ask the training office.",
                    unit="locale",
                    minimum=0,
                    queries=[_students(status) for status in _PIPELINE],
                    links=[_DRIFT],
                ),
                Graph(
                    title="Students by status",
                    description="Students by status over time. Dropped and dismissed only grow; a jump of either"
                    " deserves a question.",
                    unit="locale",
                    minimum=0,
                    stacked=True,
                    queries=[Query(own("unioncore_students"), "{{status}}")],
                    overrides=coloured(_PIPELINE),
                    links=[_DRIFT],
                ),
                Graph(
                    title="Students' changes within 7 days",
                    description="By how much each status grew or shrank in the 7 days before each moment. If nothing"
                    " ever moves, ask who records it.",
                    unit="locale",
                    queries=[Query(_changed("unioncore_students", "7d", by="status"), "{{status}}")],
                    no_value="Too early to say",
                    overrides=coloured(_PIPELINE),
                    links=[_DRIFT],
                ),
            ],
        ),
        Row("Work and casework", [_casework(metric, *words) for metric, words in _CASEWORK.items()]),
    ],
)
