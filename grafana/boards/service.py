"""Service: whether people can work with UnionCore, how fast, and what its database does."""

from grafana.fields import (
    BRIGHT,
    DEEP,
    P1,
    P2,
    P3,
    PALE,
    SEVERITIES,
    WELL,
    board,
    coloured,
    runbook,
    steps,
    yes_no,
)
from grafana.layout import Board, Row
from grafana.panels import Graph, Logs, Panel, Stat, Timeline
from grafana.queries import Query, own, probe, select
from grafana.shared import ANSWERS, answers, available, available_by_day, firing_alerts
from scripts.alerting.model import number
from scripts.alerting.thresholds import BURNS
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_TIME = probe("instance:probe_duration_seconds:avg5m")
_LEFT = probe("instance:unioncore_error_budget:left30d")
_CERTIFICATE = f"min by (instance) ({probe('probe_ssl_earliest_cert_expiry', job='=~unioncore-.*')}) - time()"
_TRANSACTION = select(
    "pg_stat_activity_max_tx_duration",
    job="postgres",
    application_name="!~unioncore-ops/.*",
    backend_type="client backend",
)
_PHASES = {"resolve": "#808080", "connect": PALE, "tls": BRIGHT, "processing": DEEP, "transfer": WELL}
_BURN = runbook("UnionCoreErrorBudgetBurn6x")
_NOT_READY, _SLOW = runbook("UnionCoreNotReady"), runbook("UnionCoreSlow")
_CONNECTIONS, _GROWING = runbook("UnionCoreDatabaseConnectionsHigh"), runbook("UnionCoreDatabaseGrowing")
_LONG, _DEADLOCKS = runbook("UnionCoreDatabaseLongTransaction"), runbook("UnionCoreDatabaseDeadlocks")
_STATES = {"active": WELL, "idle": PALE, "idle in transaction": P2, "idle in transaction (aborted)": P1}
_DEADLOCK = select("pg_stat_database_deadlocks", job="postgres", datname="!~template.*")
_NO_POSTGRES = "No postgres_exporter"
_WINDOWS = {
    f"{burn.long}, {level.value[1]}": name for burn, (level, name) in zip(BURNS, SEVERITIES.items(), strict=True)
}


def _postgres(metric: str) -> str:
    return select(metric, job="postgres")


