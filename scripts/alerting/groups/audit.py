"""The audit log, which the NLRA wants kept for seven years, unaltered."""

from scripts.alerting.groups.probes import EXPORTER
from scripts.alerting.model import Alert, Group, Record, Severity, duration, held, lines, number, seen, words
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_TOTAL = 'unioncore_audit_events_total{action="delete"}'
_DELETES = "table:unioncore_audit_events:deletes15m"
_BURST = seen(_DELETES, "1m")
_ENTRIES = 'unioncore_audit_immutable{operation=~"update|delete"}'
_WHOLE = 'unioncore_audit_immutable{operation="truncate"}'
_COUNTED = 'unioncore_collector_success{collector="audit"}'
_ARCHIVED = 'unioncore_job_last_success_timestamp_seconds{job_name="archive"}'
_LAST = "unioncore_audit_last_event_timestamp_seconds"
_OLDEST = "unioncore_audit_oldest_event_timestamp_seconds"
_DELETED = 'unioncore_job_last_run_timestamp_seconds{job_name="archive-delete"}'
_BEFORE = f"[1d] offset {duration(LIMITS.audit_history_window)}"
_TODAY = 'unioncore_users_active{window="today"}'

GROUP = Group(
    "unioncore-audit",
    [
        # A series of this counter begins with its first events already in it, which increase() does not see. It is new
        # only if the exporter was scraped before: else Prometheus is.
        Record(
            _DELETES,
            lines(
                "sum by (instance, table) (",
                f"  ({_TOTAL} unless {_TOTAL} offset 15m and on (instance) up{{{EXPORTER}}} offset 15m == 1)",
                f"  or increase({_TOTAL}[15m])",
                ")",
            ),
        ),
        Alert(
            name="UnionCoreAuditMutable",
            expr=f"{held(_ENTRIES)} == 0",
            wait="1m",
            keep="5m",
            severity=Severity.HIGH,
            service="audit",
            summary="The audit log can be altered",
            description="The database no longer refuses {{ $labels.operation | toUpper }} on the audit log: a "
            "protecting trigger was dropped, disabled or changed. Entries could be altered or removed without a trace, "
            "which the NLRA forbids.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreAuditTruncatable",
            expr=f"{held(_WHOLE)} == 0",
            wait="1h",
            keep="5m",
            severity=Severity.LOW,
            service="audit",
            summary="The audit log could be emptied as a whole",
            description="The database refuses to update or delete single entries of the audit log, but not to TRUNCATE "
            "it: UnionCore's own triggers leave that open. One more trigger closes it.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreAuditSilent",
            # More users today than an hour ago: after midnight there are fewer, and it waits for the next.
            expr=lines(
                f"time() - {seen(_LAST)} > {duration(LIMITS.audit_silence)}",
                f"and on (instance) {seen(_TODAY)} > {seen(_TODAY, offset=duration(LIMITS.audit_silence))}",
            ),
            wait="5m",
            keep="5m",
            severity=Severity.HIGH,
            service="audit",
            summary="UnionCore writes no audit log, though people use it",
            description="The last audit event is {{ $value | humanizeDuration }} old, though users have logged in "
            "during that time. What they do is not recorded.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreAuditDeleteBurst",
            expr=lines(
                f"{_BURST} > {number(LIMITS.audit_deletes)}",
                f"and {_BURST} > {number(LIMITS.audit_deletes_factor)}"
                f" * (avg_over_time({_DELETES}[7d] offset 15m) or {_BURST} * 0)",
            ),
            wait="1m",
            keep="15m",
            severity=Severity.HIGH,
            service="audit",
            summary="Very many rows are being deleted",
            description='About {{ printf "%.0f" $value }} rows of the table {{ $labels.table }} were deleted in '
            "UnionCore within 15 minutes, far more than usual. That is a mistake, a misused account, or a clean-up "
            "that somebody knows of.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreAuditHistoryLost",
            # What was known before is the newest that is old enough, however long nothing was measured after it. It is
            # so old that the difference outlasts an outage. A run of
            # archive --delete is compared in the same way, so that it explains just what went since then.
            expr=lines(
                f"({held(_OLDEST)} - last_over_time({_OLDEST}{_BEFORE}) > {duration(LIMITS.audit_history)}",
                f"or last_over_time({_OLDEST}{_BEFORE}) unless {_OLDEST} and on (instance) {seen(_COUNTED)} == 1)",
                f"unless on () {held(_DELETED)} > (last_over_time({_DELETED}{_BEFORE}) or 0 * {held(_DELETED)})",
            ),
            # archive --delete reports only when it ends.
            wait="30m",
            keep="15m",
            severity=Severity.HIGH,
            service="audit",
            summary="Old entries of the audit log are gone",
            description=f"Within {words(LIMITS.audit_history_window)}, or while nothing was measured, the audit log "
            "has lost its oldest entries, a day's worth or more, and no run of archive --delete explains it. Entries "
            "must be kept for seven years.",
            dashboard="audit",
        ),
        Alert(
            name="UnionCoreAuditArchiveOverdue",
            expr=f"time() - {held(_ARCHIVED)} > {duration(LIMITS.archive_overdue)}",
            wait="10m",
            keep="10m",
            severity=Severity.MEDIUM,
            service="audit",
            summary="The audit log has not been archived for weeks",
            description="The archive job last succeeded {{ $value | humanizeDuration }} ago; more than "
            f"{words(LIMITS.archive_overdue)} means that two weekly runs are missing. The audit log exists only in the "
            "database and its backups.",
            dashboard="audit",
        ),
    ],
    interval="30s",
)
