"""Receivers that fail: the others are told, the rules can see it, and no secret gets into the log."""

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.dev.sink import Sink
from tests.alertmanager.alerting import CONFIG, Site, running, told, until
from tests.prometheus.shipped import REPOSITORY


def test_a_failing_page_delays_nobody_else_and_is_told_by_the_others(site: Site, sink: Sink) -> None:
    site.secret("PAGERDUTY_KEY").set(PAGERDUTY_URL=f"{sink.url}/pagerduty/v2/enqueue")
    site.secret("SLACK_URL", f"{sink.url}/slack/").mail(sink, MAIL_TO="it@local.example")
    sink.troubles["pagerduty"] = 500
    with running(site.rendered() / CONFIG) as alerts:
        alerts.fire("Offline", "critical")
        until(lambda: set(told(sink, "Offline")) == {"slack", "mail to it@local.example"}, timeout=5)

        # What the rule sees: attempts at once, a notification that was given up after its group_interval.
        failed = "alertmanager_notification_requests_failed_total"
        until(lambda: alerts.metric(failed, integration="pagerduty") > 0, timeout=5)
        until(lambda: alerts.metric("alertmanager_notifications_failed_total", integration="pagerduty") > 0)
        assert alerts.counted(failed, "integration") == {"pagerduty"}

        alerts.fire("UnionCoreNotificationsFailing", "high", integration="pagerduty")
        until(lambda: len(told(sink, "UnionCoreNotificationsFailing")) == 2)
        tried = {item.service for item in sink.received() if "UnionCoreNotificationsFailing" in item.text}
        assert tried == {"slack", "smtp"}

        # It is told as soon as the page works again.
        del sink.troubles["pagerduty"]
        until(lambda: told(sink, "Offline")["pagerduty"] == 1)


def test_a_refused_page_is_counted_apart_from_a_heartbeat_that_gets_through(site: Site, sink: Sink) -> None:
    site.secret("PAGE_WEBHOOK_URL", f"{sink.url}/pager/").secret("HEARTBEAT_URL", f"{sink.url}/heartbeat/")
    sink.troubles["pager"] = 403
    tried, failed = (f"alertmanager_notification_requests_{kind}total" for kind in ("", "failed_"))
    with running(site.rendered() / CONFIG) as alerts:
        # A counter that begins with its first failure has no increase: the rule would not see that one.
        page = alerts.server.get("/metrics").text
        for receiver in ("page", "heartbeat"):
            assert f'{failed}{{integration="webhook",receiver_name="{receiver}"}} 0' in page

        alerts.fire("UnionCoreWatchdog", "none")
        alerts.fire("Offline", "critical")
        until(lambda: alerts.metric(tried, integration="webhook", receiver_name="heartbeat") > 1)
        until(lambda: alerts.metric(failed, integration="webhook", receiver_name="page") > 0)
        failures = alerts.metric(failed, integration="webhook", receiver_name="page")
        assert failures <= alerts.metric(tried, integration="webhook", receiver_name="page")
        assert alerts.metric(failed, receiver_name="heartbeat") == 0


def test_alertmanager_names_receivers_in_its_metrics_wherever_it_is_started() -> None:
    wanted = "--enable-feature=utf8-strict-mode,receiver-name-in-metrics"
    started = ("docker-compose.yml", "docker-compose.ha.yml", "docs/install.md", "scripts/dev/servers.py")
    for name in started:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert re.findall(r"--enable-feature=utf8[\w,-]*", text) == [wanted], name


def test_when_everything_fails_no_secret_gets_into_the_log(site: Site, sink: Sink) -> None:
    site.everything(sink).set(BUSINESS_HOURS="00:00-24:00", BUSINESS_DAYS="sunday:saturday")
    services = ("pagerduty", "opsgenie", "pager", "slack", "mattermost", "teams", "smtp", "jira", "desk", "heartbeat")
    sink.troubles |= dict.fromkeys(services, 500)
    with running(site.rendered() / CONFIG) as alerts:

        def fail() -> None:
            for name, severity in (("UnionCoreWatchdog", "none"), ("Offline", "critical"), ("Degraded", "medium")):
                alerts.fire(name, severity)

        fail()
        until(lambda: {item.service for item in sink.received()} == set(services))
        until(lambda: all(f"{name}[0]" in alerts.server.log for name in ("slack", "webhook", "email", "jira")))
        for service in services:
            sink.troubles[service] = 403
        fail()
        until(lambda: "403" in alerts.server.log)
        sink.close()
        until(lambda: alerts.server.log.count("connection refused") > 3)
        log = alerts.server.log
    assert not [secret for secret in site.secrets if secret in log]


def test_mail_is_sent_over_tls_with_a_login(site: Site) -> None:
    certificate, context = _certificate(site.directory)
    site.secret("SMTP_PASSWORD")
    with Sink(tls=context, login=("alerts", site.secrets[0])) as sink:
        site.mail(sink, MAIL_TO="it@local.example").set(SMTP_HOST="localhost", SMTP_TLS="starttls", SMTP_USER="alerts")
        with running(site.rendered() / CONFIG, SSL_CERT_FILE=str(certificate)) as alerts:
            alerts.fire("Offline", "critical")
            until(lambda: told(sink, "Offline")["mail to it@local.example"] == 1)
            assert site.secrets[0] not in alerts.server.log


def _certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return directory / "cert.pem", context
