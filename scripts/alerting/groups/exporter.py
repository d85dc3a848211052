"""The exporter: whether it can be scraped, and whether it can count."""

from scripts.alerting.groups.probes import ALERTMANAGER, DATABASE_OUT, EXPORTER, POSTGRES, PROMETHEUS
from scripts.alerting.model import Alert, Group, Severity, flaps, lines, seen

_LOOKED = 'unioncore_collector_success{collector="schema"}'
COUNTED = (
    "unioncore_users",
    "unioncore_audit_events",
    "unioncore_audit_immutable",
    "unioncore_dues_collected_dollars",
    "unioncore_schema_info",
    "unioncore_backups",
    "unioncore_job_last_run_timestamp_seconds",
)
"""What alerts are made of, and must be there whenever the database answers."""


def _answers(job: str) -> str:
    """Return where a target has been scraped within the last minutes."""
    return f"max_over_time(up{{{job}}}[5m]) == 1"


# While the database does not answer, there are none: that is told of as that.
_STATISTICS = f"{_answers(POSTGRES)} unless on () ({DATABASE_OUT})"
# Counted by receiver, attempts to notify have no series where nobody is notified.
_ATTEMPTS = f"{_answers(ALERTMANAGER)} unless on () max({seen(f'alertmanager_integrations{{{ALERTMANAGER}}}')}) == 0"
_OTHERS = {
    "pg_up": _answers(POSTGRES),
    "pg_stat_activity_count": _STATISTICS,
    "pg_settings_max_connections": _STATISTICS,
    "pg_database_size_bytes": _STATISTICS,
    "alertmanager_notification_requests_total": _ATTEMPTS,
    "alertmanager_notification_requests_failed_total": _ATTEMPTS,
    "prometheus_notifications_alertmanagers_discovered": _answers(PROMETHEUS),
    "prometheus_rule_evaluation_failures_total": _answers(PROMETHEUS),
    "prometheus_tsdb_wal_writes_failed_total": _answers(PROMETHEUS),
}
_GUARDS = dict.fromkeys(COUNTED, f"{seen('unioncore_up')} == 1") | _OTHERS


def _missing() -> str:
    """Return the series that are missing though whoever publishes them can be scraped, by the label `metric`."""
    return "\nor ".join(
        f'label_replace(absent({metric}), "metric", "{metric}", "", "") and on () {guard}'
        for metric, guard in _GUARDS.items()
    )


GROUP = Group(
    "unioncore-exporter",
    [
        Alert(
            name="UnionCoreExporterDown",
            expr=f"up{{{EXPORTER}}} == 0",
            wait="1m",
            keep="2m",
            severity=Severity.HIGH,
            service="exporter",
            summary="The exporter does not answer",
            description="Prometheus has not been able to scrape the exporter at {{ $labels.instance }} for at least "
            "1 minute. Until it is back, nothing is known of the database, the backups, the jobs, the audit log and "
            "the dues.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreCollectorFailing",
            # With the database down all of its collectors fail: that is told of as that.
            expr=lines(
                f"({flaps('unioncore_collector_success')} or {seen('unioncore_collector_success')} == 0)",
                f"and on (instance) {seen('unioncore_up')} == 1",
            ),
            wait="5m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="exporter",
            summary="The exporter can't count a part of what it watches",
            description="The collector {{ $labels.collector }} has failed "
            "{{ if eq $value 0.0 }}for at least 5 minutes{{ else }}again and again (only "
            "{{ $value | humanizePercentage }} of its counts within half an hour succeeded){{ end }}, though the "
            "database answers. Its numbers are missing, and alerts that need them can't fire"
            "{{ if ne $value 0.0 }} in time{{ end }}.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreSchemaDrift",
            expr=lines(
                "max_over_time(unioncore_schema_info[1d]) unless unioncore_schema_info",
                f"and on (instance) {seen(_LOOKED)} == 1",
            ),
            wait="10m",
            keep="10m",
            severity=Severity.MEDIUM,
            service="exporter",
            summary="UnionCore's tables have changed",
            description='The exporter no longer finds the fact "{{ $labels.fact }}" in '
            "{{ $labels.table }}.{{ $labels.column }}, where it was within the last day: UnionCore was updated, or "
            "somebody changed the table. Numbers may be missing or mean something else now.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreMetricMissing",
            expr=_missing(),
            wait="30m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="monitoring",
            summary="A number that alerts depend on is missing",
            description="There has been no {{ $labels.metric }} for at least 30 minutes, though the program that "
            "publishes it can be scraped. Alerts that need it can't fire.",
            dashboard="watchers",
        ),
    ],
    interval="30s",
)
