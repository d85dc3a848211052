"""The watchers: whether what watches UnionCore works itself."""

from grafana.boards.store import STORE, failures, prometheus
from grafana.fields import (
    BRIGHT,
    COLOURED,
    DEEP,
    P2,
    P3,
    WELL,
    board,
    coloured,
    joined,
    override,
    runbook,
    steps,
    yes_no,
)
from grafana.layout import Board, Row
from grafana.panels import Graph, Panel, Stat, Table
from grafana.queries import Query, own, select
from grafana.shared import firing_alerts
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

SCRAPE_TIMEOUT = 10
"""After so many seconds Prometheus gives a scrape up, by prometheus.yml."""
_TARGET, _MISSING = runbook("UnionCoreTargetDown"), runbook("UnionCoreTargetMissing")
_EXPORTER, _COLLECTOR = runbook("UnionCoreExporterDown"), runbook("UnionCoreCollectorFailing")
_RULE, _RELOAD = runbook("UnionCoreRuleFailing"), runbook("UnionCoreConfigReloadFailed")
_UNREACHABLE, _NOTIFICATIONS = runbook("UnionCoreAlertmanagerUnreachable"), runbook("UnionCoreNotificationsFailing")
_TARGETS = {"target": "Target", "Value #A": "Answers", "Value #B": "Took", "Value #C": "Samples"}
_COLLECTORS = {"collector": "Collector", "Value #A": "Counted", "Value #B": "Took", "Value #C": "Last counted"}


def _alertmanager(metric: str) -> str:
    return select(metric, job="alertmanager")


def _share(failed: str, all_: str, by: str) -> str:
    return f"max(sum by ({by}) (increase({failed}[1h])) / (sum by ({by}) (increase({all_}[1h])) > 0))"


def _target(metric: str) -> str:
    return f'max by (target) (label_join({metric}, "target", "  ", "job", "instance"))'


