"""Audit and security: what is done, that it is recorded for good, and who tries to get in."""

from grafana.fields import (
    BRIGHT,
    DEEP,
    P2,
    P3,
    P4,
    PALE,
    WELL,
    board,
    coloured,
    override,
    runbook,
    steps,
    words,
    yes_no,
)
from grafana.layout import Board, Row
from grafana.panels import Bars, Graph, Stat, Timeline
from grafana.queries import Query, own
from scripts.alerting.thresholds import HOUR
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_EVENTS = "unioncore_audit_events_total"
_SILENCE = f"time() - {own('unioncore_audit_last_event_timestamp_seconds')}"
_LOCKED = own("unioncore_users", state="locked")
_DELETES = own("table:unioncore_audit_events:deletes15m")
_ACTIONS = {"read": DEEP, "bulk read": PALE, "create": WELL, "update": "yellow", "delete": "red"}
_SESSIONS = {"live": WELL, "expired": "#808080", "revoked": P3}
_SILENT, _BURST = runbook("UnionCoreAuditSilent"), runbook("UnionCoreAuditDeleteBurst")
_MUTABLE, _WAVE = runbook("UnionCoreAuditMutable"), runbook("UnionCoreFailedLoginWave")
_MANY = runbook("UnionCoreManyAccountsLocked")


def _rate(by: str) -> str:
    # Of an hour at every width: an increase would be of the time between two points, which is longer in a month's view.
    return f"{HOUR} * sum by ({by}) (rate({own(_EVENTS)}[$__rate_interval]))"


def _refused(operation: str) -> Query:
    return Query(own("unioncore_audit_immutable", operation=operation), operation)


