"""The watchers: Prometheus, Alertmanager, and whatever they need."""

from scripts.alerting.groups.probes import ALERTMANAGER, BLACKBOX, DATABASE_OUT, EXPORTER, NODE, POSTGRES, PROMETHEUS
from scripts.alerting.model import Alert, Group, Severity, flaps, lines, seen
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_FAILED = "alertmanager_notification_requests_failed_total"
_TRIED = "alertmanager_notification_requests_total"
_BROKEN_STORAGE = (
    "prometheus_tsdb_wal_writes_failed_total",
    "prometheus_tsdb_wal_truncations_failed_total",
    "prometheus_tsdb_head_truncations_failed_total",
    "prometheus_tsdb_compactions_failed_total",
)
_DISCOVERED = f"prometheus_notifications_alertmanagers_discovered{{{PROMETHEUS}}}"
_DATABASE = f"up{{{POSTGRES}}}"
_DISKS = f'node_filesystem_avail_bytes{{{NODE},fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"}}'
_FREE = f"{seen(_DISKS)} / {seen('node_filesystem_size_bytes')}"

# Each target has `up`, whether it answers or not.
_NOTHING = "absent_over_time(up[{}])"

GROUP = Group(
    "unioncore-monitoring",
    [
        Alert(
            name="UnionCoreWatchdog",
            # A Prometheus whose disk is full goes on evaluating, of nothing.
            expr=f"vector(1) unless on () {_NOTHING.format('2m')}",
            wait="0s",
            keep="0s",
            severity=Severity.NONE,
            service="monitoring",
            summary="Alerts can travel",
            description="This alert always fires. It goes to the dead man's switch, which raises the alarm when it "
            "stops: then Prometheus or Alertmanager is down, or measures nothing, and no other alert could reach "
            "anybody.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCorePrometheusStoresNothing",
            # Its counter of failed writes can't tell: that is not stored either.
            expr=_NOTHING.format("1m"),
            # A new Prometheus has nothing until its first scrape.
            wait="3m",
            keep="5m",
            severity=Severity.CRITICAL,
            service="monitoring",
            summary="Prometheus stores no measurements",
            description="For at least 4 minutes Prometheus has stored no measurement at all: its disk is full, read "
            "only, or broken, or it has no targets. Nothing is watched: no outage would be noticed, and whatever fires "
            "may be reported as over though it is not.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreTargetDown",
            # The exporter and the probes have alerts of their own that say that they are down; what fails now and then,
            # whichever it is, is told of here. While the database hangs, postgres_exporter does not answer either: that
            # is told of as that.
            expr=lines(
                "(",
                f"  {flaps('up')}",
                '  or up{job!~"unioncore-.*"} == 0',
                f") unless ({_DATABASE} and on () ({DATABASE_OUT}))",
            ),
            wait="5m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="monitoring",
            summary="A part of the monitoring does not answer",
            description="Prometheus has not been able to scrape {{ $labels.job }} at {{ $labels.instance }} "
            "{{ if eq $value 0.0 }}for at least 5 minutes{{ else }}again and again (only "
            "{{ $value | humanizePercentage }} of the scrapes within half an hour succeeded){{ end }}. What it "
            "measures is not known, and alerts that need it can't fire{{ if ne $value 0.0 }} in time{{ end }}.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreTargetMissing",
            expr="\nor ".join(f"absent(up{{{job}}})" for job in (EXPORTER, BLACKBOX, ALERTMANAGER, PROMETHEUS)),
            wait="10m",
            keep="5m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Prometheus does not know where a part of the monitoring is",
            description="For at least 10 minutes Prometheus has had no target for {{ $labels.job }}: its file in "
            "targets/ is missing, empty or unreadable. What it measures is not known, and alerts that need it can't "
            "fire.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreRuleFailing",
            expr="sum by (instance, rule_group) "
            f"(increase(prometheus_rule_evaluation_failures_total{{{PROMETHEUS}}}[5m])) > 0",
            wait="5m",
            keep="5m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Prometheus can't evaluate some of its rules",
            description="Rules of {{ $labels.rule_group }} have failed for at least 5 minutes. Alerts in that group "
            "can't fire.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreAlertmanagerUnreachable",
            # With several Alertmanagers it is enough that one takes the alerts.
            expr=lines(
                f"{seen(_DISCOVERED, '2m')} == 0",
                "or min by (instance) (",
                f"  rate(prometheus_notifications_errors_total{{{PROMETHEUS}}}[5m])",
                f"  / rate(prometheus_notifications_sent_total{{{PROMETHEUS}}}[5m])",
                f") > {LIMITS.notifications_failing}",
            ),
            wait="2m",
            keep="5m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Prometheus can't reach Alertmanager",
            description="Prometheus at {{ $labels.instance }} "
            "{{ if eq $value 0.0 }}knows of no Alertmanager{{ else }}can't hand most of its alerts to any Alertmanager"
            "{{ end }}, for at least 2 minutes. Until it can, nobody is told of anything.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreNotificationsFailing",
            # By receiver too: the heartbeat gets through by webhook many times for each page that is refused. Without
            # Alertmanager's feature receiver-name-in-metrics the label is empty, and integrations alone are told apart.
            expr=lines(
                f"sum by (integration, receiver_name) (increase({_FAILED}{{{ALERTMANAGER}}}[5m]))",
                f"  / sum by (integration, receiver_name) (increase({_TRIED}{{{ALERTMANAGER}}}[5m]))",
                f"  > {LIMITS.notifications_failing}",
            ),
            wait="1m",
            # A notification that fails is tried again only with the next repetition, at most 15 minutes later for P1.
            keep="20m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Notifications by {{ $labels.integration }} do not get through",
            description="{{ $value | humanizePercentage }} of Alertmanager's attempts to notify"
            "{{ with $labels.receiver_name }} the {{ . }}{{ end }} by {{ $labels.integration }} have failed within 5 "
            "minutes. Whoever is told that way is not told of anything.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreConfigReloadFailed",
            expr=lines(
                f"{seen('prometheus_config_last_reload_successful')} == 0",
                f"or {seen('alertmanager_config_last_reload_successful')} == 0",
                f"or {seen('blackbox_exporter_config_last_reload_successful')} == 0",
            ),
            wait="5m",
            keep="2m",
            severity=Severity.MEDIUM,
            service="monitoring",
            summary="A changed configuration could not be loaded",
            description="{{ $labels.job }} at {{ $labels.instance }} has not been able to load its changed "
            "configuration for at least 5 minutes. It goes on with the old one, and would not start again with the "
            "new.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCorePrometheusStorageFailing",
            expr="\nor ".join(f"increase({metric}{{{PROMETHEUS}}}[15m]) > 0" for metric in _BROKEN_STORAGE),
            wait="5m",
            keep="15m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Prometheus can't write to its disk",
            description="Prometheus at {{ $labels.instance }} has failed to write measurements for at least 5 minutes: "
            "its disk is full, read only, or broken. Measurements are being lost, and alerts with them.",
            dashboard="watchers",
        ),
        Alert(
            name="UnionCoreHostDiskFilling",
            expr=lines(
                f"{_FREE} < {LIMITS.host_disk}",
                f"or ({_FREE} < {LIMITS.host_disk_soon}",
                f"  and predict_linear(node_filesystem_avail_bytes{{{NODE}}}[6h], 86400) < 0)",
            ),
            wait="15m",
            keep="15m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="A disk is almost full",
            description="{{ $labels.mountpoint }} on {{ $labels.instance }} has only "
            "{{ $value | humanizePercentage }} of its space left, or will be full within a day. Prometheus or the "
            "backups stop when their disk is full.",
            dashboard="watchers",
        ),
    ],
)
