"""Overview: is everything all right, in ten seconds, on a phone too."""

from grafana_foundation_sdk.models import dashboard

from grafana.fields import (
    APPLICATION,
    BRIGHT,
    DEEP,
    DOLLARS,
    P1,
    P2,
    P3,
    P4,
    PALE,
    RUNBOOKS,
    SEVERITIES,
    UNKNOWN,
    WELL,
    board,
    coloured,
    override,
    runbook,
    steps,
    title,
    words,
)
from grafana.layout import Board, Row
from grafana.panels import Graph, Stat, Text
from grafana.queries import ACTIVE_STUDENTS, Query, firing, own, probe, total, worst
from grafana.shared import answers, available, available_by_day, firing_alerts
from scripts.alerting.model import DASHBOARDS, Severity
from scripts.alerting.thresholds import HOUR
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_VERDICTS = words(
    {
        "0": ("All right", f"dark-{WELL}"),
        "1": ("Minor (P4)", f"dark-{P4}"),
        "2": ("Look today (P3)", f"dark-{P3}"),
        "3": ("Trouble (P2)", f"dark-{P2}"),
        "4": ("Act now (P1)", f"dark-{P1}"),
        "-1": ("Not known", f"dark-{UNKNOWN}"),
        "-2": ("A check fails", f"dark-{P2}"),
    }
)
_PAGES = {"Audit logs": "/admin/audit-logs", "Reports": "/reports", "Health check": "/health/ready"}
"""Where one goes from here in the application, below its base URL."""
_BACKUP_AGE = f"min({own('unioncore_backup_age_seconds')})"
_BACKUP_LIMITS = steps((LIMITS.backup_stale, P2), (LIMITS.backup_very_stale, P1))
_MONTH = total("unioncore_dues_collected_dollars", window="30d")
_WEEK = own("unioncore_audit_events", window="7d")
_STUDENTS = total("unioncore_students", status=ACTIVE_STUDENTS)
_MEMBERS = [
    Query(total("unioncore_members"), "total"),
    Query(total("unioncore_members", status="active"), "active"),
]
_TODAY = Query(own("unioncore_users_active", window="today"), "active today")


def _verdict(
    name: str,
    services: str,
    known: str,
    otherwise: str,
    first: dashboard.DashboardLink,
    *,
    failing: str = "",
) -> Stat:
    return Stat(
        title=name,
        description=f"The worst alert that fires for this. When it is not all right, {otherwise} “Not known” means that"
        " it is not measured: open The watchers.",
        unit="none",
        queries=[Query(worst(services, known, failing))],
        mappings=_VERDICTS,
        links=[first],
        solid=True,
        height=3,
    )


def _without_failures(metric: str, collectors: str, **labels: str) -> str:
    """Return a series if no collector of its subject fails: what is measured does not speak for what is not."""
    failing = f"{own('unioncore_collector_success', collector=f'=~{collectors}')} == 0"
    return f"({own(metric, **labels)} unless on () {failing})"


def _firing_at(level: Severity) -> str:
    return f"count({firing(severity=level.value[0])})"


def _fired_at(level: Severity) -> str:
    return f"count(max_over_time({firing(severity=level.value[0])}[$__interval]))"