BOARD = Board(
    name="audit",
    description="What is done in UnionCore, whether it is recorded for good, and who tries to get in.",
    since="now-7d",
    refresh="1m",
    rows=[
        Row(
            "",
            [
                Stat(
                    title="Entries can be altered",
                    description="Whether the database would let anybody change, delete or empty the audit log. “Yes”"
                    " for update or delete: a trigger is gone, follow the runbook at once.",
                    unit="none",
                    queries=[_refused(operation) for operation in ("update", "delete", "truncate")],
                    mappings=words({"1": ("No", WELL), "0": ("Yes", P2)}),
                    overrides=[override("truncate", mappings=words({"1": ("No", WELL), "0": ("Yes", P4)}))],
                    links=[_MUTABLE, runbook("UnionCoreAuditTruncatable")],
                    width=8,
                ),
                Stat(
                    title="Last event",
                    description="How long ago the audit log recorded something. Long on a working day, while people log"
                    " in: the log is silent, follow the runbook.",
                    unit="dtdurations",
                    decimals=0,
                    queries=[Query(_SILENCE)],
                    links=[_SILENT],
                ),
                Stat(
                    title="Audit events",
                    description="What the audit log recorded today and in the last 7 days. If it is far less than"
                    " usual, look at the rates below.",
                    unit="locale",
                    queries=[
                        Query(own("unioncore_audit_events", window="today"), "today"),
                        Query(own("unioncore_audit_events", window="7d"), "7 days"),
                    ],
                    links=[_SILENT],
                ),
                Stat(
                    title="History kept",
                    description="How far back the audit log in the database reaches; what is older must be in the"
                    " archive, for seven years in all. If it shrinks at once, follow the runbook.",
                    unit="dtdurations",
                    decimals=1,
                    queries=[Query(f"time() - {own('unioncore_audit_oldest_event_timestamp_seconds')}")],
                    links=[runbook("UnionCoreAuditHistoryLost")],
                ),
                Stat(
                    title="Last archived",
                    description="How long ago the audit log was last archived. From yellow on two weekly runs are"
                    " missing: follow the runbook.",
                    unit="dtdurations",
                    decimals=1,
                    queries=[
                        Query(f"time() - {own('unioncore_job_last_success_timestamp_seconds', job_name='archive')}")
                    ],
                    steps=steps((LIMITS.archive_overdue, P3)),
                    no_value="Never",
                    links=[runbook("UnionCoreAuditArchiveOverdue")],
                ),
                Stat(
                    title="Locked accounts",
                    description="Accounts that are locked after five failed logins each. From yellow on it is unusual:"
                    " ask whether people forgot their passwords, or somebody is guessing them.",
                    unit="none",
                    queries=[Query(_LOCKED)],
                    steps=steps((LIMITS.locked_accounts, P3)),
                    links=[_MANY],
                ),
                Stat(
                    title="Newly locked",
                    description="Accounts locked by failed logins within 15 minutes. From orange on it is a wave:"
                    " follow the runbook.",
                    unit="none",
                    queries=[Query(f"{_LOCKED} - min_over_time({_LOCKED}[15m])")],
                    steps=steps((LIMITS.lock_wave, P2)),
                    links=[_WAVE],
                ),
                Stat(
                    title="Deletions",
                    description="Rows deleted within 15 minutes, in the table with the most. From orange on it is a"
                    " burst if it is also far more than usual: follow the runbook.",
                    unit="none",
                    decimals=0,
                    queries=[Query(f"max({_DELETES})")],
                    steps=steps((LIMITS.audit_deletes, P2)),
                    links=[_BURST],
                ),
                Stat(
                    title="Live sessions",
                    description="Login sessions that can still be used. After a leaked password, revoke them all: it"
                    " must fall to 0.",
                    unit="locale",
                    queries=[Query(own("unioncore_login_sessions", state="live"))],
                    links=[board("backups")],
                ),
                Stat(
                    title="Users who logged in",
                    description="Users who logged in today, in 7 and in 30 days. If nobody did on a working day, the"
                    " login may be broken: open Service.",
                    unit="locale",
                    queries=[
                        Query(own("unioncore_users_active", window=window), words_)
                        for window, words_ in {"today": "today", "7d": "7 days", "30d": "30 days"}.items()
                    ],
                    links=[board("service")],
                    width=8,
                ),
            ],
        ),
        Row(
            "What is done",
            [
                Graph(
                    title="Events by action",
                    description="Audit events in an hour, by what was done. Bulk reads at night are somebody who copies"
                    " the members' data: ask who.",
                    unit="none",
                    decimals=0,
                    minimum=0,
                    stacked=True,
                    bars=True,
                    interval="1h",
                    queries=[Query(_rate("action"), "{{action}}")],
                    overrides=coloured(_ACTIONS),
                    links=[_SILENT],
                    width=12,
                ),
                Graph(
                    title="Events by table",
                    description="Audit events in an hour, by the table. A table that falls silent while others do not"
                    " may have lost its auditing with an update of UnionCore: ask those who updated it.",
                    unit="none",
                    decimals=0,
                    minimum=0,
                    stacked=True,
                    bars=True,
                    interval="1h",
                    queries=[Query(_rate("table"), "{{table}}")],
                    links=[_SILENT],
                    width=12,
                ),
                Graph(
                    title="Deletions within 15 minutes",
                    description="Rows deleted in the 15 minutes before each moment, by table. Above the line, and far"
                    " more than usual, it is a burst: follow the runbook.",
                    unit="none",
                    decimals=0,
                    minimum=0,
                    queries=[Query(_DELETES, "{{table}}")],
                    steps=steps((LIMITS.audit_deletes, P2)),
                    links=[_BURST],
                ),
                Graph(
                    title="Silence of the audit log",
                    description="How long before each moment the last event was. Long at night; above the line on a"
                    " working day, the log is silent: follow the runbook.",
                    unit="suffix: h",
                    minimum=0,
                    queries=[Query(f"({_SILENCE}) / {HOUR}", "silence")],
                    steps=steps((LIMITS.audit_silence / HOUR, P2)),
                    overrides=coloured({"silence": DEEP}),
                    links=[_SILENT],
                ),
                Timeline(
                    title="The database refuses to alter entries",
                    description="When the database refused to change or delete entries of the audit log. Anything but"
                    " green for update and delete: find out what was done meanwhile.",
                    unit="none",
                    queries=[_refused("update"), _refused("delete")],
                    mappings=yes_no("refused", "possible", bad=P2),
                    links=[_MUTABLE],
                ),
            ],
        ),
        Row(
            "Who gets in",
            [
                Bars(
                    title="Accounts by state",
                    description="User accounts by state, each in one. If many are locked, follow the runbook; if many"
                    " are inactive, ask whether each still needs what it may do.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(own("unioncore_users"), "{{state}}")],
                    links=[_MANY],
                ),
                Graph(
                    title="Locked accounts",
                    description="Accounts that are locked after failed logins, and how many of them were locked in the"
                    " 15 minutes before. A peak is somebody who guesses passwords, or a broken login: follow the"
                    " runbook.",
                    unit="none",
                    decimals=0,
                    minimum=0,
                    stepped=True,
                    queries=[
                        Query(_LOCKED, "locked"),
                        Query(f"{_LOCKED} - min_over_time({_LOCKED}[15m])", "within 15 minutes"),
                    ],
                    steps=steps((LIMITS.locked_accounts, P3)),
                    overrides=coloured({"locked": DEEP, "within 15 minutes": BRIGHT}),
                    links=[_WAVE, _MANY],
                ),
                Graph(
                    title="Login sessions by state",
                    description="Login sessions by state. If expired and revoked ones only grow, the clean-up does not"
                    " run: open Backups and jobs.",
                    unit="locale",
                    minimum=0,
                    queries=[Query(own("unioncore_login_sessions"), "{{state}}")],
                    overrides=coloured(_SESSIONS),
                    links=[board("backups")],
                ),
            ],
        ),
    ],
)