_NOW: list[Panel] = [
    answers(),
    Stat(
        title="Database answers",
        description="Whether the database answered the exporter's last scrape. If not, nothing of UnionCore works:"
        " follow the runbook.",
        unit="none",
        queries=[Query(own("unioncore_up"))],
        mappings=yes_no("Yes", "No"),
        links=[runbook("UnionCoreDatabaseDown")],
    ),
    Stat(
        title="Time to answer",
        description="How long the application takes to say whether it is ready, the mean of 5 minutes. From yellow on"
        " it is slow: look at the phases below.",
        unit="s",
        queries=[Query(_TIME)],
        steps=steps((LIMITS.slow, P3)),
        links=[_SLOW],
    ),
    available(width=4),
    Stat(
        title="Error budget left",
        description="What is left of the failures that 30 days allow. Below 0 more has failed than that: put off what"
        " is risky, and look at what failed.",
        unit="percentunit",
        decimals=0,
        queries=[Query(_LEFT)],
        steps=steps((0, P3), (0.25, WELL), below=P2),
        links=[_BURN],
    ),
    Stat(
        title="Certificate",
        description="How long the TLS certificate is still valid. From yellow on it should have been renewed, from"
        " orange on renew it by hand: follow the runbook.",
        unit="dtdurations",
        queries=[Query(f"min({_CERTIFICATE})")],
        steps=steps((LIMITS.certificate_late, P3), (LIMITS.certificate_early, WELL), below=P2),
        no_value="Not measured, or no TLS",
        links=[runbook("UnionCoreCertificateExpiring"), runbook("UnionCoreCertificateExpiresSoon")],
        width=8,
    ),
    Stat(
        title="Connections in use",
        description="The share of the connections that the database allows which are taken. From orange on, logins are"
        " about to fail: follow the runbook.",
        unit="percentunit",
        decimals=0,
        queries=[Query("max(instance:pg_connections:ratio)")],
        steps=steps((LIMITS.connections, P2)),
        no_value=_NO_POSTGRES,
        links=[_CONNECTIONS],
        width=8,
    ),
    Stat(
        title="Longest transaction",
        description="How long the oldest open transaction has been open. From yellow on it holds locks and keeps dead"
        " rows: follow the runbook.",
        unit="s",
        decimals=0,
        queries=[Query(f"max({_TRANSACTION}) or 0 * count({_postgres('pg_up')} == 1)")],
        steps=steps((LIMITS.transaction, P3)),
        no_value=_NO_POSTGRES,
        links=[_LONG],
        width=8,
    ),
    firing_alerts("application|database", width=24, height=4),
]
_AVAILABILITY: list[Panel] = [
    Timeline(
        title="When UnionCore answered",
        description="When it was alive, could serve people, and called each of its parts healthy. What is red when the"
        " line above is green is where to look.",
        unit="none",
        queries=ANSWERS,
        mappings=yes_no("yes", "no"),
        links=[_NOT_READY],
        width=12,
    ),
    Graph(
        title="Error budget left",
        description="What is left of the failures that 30 days allow. A step down is an outage; below 0, put off what"
        " is risky until it has recovered.",
        unit="percentunit",
        soft_minimum=0,
        maximum=1,
        queries=[Query(_LEFT, "left")],
        steps=steps((0, WELL), below=P2),
        overrides=coloured({"left": DEEP}),
        links=[_BURN],
        width=12,
    ),
    Graph(
        title="How fast the budget burns",
        description="How many times faster than what would just last 30 days, by window; its line is where that window"
        " alerts. Follow the runbook to find out what fails.",
        unit="none",
        minimum=0,
        queries=[
            Query(probe(f"instance:unioncore_error_budget:burn{burn.long}"), name)
            for burn, name in zip(BURNS, _WINDOWS, strict=True)
        ],
        soft_maximum=16,
        steps=steps(
            *((burn.factor, name) for burn, name in zip(reversed(BURNS), reversed(_WINDOWS.values()), strict=True))
        ),
        overrides=coloured(_WINDOWS),
        links=[_BURN],
        width=12,
    ),
    available_by_day(width=12),
]
_SPEED: list[Panel] = [
    Graph(
        title="Time to answer, by phase",
        description="Where the time goes, the mean of 5 minutes: name, connection, TLS, the application itself"
        " (processing), transfer. If it is slow, look at which grows: processing is the application and its database,"
        " all else the network.",
        unit="s",
        minimum=0,
        stacked=True,
        queries=[Query(probe("instance_phase:probe_http_duration_seconds:avg5m"), "{{phase}}")],
        overrides=coloured(_PHASES),
        links=[_SLOW],
        width=12,
    ),
    Graph(
        title="Time to answer",
        description="The mean and the longest of 5 minutes. Above the line it is slow; follow the runbook. Single peaks"
        " are a backup, a report or a lock.",
        unit="s",
        minimum=0,
        queries=[
            Query(_TIME, "mean"),
            Query(f"max_over_time({probe('probe_duration_seconds', job='unioncore-serving')}[5m])", "longest"),
        ],
        steps=steps((LIMITS.slow, P3)),
        backups=True,
        overrides=coloured({"mean": DEEP, "longest": PALE}),
        links=[_SLOW],
        width=12,
    ),
    Timeline(
        title="Slow spells",
        description=f"When the mean of 5 minutes was above {number(LIMITS.slow)} seconds. Spells at the same hour every"
        f" day are a job: open Backups and jobs.",
        unit="none",
        queries=[Query(f"{_TIME} <= bool {number(LIMITS.slow)}", "UnionCore")],
        mappings=yes_no("fast", "slow", bad=P3),
        links=[_SLOW, board("backups")],
        width=24,
        height=4,
    ),
]
_DATABASE: list[Panel] = [
    Graph(
        title="Connections by state",
        description="Connections to the database. Many that are idle in transaction are a program that does not end its"
        " work: follow the runbook to find it.",
        unit="none",
        decimals=0,
        minimum=0,
        stacked=True,
        queries=[Query(f"sum by (state) ({_postgres('pg_stat_activity_count')})", "{{state}}")],
        no_value=_NO_POSTGRES,
        overrides=coloured(_STATES),
        links=[_CONNECTIONS],
    ),
    Graph(
        title="Connections in use",
        description="The share of the connections that the database allows which are taken. Above the line, logins are"
        " about to fail: follow the runbook.",
        unit="percentunit",
        minimum=0,
        maximum=1,
        queries=[Query("max(instance:pg_connections:ratio)", "in use")],
        steps=steps((LIMITS.connections, P2)),
        no_value=_NO_POSTGRES,
        overrides=coloured({"in use": DEEP}),
        links=[_CONNECTIONS],
    ),
    Graph(
        title="Longest transaction",
        description="How long the oldest open transaction has been open. Above the line it holds locks and keeps dead"
        " rows: follow the runbook.",
        unit="s",
        minimum=0,
        queries=[Query(f"max({_TRANSACTION}) or 0 * count({_postgres('pg_up')} == 1)", "longest")],
        steps=steps((LIMITS.transaction, P3)),
        no_value=_NO_POSTGRES,
        overrides=coloured({"longest": DEEP}),
        links=[_LONG],
    ),
    Graph(
        title="Size of the databases",
        description="What the databases take on their disk. A steep climb is a table that runs away: follow the runbook"
        " before the disk is full.",
        unit="bytes",
        minimum=0,
        queries=[Query("instance:pg_database_size_bytes:sum", "{{instance}}")],
        no_value=_NO_POSTGRES,
        links=[_GROWING, runbook("UnionCoreDatabaseDiskFilling")],
    ),
    Graph(
        title="Transactions",
        description="Transactions in a second: committed, and rolled back. Many that are rolled back are errors that"
        " people see.",
        unit="ops",
        minimum=0,
        queries=[
            Query(f"sum(rate({_postgres('pg_stat_database_xact_commit')}[$__rate_interval]))", "committed"),
            Query(f"sum(rate({_postgres('pg_stat_database_xact_rollback')}[$__rate_interval]))", "rolled back"),
        ],
        no_value=_NO_POSTGRES,
        overrides=coloured({"committed": DEEP, "rolled back": P2}),
        links=[_DEADLOCKS],
    ),
    Graph(
        title="Deadlocks",
        description="Deadlocks in the 15 minutes before each moment: each one is somebody's change that was lost with"
        " an error. Above the line, follow the runbook.",
        unit="none",
        minimum=0,
        queries=[Query(f"sum by (datname) (increase({_DEADLOCK}[15m]))", "{{datname}}")],
        steps=steps((LIMITS.deadlocks, P3)),
        soft_maximum=2 * LIMITS.deadlocks,
        no_value=_NO_POSTGRES,
        links=[_DEADLOCKS],
    ),
]
_LOGS = Logs(
    title="Errors in the logs",
    description="Lines of the stack's containers that speak of an error, the newest first, where Loki keeps them (the"
    " profile logs). Where it does not, look at the containers' own logs.",
    expr='{service_name=~".+"} |~ "(?i)(error|critical|fatal|panic)"',
    no_value="No error in this time",
    links=[_NOT_READY],
    width=24,
    height=10,
)
BOARD = Board(
    name="service",
    description="Whether people can work with UnionCore, how fast it answers, and how its database is.",
    since="now-24h",
    refresh="30s",
    logs=True,
    rows=[
        Row("", _NOW),
        Row("Availability", _AVAILABILITY),
        Row("Speed", _SPEED),
        Row("Database", _DATABASE),
        Row("Logs", [_LOGS], collapsed=True),
    ],
)
