"""The exporter as a process: what it answers, to whom, and how it starts and stops."""

import asyncio
import base64
import concurrent.futures
import gzip
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from scripts.dev.servers import Exporter, Prometheus
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.processes import free_port
from tests.exporting import exporter_sessions, locking
from tests.rows import writing

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def exporter(postgres: EmbeddedPostgres, templates: dict[str, str]) -> Iterator[Exporter]:
    postgres.create_database("served", template=templates["live"])
    with Exporter(postgres.url("served")) as server:
        yield server
    postgres.drop_database("served")


def names_of(text: str) -> set[str]:
    return {sample.name for family in parse_text(text) for sample in family.samples}


def test_metrics_are_the_text_format_unless_asked_otherwise(exporter: Exporter) -> None:
    answer = exporter.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {"unioncore_up", "unioncore_members", "unioncore_audit_events", "unioncore_backups"} <= names_of(answer.text)


def test_metrics_are_valid_openmetrics_if_asked_for(exporter: Exporter) -> None:
    answer = exporter.get("/metrics", headers={"accept": _OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    assert families["unioncore_audit_events"].type == "gauge"
    assert families["unioncore_audit_events_total"].type == "unknown"
    text = names_of(exporter.get("/metrics").text)
    assert {sample.name for family in families.values() for sample in family.samples} == text


def test_metrics_are_compressed_for_those_who_can_read_it(exporter: Exporter) -> None:
    plain = exporter.get("/metrics", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{exporter.url}/metrics", headers={"accept-encoding": "gzip"}) as answer,
    ):
        body = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    assert names_of(gzip.decompress(body).decode()) == names_of(plain.text)
    assert len(body) < len(plain.content) / 3


def test_name_asks_for_some_families_only(exporter: Exporter) -> None:
    answer = exporter.get("/metrics", params={"name[]": ["unioncore_up", "unioncore_members"]})
    assert names_of(answer.text) == {"unioncore_up", "unioncore_members"}
    assert exporter.get("/metrics", params={"name[]": "nothing_of_that_name"}).text == ""


def test_the_health_endpoints_answer_in_json(exporter: Exporter) -> None:
    assert exporter.get("/health/live").json()["status"] == "alive"
    ready = exporter.get("/health/ready").json()
    assert ready["status"] == "healthy"
    assert ready["checks"]["database"] == {"status": "healthy"}
    assert ready["failing_collectors"] == []


def test_a_broken_time_limit_of_the_scraper_is_ignored(exporter: Exporter) -> None:
    for limit in ("", "soon", "nan", "-1", "inf", "1e999"):
        answer = exporter.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": limit})
        assert "unioncore_up" in names_of(answer.text)


def test_a_hundred_scrapers_at_once_are_all_answered_alike(exporter: Exporter) -> None:
    with concurrent.futures.ThreadPoolExecutor(100) as pool, httpx.Client(trust_env=False) as client:
        answers = list(pool.map(lambda _: client.get(f"{exporter.url}/metrics", timeout=20), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert all("unioncore_members{" in answer.text for answer in answers)


def test_without_its_database_it_serves_backups_and_jobs_and_says_so(tmp_path: Path) -> None:
    with Exporter("postgresql://nobody:hush-hush@127.0.0.1:1/nothing", env={"BACKUP_DIR": str(tmp_path)}) as server:
        began = time.monotonic()
        answer = server.get("/metrics")
        assert time.monotonic() - began < 1
        assert "unioncore_up 0.0" in answer.text
        assert 'unioncore_backups{location="local"} 0.0' in answer.text
        assert "unioncore_members" not in answer.text
        ready = server.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["checks"]["database"]["status"] == "unhealthy"
        page = server.get("/").text
        assert "hush-hush" not in page + server.log + answer.text + ready.text
        assert server.stop() == 0


def test_a_scrape_in_flight_and_an_idle_connection_do_not_delay_sigterm(live_url: str) -> None:
    with Exporter(live_url) as server:
        server.get("/metrics")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 3


def test_the_scrapers_own_limit_is_met_though_a_table_is_locked(live_url: str, postgres: EmbeddedPostgres) -> None:
    with Exporter(live_url, env={"UNIONCORE_LOCK_TIMEOUT": "60"}) as server:
        database = live_url.rpartition("/")[2]
        locker = subprocess.Popen(
            [postgres.bin("psql"), live_url, "-qc", "begin; lock table dues_payments; select pg_sleep(6)"]
        )
        try:
            while "AccessExclusiveLock" not in postgres.psql("select mode from pg_locks", database):
                time.sleep(0.05)
            began = time.monotonic()
            text = server.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "2"}).text
            assert time.monotonic() - began < 2
            assert 'unioncore_collector_success{collector="dues"} 0.0' in text
            assert "unioncore_dues_payments{" not in text
            assert "unioncore_members{" in text
        finally:
            locker.kill()
            locker.wait()


def test_with_a_certificate_it_serves_https(live_url: str, tmp_path: Path) -> None:
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
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files = {"UNIONCORE_TLS_CERT": str(tmp_path / "cert.pem"), "UNIONCORE_TLS_KEY": str(tmp_path / "key.pem")}
    server = Exporter(live_url, env=files)
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "serve"], env=os.environ | server.env, stderr=subprocess.DEVNULL
    )
    try:
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with httpx.Client(verify=trust, trust_env=False) as client:
            for _ in range(100):
                try:
                    answer = client.get(f"https://localhost:{server.port}/metrics")
                except httpx.ConnectError:
                    time.sleep(0.1)
                else:
                    break
        assert "unioncore_up 1.0" in answer.text
    finally:
        process.terminate()
        assert process.wait(10) == 0
        server.close()


