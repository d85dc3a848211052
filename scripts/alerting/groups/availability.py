"""Whether people can work: the probes of UnionCore's health endpoints, and its certificate."""

from scripts.alerting.groups.probes import ANY, CERTIFICATE, LIVE, READY, SERVING
from scripts.alerting.model import Alert, Group, Record, Severity, duration, lines, number, seen, words
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

# Whichever probe has seen it: an address with http:// may lead to one with https://, which only the others follow.
_EXPIRY = f"min by (instance) ({seen(f'probe_ssl_earliest_cert_expiry{{{ANY}}}')})"

# Evaluated often, so that the time until a page goes into watching, not into waiting for the next evaluation. `for` is
# longer than a scrape's interval: one failed probe never pages. `keep_firing_for` of what others follow from is longer
# than theirs: a follower that ended last would be told of as if it stood alone.
OUTAGE = Group(
    "unioncore-outage",
    [
        Alert(
            name="UnionCoreDown",
            expr=f"{seen(f'probe_success{{{LIVE}}}', '1m')} == 0",
            wait="1m",
            keep="2m",
            severity=Severity.CRITICAL,
            service="application",
            summary="UnionCore does not answer",
            description="{{ $labels.instance }} has not answered its liveness check (/health/live) for at least "
            "1 minute: the application is stopped, or the network in front of it is broken. Nobody can work with it.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreNotReady",
            expr=lines(
                f"{seen(f'probe_success{{{SERVING}}}', '1m')} == 0",
                f"and on (instance) {seen(f'probe_success{{{LIVE}}}', '1m')} == 1",
            ),
            wait="1m",
            keep="1m",
            severity=Severity.CRITICAL,
            service="application",
            summary="UnionCore runs, but can't serve anybody",
            description="{{ $labels.instance }} is alive, but for at least 1 minute /health/ready has not said "
            '"healthy" within 5 seconds: the application can\'t use its database, or hangs. '
            "People see errors or wait for ever.",
            dashboard="service",
        ),
    ],
    interval="5s",
)

AVAILABILITY = Group(
    "unioncore-availability",
    [
        Record("instance:probe_duration_seconds:avg5m", f"avg_over_time(probe_duration_seconds{{{SERVING}}}[5m])"),
        Record(
            "instance_phase:probe_http_duration_seconds:avg5m",
            f"avg_over_time(probe_http_duration_seconds{{{SERVING}}}[5m])",
        ),
        Alert(
            name="UnionCoreCheckFailing",
            expr=lines(
                f"{seen(f'probe_success{{{READY}}}', '2m')} == 0",
                f"and on (instance) {seen(f'probe_success{{{SERVING}}}', '2m')} == 1",
            ),
            wait="2m",
            keep="1m",
            severity=Severity.HIGH,
            service="application",
            summary="A part of UnionCore is broken, though it calls itself healthy",
            description="{{ $labels.instance }} says that it is healthy, but for at least 2 minutes one of the checks "
            "in the body of /health/ready has been unhealthy: usually its file storage (S3). "
            "Uploads and documents fail; the rest works.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreSlow",
            # Probes that fail take their full time: those are an outage, and told of as one.
            expr=lines(
                f"{seen('instance:probe_duration_seconds:avg5m')} > {number(LIMITS.slow)}",
                f"and min_over_time(probe_success{{{SERVING}}}[5m]) == 1",
            ),
            wait="10m",
            keep="5m",
            severity=Severity.MEDIUM,
            service="application",
            summary="UnionCore is slow",
            description="For at least 10 minutes {{ $labels.instance }} has taken {{ $value | humanizeDuration }} on "
            f"average to say whether it is ready; more than {words(LIMITS.slow)} is slow. "
            "People wait, and reports take long.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreCertificateExpiring",
            expr=f"{_EXPIRY} - time() < {duration(LIMITS.certificate_early)}",
            wait="10m",
            keep="10m",
            severity=Severity.MEDIUM,
            service="application",
            summary="UnionCore's certificate has not been renewed",
            description="The TLS certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}. It "
            f"should have been renewed {words(LIMITS.certificate_early)} before. "
            "Once it has expired, browsers refuse the site.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreCertificateExpiresSoon",
            expr=f"{_EXPIRY} - time() < {duration(LIMITS.certificate_late)}",
            wait="10m",
            keep="15m",
            severity=Severity.HIGH,
            service="application",
            summary="UnionCore's certificate is about to expire",
            description="The TLS certificate of {{ $labels.instance }} "
            "{{ if gt $value 0.0 }}expires in {{ $value | humanizeDuration }}{{ else }}has expired{{ end }}. "
            "Renew it by hand now: from then on browsers refuse the site, and nobody can work.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreCertificateUnwatched",
            expr=lines(
                f"{seen(f'probe_success{{{CERTIFICATE}}}')} == 0",
                f"and on (instance) {seen(f'probe_success{{{LIVE}}}')} == 1",
                f"unless on (instance) {_EXPIRY}",
            ),
            wait="30m",
            keep="10m",
            severity=Severity.MEDIUM,
            service="monitoring",
            summary="Nobody watches how long UnionCore's certificate is valid",
            description="{{ $labels.instance }} answers, but for at least 30 minutes no probe has been able to read "
            "its TLS certificate. Nobody would be warned before it expires.",
            dashboard="service",
        ),
        Alert(
            name="UnionCoreProbeMissing",
            expr=lines(
                f"absent(probe_success{{{LIVE}}})",
                f"or absent(probe_success{{{SERVING}}})",
                f"or absent(probe_success{{{READY}}})",
            ),
            wait="5m",
            keep="5m",
            severity=Severity.HIGH,
            service="monitoring",
            summary="Nobody watches whether UnionCore is up",
            description="There has been no result of the probe {{ $labels.job }} for at least 5 minutes: "
            "blackbox_exporter does not run, or no address of UnionCore is configured. "
            "An outage would not be noticed.",
            dashboard="watchers",
        ),
    ],
)