_ALL_RIGHT = [
    _verdict(
        "Service",
        "application|database",
        probe("probe_success", job="unioncore-ready"),
        "people can't work as usual: open Service.",
        board("service"),
        failing=f"{probe('probe_success', job='=~unioncore-(live|serving|ready)')} == 0"
        f" or ({own('unioncore_up')} == 0 unless on () {probe('probe_success', job='unioncore-serving')} == 1)",
    ),
    _verdict(
        "Backups",
        "backups|jobs",
        _without_failures("unioncore_backups", "backups_.*|jobs"),
        "losing the database could cost data: open Backups and jobs.",
        board("backups"),
    ),
    _verdict("Money", "dues", _MONTH, "payments may not be recorded: open Dues.", board("dues")),
    _verdict(
        "Audit log",
        "audit",
        _without_failures("unioncore_audit_immutable", "audit|immutability|jobs", operation="delete"),
        "the log that the NLRA demands is in danger: open Audit and security.",
        board("audit"),
    ),
    _verdict(
        "Accounts",
        "security",
        own("unioncore_users", state="locked"),
        "somebody may be guessing passwords: open Audit and security.",
        board("audit"),
    ),
    _verdict(
        "Monitoring",
        "monitoring|exporter",
        own("unioncore_up"),
        "other numbers here may be missing: open The watchers.",
        board("watchers"),
    ),
]
_NUMBERS = [
    Stat(
        title="Users",
        description="User accounts, and how many of them logged in today. If far fewer than on other working days have,"
        " the login may be broken: open Audit and security.",
        unit="locale",
        queries=[Query(total("unioncore_users"), "total"), _TODAY],
        links=[board("audit")],
    ),
    Stat(
        title="Members",
        description="Members, and how many of them are active. After a jump that nobody can explain, open Members and"
        " students: it says which status and classification.",
        unit="locale",
        queries=_MEMBERS,
        links=[board("members")],
    ),
    Stat(
        title="Active students",
        description="Apprentices who are enrolled or on leave. After a jump, open Members and students.",
        unit="locale",
        queries=[Query(_STUDENTS)],
        links=[board("members")],
    ),
    Stat(
        title="Audit events",
        description="What the audit log recorded today and in the last 7 days. If it is far less than usual, open Audit"
        " and security: the log may be silent.",
        unit="locale",
        queries=[Query(own("unioncore_audit_events", window="today"), "today"), Query(_WEEK, "7 days")],
        links=[board("audit"), runbook("UnionCoreAuditSilent")],
    ),
    Stat(
        title="Payments, 30 days",
        description="Money of completed dues payments of the last 30 days. If it falls, open Dues: a payment method may"
        " have stopped.",
        unit=DOLLARS,
        decimals=0,
        queries=[Query(_MONTH)],
        links=[board("dues"), runbook("UnionCoreOnlinePaymentsSilent")],
    ),
    Stat(
        title="Newest backup",
        description="How old the newest complete backup is, wherever it lies. From orange on a daily one is missing:"
        " follow the runbook.",
        unit="dtdurations",
        queries=[Query(_BACKUP_AGE)],
        no_value="No backup",
        steps=_BACKUP_LIMITS,
        links=[runbook("UnionCoreBackupStale"), board("backups")],
    ),
    answers(),
    available(width=8),
    Stat(
        title="Firing alerts",
        description="How many alerts fire, by priority. Begin with P1: the list below leads to the runbooks.",
        unit="none",
        queries=[Query(f"{_firing_at(level)} or vector(0)", level.value[1]) for level in SEVERITIES],
        overrides=[override(level.value[1], thresholds=steps((1, name))) for level, name in SEVERITIES.items()],
        steps=steps((1, P1)),
        links=[board("watchers")],
        width=8,
    ),
]
_WHERE_TO = Text(
    title="Go to",
    description="The application's own pages, at the address that is probed, and the other dashboards. If a page does"
    " not open, look at Service.",
    links=[board("service")],
    height=5,
    content="\n".join(
        [
            "**UnionCore:** "
            + " · ".join(f"[{name}](${{{APPLICATION}}}{path})" for name, path in _PAGES.items())
            + f" · [Runbooks](${{{RUNBOOKS}}})",
            "",
            "**Dashboards:** "
            + " · ".join(f"[{title(name)}]({board(name).url})" for name in DASHBOARDS if name != "overview"),
        ]
    ),
)
_TRENDS = [
    Graph(
        title="Members",
        description="All members and the active ones. A step is an import or a clean-up: if nobody knows of one, open"
        " Members and students.",
        unit="locale",
        queries=_MEMBERS,
        overrides=coloured({"total": DEEP, "active": BRIGHT}),
        links=[board("members")],
    ),
    Graph(
        title="Users",
        description="User accounts, and those that logged in within 7 days and today. If both fall on working days, the"
        " login may be broken: open Audit and security.",
        unit="locale",
        minimum=0,
        queries=[
            Query(total("unioncore_users"), "total"),
            Query(own("unioncore_users_active", window="7d"), "active in 7 days"),
            _TODAY,
        ],
        overrides=coloured({"total": DEEP, "active in 7 days": BRIGHT, "active today": PALE}),
        links=[board("audit")],
    ),
    Graph(
        title="Active students",
        description="Apprentices who are enrolled or on leave. After a step that nobody knows of, open Members and"
        " students.",
        unit="locale",
        queries=[Query(_STUDENTS, "active students")],
        overrides=coloured({"active students": DEEP}),
        links=[board("members")],
    ),
    Graph(
        title="Audit events in 7 days",
        description="What the audit log recorded in the 7 days before each moment. A fall to nothing is a log that is"
        " silent, a rise an import or somebody who reads everything: open Audit and security.",
        unit="locale",
        minimum=0,
        queries=[Query(_WEEK, "events")],
        overrides=coloured({"events": DEEP}),
        links=[board("audit")],
    ),
    Graph(
        title="Payments in 30 days",
        description="Money of completed payments in the 30 days before each moment. A steady fall means that a payment"
        " method has stopped: open Dues.",
        unit="currencyUSD",
        minimum=0,
        queries=[Query(_MONTH, "collected")],
        overrides=coloured({"collected": DEEP}),
        links=[board("dues")],
    ),
    Graph(
        title="Age of the newest backup",
        description="It grows for a day and falls to nothing with each backup. Above the orange line one is missing:"
        " open Backups and jobs.",
        unit="suffix: h",
        minimum=0,
        queries=[Query(f"{_BACKUP_AGE} / {HOUR}", "age")],
        steps=steps((LIMITS.backup_stale / HOUR, P2), (LIMITS.backup_very_stale / HOUR, P1)),
        backups=True,
        overrides=coloured({"age": DEEP}),
        links=[board("backups"), runbook("UnionCoreBackupStale")],
    ),
    available_by_day(width=8),
    Graph(
        title="Time to answer",
        description="How long the application takes to say whether it is ready. Above the line it is slow: open"
        " Service, which says in which phase.",
        unit="s",
        minimum=0,
        queries=[Query(f"max_over_time({probe('instance:probe_duration_seconds:avg5m')}[$__interval])", "time")],
        steps=steps((LIMITS.slow, P3)),
        overrides=coloured({"time": DEEP}),
        links=[board("service"), runbook("UnionCoreSlow")],
    ),
    Graph(
        title="Firing alerts",
        description="How many alerts fired, by priority. What comes back every day deserves to be mended: open The"
        " watchers.",
        unit="none",
        decimals=0,
        minimum=0,
        stacked=True,
        stepped=True,
        queries=[Query(f"{_fired_at(level)} or vector(0)", level.value[1]) for level in SEVERITIES],
        overrides=coloured({level.value[1]: name for level, name in SEVERITIES.items()}),
        links=[board("watchers")],
    ),
]

BOARD = Board(
    name="overview",
    description="Whether the service, the backups and the money are all right, and what the numbers of the local are.",
    since="now-30d",
    refresh="1m",
    rows=[
        Row("", [*_ALL_RIGHT, *_NUMBERS, firing_alerts(height=5), _WHERE_TO]),
        Row("The last 30 days", _TRENDS),
    ],
    links=[
        dashboard.DashboardLink(
            title=name,
            type_val=dashboard.DashboardLinkType.LINK,
            icon="external link",
            url=f"${{{APPLICATION}}}{path}",
            target_blank=True,
        )
        for name, path in _PAGES.items()
    ],
)