def test_a_token_is_asked_for_as_bearer_or_basic(live_url: str) -> None:
    with (
        Exporter(live_url, env={"UNIONCORE_METRICS_TOKEN": "s3cret-töken"}) as server,
        httpx.Client(trust_env=False, base_url=server.url) as client,
    ):
        for path in ("/metrics", "/"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert "Bearer" in refused.headers["www-authenticate"]
        token = "s3cret-töken".encode()
        basic = base64.b64encode(b"prometheus:" + token).decode()
        assert client.get("/metrics", headers={b"authorization": b"Bearer " + token}).status_code == 200
        assert client.get("/metrics", headers={"authorization": f"Basic {basic}"}).status_code == 200
        for wrong in ("Bearer s3cret", "Basic ???", f"Basic {base64.b64encode(b'a:b').decode()}", "Digest x", "Bearer"):
            assert client.get("/metrics", headers={"authorization": wrong}).status_code == 401
        assert client.get("/health/live").status_code == 200
        assert "s3cret" not in server.log


async def test_one_without_a_token_costs_no_scrape_its_collectors(live_url: str) -> None:
    settings = {"UNIONCORE_METRICS_TOKEN": "s3cret", "UNIONCORE_LOCK_TIMEOUT": "60"}
    with Exporter(live_url, env=settings) as server:
        async with httpx.AsyncClient(trust_env=False, base_url=server.url, timeout=20) as client:
            async with locking(live_url, "members"):
                scrape = asyncio.create_task(client.get("/metrics", headers={"authorization": "Bearer s3cret"}))
                for _ in range(200):
                    if any("members" in row["query"] for row in await exporter_sessions(live_url)):
                        break
                    await asyncio.sleep(0.05)
                limit = {"X-Prometheus-Scrape-Timeout-Seconds": "0.0001"}
                ready = asyncio.create_task(client.get("/health/ready", headers=limit))
                await asyncio.sleep(0.5)
            assert 'unioncore_collector_success{collector="members"} 1.0' in (await scrape).text
            assert (await ready).json()["status"] == "healthy"


async def test_one_without_a_token_does_not_have_the_database_looked_at_each_time(live_url: str) -> None:
    with Exporter(live_url, env={"UNIONCORE_METRICS_TOKEN": "s3cret"}) as server:
        assert server.get("/health/ready").json()["status"] == "healthy"
        async with writing(live_url) as writer:
            await writer.insert("members")
        async with locking(live_url, "members"):
            # A look would have to wait for the table, and fail.
            for _ in range(3):
                assert server.get("/health/ready").json()["status"] == "healthy"
            known = server.get("/health/ready", headers={"authorization": "Bearer s3cret"})
            assert known.json()["failing_collectors"] == ["members"]


def test_one_without_a_token_is_not_told_why_the_database_is_down() -> None:
    url = "postgresql://exporter_prod:hush-hush@127.0.0.1:1/nothing"
    with Exporter(url, env={"UNIONCORE_METRICS_TOKEN": "s3cret"}) as server:
        told = server.get("/health/ready").json()
        assert (told["status"], told["checks"]) == ("degraded", {"database": {"status": "unhealthy"}})
        told = server.get("/health/ready", headers={"authorization": "Bearer s3cret"}).json()
        assert "error" in told["checks"]["database"]


def test_a_port_that_is_taken_is_told_in_one_line(exporter: Exporter) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "serve"],
        env=os.environ | exporter.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_prometheus_scrapes_it(exporter: Exporter, tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: unioncore-exporter\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{exporter.port}']}}]\n"
    )
    with Prometheus(config, port=free_port()) as prometheus:
        for _ in range(100):
            if prometheus.query("unioncore_up"):
                break
            time.sleep(0.1)
        (up,) = prometheus.query("unioncore_up")
        assert up["value"][1] == "1"
        (members,) = prometheus.query("sum(unioncore_members)")
        (failing,) = prometheus.query("count(unioncore_collector_success == 1)")
        targets = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
        kinds = prometheus.get("/api/v1/metadata").json()["data"]
    assert int(members["value"][1]) > 100
    assert int(failing["value"][1]) >= 9
    assert [target["lastError"] for target in targets] == [""]
    assert kinds["unioncore_audit_events"][0]["type"] == "gauge"
