"""Dues: what comes in, by which way, and what is owed."""

from grafana.fields import BRIGHT, DEEP, DOLLARS, P2, P3, PALE, WELL, board, coloured, joined, override, runbook, steps
from grafana.layout import Board, Row
from grafana.panels import Bars, Graph, Stat, Table
from grafana.queries import Query, own, total
from scripts.alerting.thresholds import ONLINE_METHODS

_COLLECTED = "unioncore_dues_collected_dollars"
_OUTSTANDING = "unioncore_dues_outstanding_dollars"
_ONLINE = f"=~{ONLINE_METHODS}"
_UNPAID = "=~due|partial|overdue|pending"
_STATUSES = {
    "paid": WELL,
    "partial": PALE,
    "due": BRIGHT,
    "pending": DEEP,
    "overdue": P2,
    "waived": "#808080",
    "written off": "#A0A0A0",
}
_SILENT = runbook("UnionCoreOnlinePaymentsSilent")
_DRIFT = runbook("UnionCoreSchemaDrift")
_MONTHS = {"method": "Method", "Value #A": "These 30 days", "Value #B": "The 30 days before", "Value #C": "Change"}


def _collected(window: str, title: str, meaning: str) -> Stat:
    return Stat(
        title=title,
        description=f"Money of completed payments dated {meaning}. If it is far less than usual, look at the methods"
        f" below: one may have stopped.",
        unit=DOLLARS,
        decimals=0,
        queries=[Query(total(_COLLECTED, window=window))],
        links=[_SILENT],
    )


def _before(window: str) -> str:
    return f"{total(_COLLECTED, window=window)} / {total(_COLLECTED, window=window, offset=window)} - 1"


def _methods(window: str, title: str) -> Bars:
    return Bars(
        title=title,
        description="Money of completed payments by method. A method that is 0 although members use it has stopped, or"
        " is no longer recorded: ask the payment provider, or the employer for payroll deductions.",
        unit=DOLLARS,
        decimals=0,
        minimum=0,
        queries=[Query(f"sort_desc({total(_COLLECTED, by='method', window=window)})", "{{method}}")],
        links=[_SILENT],
        height=10,
    )


