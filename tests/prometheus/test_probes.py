"""The probes see in UnionCore's answers what its HTTP status does not tell, with a real blackbox_exporter."""

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.dev.binaries import find
from scripts.dev.unioncore import UnionCore
from scripts.dev.watchers import BlackboxExporter
from scripts.embedded.postgres import EmbeddedPostgres
from tests.prometheus.shipped import DIRECTORY

CONFIG = DIRECTORY / "blackbox.yml"


@pytest.fixture(scope="module")
def blackbox() -> Iterator[BlackboxExporter]:
    with BlackboxExporter(CONFIG) as server:
        yield server


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers 200 with the body that the path holds."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(type(self).body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(body: str, context: ssl.SSLContext | None = None) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Fixed", (Answer,), {"body": body.encode()})) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=partial(server.serve_forever, 0.05))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ready(status: str, **checks: str) -> dict[str, Any]:
    return {
        "status": status,
        "timestamp": "2026-01-01T00:00:00Z",
        "checks": {name: {"status": text} for name, text in checks.items()},
        "version": "1.0.0",
        "environment": "production",
    }


WELL = ready("healthy", database="healthy", s3="healthy")
DEGRADED = ready("degraded", database="unhealthy", s3="healthy")
TRICKY = ready("degraded", database="unhealthy")
TRICKY["checks"]["database"]["error"] = 'it said {"status": "healthy"}'
LATE = dict(reversed(WELL.items()))
ONLY_INSIDE = {"checks": WELL["checks"], "status": "degraded"}


def test_blackbox_exporter_finds_nothing_wrong_with_its_configuration() -> None:
    subprocess.run([find("blackbox_exporter"), "--config.check", f"--config.file={CONFIG}"], check=True)


@pytest.mark.parametrize(
    ("body", "serving", "well"),
    [
        pytest.param(json.dumps(WELL), True, True, id="as Python writes it"),
        pytest.param(json.dumps(WELL, separators=(",", ":")), True, True, id="as Starlette writes it"),
        pytest.param(json.dumps(WELL, indent=4).replace(":", " :\n\t"), True, True, id="with white space"),
        pytest.param(json.dumps(LATE), True, True, id="with the status last"),
        pytest.param(json.dumps(ready("healthy", database="healthy")), True, True, id="without an S3 check"),
        pytest.param(json.dumps(ready("healthy")), True, True, id="without checks"),
        pytest.param(json.dumps(ready("healthy", database="healthy", s3="unhealthy")), True, False, id="S3 fails"),
        pytest.param(
            json.dumps(ready("healthy", database="healthy", s3="unhealthy"), indent=1), True, False, id="S3, indented"
        ),
        pytest.param(json.dumps(DEGRADED), False, False, id="the database is down"),
        pytest.param(json.dumps(dict(reversed(DEGRADED.items()))), False, False, id="the database, status last"),
        pytest.param(json.dumps(TRICKY), False, False, id="an error that quotes health"),
        pytest.param(json.dumps(ONLY_INSIDE), False, False, id="healthy only inside"),
        pytest.param(json.dumps({"checks": {"status": "healthy"}}), False, False, id="a check called status"),
        pytest.param(json.dumps(ready("unhealthy", database="healthy")), False, False, id="unhealthy at the top"),
        pytest.param(json.dumps({"state": "healthy"}), False, False, id="another key"),
        pytest.param(json.dumps([WELL]), False, False, id="a list"),
        pytest.param("<html>healthy</html>", False, False, id="a page of the platform's"),
        pytest.param("", False, False, id="nothing"),
    ],
)
def test_only_the_body_tells(blackbox: BlackboxExporter, body: str, *, serving: bool, well: bool) -> None:
    with answering(body) as port:
        url = f"http://127.0.0.1:{port}/health/ready"
        assert blackbox.probe("serving", url)["probe_success"] == serving
        assert blackbox.probe("ready", url)["probe_success"] == well


@pytest.mark.parametrize(
    ("body", "alive"),
    [
        ('{"status":"alive","timestamp":"2026-01-01T00:00:00Z"}', True),
        ('{ "timestamp": "x",\n "status" : "alive" }', True),
        ('{"status":"healthy"}', False),
        ("<html>The platform says: no application here, but 200</html>", False),
    ],
)
def test_something_else_that_answers_is_not_alive(blackbox: BlackboxExporter, body: str, *, alive: bool) -> None:
    with answering(body) as port:
        assert blackbox.probe("live", f"http://127.0.0.1:{port}/health/live")["probe_success"] == alive


def test_the_stand_in_has_the_troubles_of_the_application(postgres: EmbeddedPostgres) -> None:
    with UnionCore(postgres.url("postgres")) as application:

        def get() -> tuple[str, dict[str, str]]:
            answer = application.get("/health/ready")
            assert answer.status_code == 200
            body = answer.json()
            return body["status"], {name: check["status"] for name, check in body["checks"].items()}

        assert application.get("/health/live").json()["status"] == "alive"
        assert get() == ("healthy", {"database": "healthy", "s3": "healthy"})
        application.trouble(["s3"])
        assert get() == ("healthy", {"database": "healthy", "s3": "unhealthy"})
        application.trouble(["database"])
        assert get() == ("degraded", {"database": "unhealthy", "s3": "healthy"})
        application.trouble(["hang"])
        with pytest.raises(httpx.ReadTimeout):
            application.get("/health/ready", timeout=1)
        assert application.get("/health/live").json()["status"] == "alive"
        application.trouble(["failing"])
        with pytest.raises(httpx.HTTPStatusError):
            application.get("/health/live")
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            application.trouble(["boredom"])
        application.trouble()
        assert get()[0] == "healthy"


def test_a_database_that_is_down_or_hangs_is_seen_within_the_time_limit(blackbox: BlackboxExporter) -> None:
    with EmbeddedPostgres() as postgres, UnionCore(postgres.url("postgres")) as application:

        def look() -> tuple[float, float, float]:
            live = blackbox.probe("live", f"{application.url}/health/live")["probe_success"]
            found = blackbox.probe("ready", f"{application.url}/health/ready")
            return live, found["probe_success"], found["probe_duration_seconds"]

        assert look()[:2] == (1, 1)
        postgres.stop()
        assert application.get("/health/ready").status_code == 200
        assert look()[:2] == (1, 0)
        postgres.start()
        assert look()[:2] == (1, 1)
        postgres.freeze()
        live, well, took = look()
        assert (live, well) == (1, 0)
        assert took == pytest.approx(5, abs=0.5)
        postgres.thaw()
        assert look()[:2] == (1, 1)


def test_a_certificate_tells_its_end_even_when_it_is_over(blackbox: BlackboxExporter, tmp_path: Path) -> None:
    expired = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "unioncore.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(expired - timedelta(days=90))
        .not_valid_after(expired)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with answering(json.dumps({"status": "alive"}), context) as port:
        found = blackbox.probe("certificate", f"127.0.0.1:{port}")
        assert found["probe_success"] == 1
        assert found["probe_ssl_earliest_cert_expiry"] == expired.timestamp()
        # Browsers refuse it, and so does the probe that stands for them.
        assert blackbox.probe("live", f"https://127.0.0.1:{port}/health/live")["probe_success"] == 0