_NOW: list[Panel] = [
    Stat(
        title="Alerts can travel",
        description="Whether the watchdog fires, as it always must: it shows that rules are evaluated. If not, no alert"
        " reaches anybody: look at Prometheus first.",
        unit="none",
        queries=[Query('count(ALERTS{alertname="UnionCoreWatchdog",alertstate="firing"}) > bool 0 or vector(0)')],
        mappings=yes_no("Yes", "No"),
        links=[runbook("UnionCoreWatchdog")],
    ),
    Stat(
        title="Targets down",
        description="How many of the things that Prometheus looks at do not answer. Look in the table below for which.",
        unit="none",
        queries=[Query("count(up == 0) or 0 * count(up)")],
        steps=steps((1, P3)),
        links=[_TARGET, _MISSING],
    ),
    Stat(
        title="Collectors failing",
        description="How many parts of the exporter can't count what they watch. Their numbers are missing: look in the"
        " table below for which.",
        unit="none",
        queries=[Query(f"count({own('unioncore_collector_success')} == 0) or 0 * count({own('unioncore_up')})")],
        steps=steps((1, P3)),
        no_value="No exporter",
        links=[_COLLECTOR, _EXPORTER],
    ),
    Stat(
        title="Rules failing",
        description="Evaluations of rules that failed within 15 minutes. Those alerts can't fire: follow the runbook.",
        unit="none",
        decimals=0,
        queries=[Query(failures("prometheus_rule_evaluation_failures_total"))],
        steps=steps((0.5, P2)),
        links=[_RULE],
    ),
    Stat(
        title="Alertmanagers known",
        description="How many Alertmanagers Prometheus hands its alerts to. At 0 nobody is told of anything: follow the"
        " runbook.",
        unit="none",
        queries=[Query(f"max({prometheus('prometheus_notifications_alertmanagers_discovered')})")],
        steps=steps((1, WELL), below=P2),
        links=[_UNREACHABLE],
    ),
    Stat(
        title="Failed notifications",
        description="The share of attempts to notify within an hour that failed, of the way of notifying that is worst."
        " From orange on, whoever is told that way is not told: follow the runbook.",
        unit="percentunit",
        decimals=0,
        queries=[
            Query(
                _share(
                    _alertmanager("alertmanager_notification_requests_failed_total"),
                    _alertmanager("alertmanager_notification_requests_total"),
                    "integration, receiver_name",
                )
                + f" or 0 * count({_alertmanager('alertmanager_config_hash')})"
            )
        ],
        steps=steps((0.01, P3), (LIMITS.notifications_failing, P2)),
        links=[_NOTIFICATIONS],
    ),
    firing_alerts("monitoring|exporter", height=5),
    Stat(
        title="Configurations loaded",
        description="Whether each program has loaded its configuration as it now is. If not, it goes on with the old"
        " one: look in its log for why.",
        unit="none",
        queries=[
            Query("min(prometheus_config_last_reload_successful)", "Prometheus"),
            Query("min(alertmanager_config_last_reload_successful)", "Alertmanager"),
            Query("min(blackbox_exporter_config_last_reload_successful)", "blackbox_exporter"),
        ],
        mappings=yes_no("Yes", "No", bad=P3),
        links=[_RELOAD],
        width=8,
        height=5,
    ),
]
_SCRAPES: list[Panel] = [
    Table(
        title="Targets",
        description="What Prometheus looks at, whether it answers, how long that took, and how much it got. What does"
        " not answer is not measured: follow the runbook.",
        unit="none",
        queries=[
            Query(_target("up")),
            Query(_target("scrape_duration_seconds")),
            Query(_target("scrape_samples_scraped")),
        ],
        transformations=joined("target", _TARGETS),
        overrides=[
            override("Target", custom_width=320),
            override("Answers", mappings=yes_no("yes", "no", bad=P3), custom_cellOptions=COLOURED),
            override("Took", unit="s"),
            override("Samples", unit="locale"),
        ],
        sort="Answers",
        links=[_TARGET],
        width=12,
        height=10,
    ),
    Table(
        title="The exporter's collectors",
        description="Whether each collector could count, how long that took, and when it last could. One that fails"
        " leaves its numbers out: look at the exporter's page and log for why.",
        unit="none",
        queries=[
            Query(f"max by (collector) ({own('unioncore_collector_success')})"),
            Query(f"max by (collector) ({own('unioncore_collector_duration_seconds')})"),
            Query(f"1000 * max by (collector) ({own('unioncore_collector_last_success_timestamp_seconds')})"),
        ],
        no_value="No exporter",
        transformations=joined("collector", _COLLECTORS),
        overrides=[
            override("Counted", mappings=yes_no("yes", "no", bad=P3), custom_cellOptions=COLOURED),
            override("Took", unit="s"),
            override("Last counted", unit="dateTimeFromNow", custom_minWidth=150),
        ],
        sort="Counted",
        links=[_COLLECTOR, runbook("UnionCoreSchemaDrift")],
        width=12,
        height=10,
    ),
    Graph(
        title="How long scrapes take",
        description="How long it takes to read each target. Above the line Prometheus gives up, and the numbers are"
        " missing: look at the slow target's own load.",
        unit="s",
        minimum=0,
        queries=[Query("max by (job) (scrape_duration_seconds)", "{{job}}")],
        steps=steps((SCRAPE_TIMEOUT, P2)),
        links=[_TARGET],
        width=12,
    ),
    Graph(
        title="How long collectors take",
        description="The time that each scrape spent on each collector; 0 if what it had counted still holds. One that"
        " climbs has a table that grew: see whether `unioncore-exporter indexes` helps.",
        unit="s",
        minimum=0,
        queries=[Query(own("unioncore_collector_duration_seconds"), "{{collector}}")],
        links=[_COLLECTOR],
        width=12,
    ),
]
_TELLING: list[Panel] = [
    Graph(
        title="Alerts in Alertmanager",
        description="Alerts that Alertmanager knows: those it tells people of, and those that a silence or another"
        " alert holds back. Held back for days: look at the silences.",
        unit="none",
        decimals=0,
        minimum=0,
        stepped=True,
        queries=[Query(f"sum by (state) ({_alertmanager('alertmanager_alerts')})", "{{state}}")],
        links=[_NOTIFICATIONS],
    ),
    Graph(
        title="Notifications sent",
        description="Notifications in the hour before each moment, by the way they were sent and, where Alertmanager"
        " counts by receiver, who got them. If alerts fire and nothing is sent, no receiver is configured: see"
        " docs/configuration.md.",
        unit="none",
        decimals=0,
        minimum=0,
        queries=[
            Query(
                f"sum by (way) (label_join(increase({_alertmanager('alertmanager_notifications_total')}[1h]),"
                ' "way", " ", "integration", "receiver_name")) > 0'
                f" or on () label_replace(0 * count({_alertmanager('alertmanager_config_hash')}),"
                ' "way", "none", "", "")',
                "{{way}}",
            )
        ],
        no_value="Nothing was sent",
        soft_maximum=5,
        links=[_NOTIFICATIONS],
    ),
    Graph(
        title="Notifications that fail",
        description="Attempts to notify that failed in the hour before each moment, and alerts that Prometheus could"
        " not hand over. Anything above 0: follow the runbook, people may not have been told.",
        unit="none",
        minimum=0,
        soft_maximum=1,
        queries=[
            Query(
                f"sum(increase({_alertmanager('alertmanager_notification_requests_failed_total')}[1h]))"
                f" or 0 * count({_alertmanager('alertmanager_config_hash')})",
                "Alertmanager to people",
            ),
            Query(
                f"sum(increase({prometheus('prometheus_notifications_errors_total')}[1h]))",
                "Prometheus to Alertmanager",
            ),
        ],
        steps=steps((0.5, P2)),
        overrides=coloured({"Alertmanager to people": DEEP, "Prometheus to Alertmanager": BRIGHT}),
        links=[_NOTIFICATIONS, _UNREACHABLE, board("service")],
    ),
]
BOARD = Board(
    name="watchers",
    description="Whether what watches UnionCore works itself: the exporter, Prometheus, Alertmanager.",
    since="now-6h",
    refresh="30s",
    rows=[
        Row("", _NOW),
        Row("What is looked at", _SCRAPES),
        Row("Prometheus", STORE),
        Row("Telling people", _TELLING),
    ],
)