BOARD = Board(
    name="dues",
    description="What comes in, by which way, what is owed, and whether online payments still reach UnionCore.",
    since="now-30d",
    refresh="5m",
    rows=[
        Row(
            "",
            [
                _collected("today", "Collected today", "today"),
                _collected("7d", "Collected, 7 days", "today or in the 7 days before"),
                _collected("30d", "Collected, 30 days", "today or in the 30 days before"),
                Stat(
                    title="Against 30 days before",
                    description="These 30 days against the 30 days before them. Far below 0, look in the table below at"
                    " which method fell.",
                    unit="percentunit",
                    decimals=1,
                    queries=[Query(_before("30d"))],
                    steps=steps((-0.25, P3), (-0.1, WELL), below=P2),
                    no_value="Too early to say",
                    links=[_SILENT],
                ),
                Stat(
                    title="Overdue",
                    description="What is past its grace period. If it jumps at a month's beginning, ask which"
                    " employer's payroll deductions have not arrived.",
                    unit=DOLLARS,
                    decimals=0,
                    queries=[Query(own(_OUTSTANDING, status="overdue"))],
                    links=[board("members")],
                ),
                Stat(
                    title="Online, best of 3 days",
                    description="The most that online payments brought in one of the last 3 days. At 0, where that is"
                    " unusual, the payment provider may no longer tell UnionCore: follow the runbook.",
                    unit=DOLLARS,
                    decimals=0,
                    queries=[Query(f"max_over_time({own('instance:unioncore_dues_online_dollars:sum_today')}[3d])")],
                    links=[_SILENT],
                    steps=steps((0.01, WELL), below=P3),
                ),
            ],
        ),
        Row(
            "Collected",
            [
                Graph(
                    title="Collected by day",
                    description="The most that a day's payments reached within each 24 hours. A working day without a"
                    " bar is a day whose payments were not recorded: ask those who record them.",
                    unit="currencyUSD",
                    minimum=0,
                    bars=True,
                    interval="1d",
                    queries=[Query(f"max_over_time({total(_COLLECTED, window='today')}[1d:10m])", "collected")],
                    overrides=coloured({"collected": DEEP}),
                    links=[_SILENT],
                    width=12,
                ),
                Graph(
                    title="This week against the last",
                    description="Money of 7 days, and that of the 7 days before. If the lines part, look at the methods"
                    " below.",
                    unit="currencyUSD",
                    minimum=0,
                    queries=[
                        Query(total(_COLLECTED, window="7d"), "7 days"),
                        Query(total(_COLLECTED, window="7d", offset="7d"), "the 7 days before"),
                    ],
                    overrides=coloured({"7 days": DEEP, "the 7 days before": "#808080"}),
                    links=[_SILENT],
                    width=12,
                ),
                _methods("today", "Today by method"),
                _methods("7d", "7 days by method"),
                _methods("30d", "30 days by method"),
                Table(
                    title="This month against the last, by method",
                    description="Money of these 30 days and of the 30 days before them. A method that fell far has"
                    " stopped, or is no longer recorded: ask the provider, or the employer.",
                    unit=DOLLARS,
                    decimals=0,
                    queries=[
                        Query(total(_COLLECTED, by="method", window="30d")),
                        Query(total(_COLLECTED, by="method", window="30d", offset="30d")),
                        Query(
                            f"{total(_COLLECTED, by='method', window='30d')}"
                            f" / {total(_COLLECTED, by='method', window='30d', offset='30d')} - 1"
                        ),
                    ],
                    transformations=joined("method", _MONTHS),
                    overrides=[
                        override("Method", custom_minWidth=150),
                        override("The 30 days before", custom_minWidth=150),
                        override("Change", unit="percentunit", decimals=0),
                    ],
                    sort="-These 30 days",
                    links=[_SILENT],
                    width=12,
                    height=13,
                ),
                Graph(
                    title="Online payments by day",
                    description="Money that online payments brought on each day so far. Days at 0 that are not usual:"
                    " the payment provider may no longer tell UnionCore.",
                    unit="currencyUSD",
                    minimum=0,
                    queries=[Query(total(_COLLECTED, window="today", method=_ONLINE), "online today")],
                    overrides=coloured({"online today": DEEP}),
                    links=[_SILENT],
                    width=12,
                    height=13,
                ),
            ],
        ),
        Row(
            "Owed",
            [
                Bars(
                    title="Payments by status",
                    description="Dues payments by status. If pending only grows, ask who closes the periods.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(f"sort_desc({own('unioncore_dues_payments')})", "{{status}}")],
                    links=[_DRIFT],
                ),
                Bars(
                    title="Outstanding by status",
                    description="What is due less what was paid of it, by status. Waived and written off will not come"
                    " in any more; if they grow, ask who decided so.",
                    unit=DOLLARS,
                    decimals=0,
                    minimum=0,
                    queries=[Query(f"sort_desc({own(_OUTSTANDING, status='!=paid')})", "{{status}}")],
                    links=[_DRIFT],
                ),
                Bars(
                    title="Adjustments by status",
                    description="Requests to change what a member owes, by status. If pending only grows, ask who"
                    " decides on them.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(f"sort_desc({own('unioncore_dues_adjustments')})", "{{status}}")],
                    no_value="Not in this database",
                    links=[_DRIFT],
                ),
                Graph(
                    title="Outstanding over time",
                    description="What is due less what was paid of it. Overdue that climbs over months will not come by"
                    " itself: ask who reminds the members.",
                    unit="currencyUSD",
                    minimum=0,
                    queries=[Query(own(_OUTSTANDING, status=_UNPAID), "{{status}}")],
                    overrides=coloured(_STATUSES),
                    links=[board("members")],
                    width=12,
                ),
                Graph(
                    title="Unpaid payments over time",
                    description="Dues payments that are not paid in full. Due turns into overdue when the grace period"
                    " ends: a step is normal then. At another time, ask what was changed.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(own("unioncore_dues_payments", status=_UNPAID), "{{status}}")],
                    overrides=coloured(_STATUSES),
                    links=[board("members")],
                    width=12,
                ),
            ],
        ),
    ],
)
