"""What the exporter takes no pushes of, from whom, and that it keeps what it took."""

import asyncio
import gzip
import http.client
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from exporter import connections
from exporter.jobs import JobStore, labels_of
from exporter.push import MAX_BODY
from scripts.dev.servers import Server
from scripts.embedded.processes import free_port
from tests import pushing
from tests.pushing import BACKUP, ITEMS, RUN, SUCCEEDED, SUCCESS, TEXT, Push, Stage, application, published, send


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def port(tmp_path: Path, stage: Stage) -> int:
    stage.app = application(tmp_path)
    return stage.port


OURS: dict[str, tuple[Push, int, str]] = {
    "another family": (Push("PUT", BACKUP, "x 5\n"), 400, SUCCESS),
    "another type": (Push("PUT", BACKUP, f"# TYPE {ITEMS} counter\n{ITEMS} 5\n"), 400, "gauge"),
    "another job": (Push("PUT", "/metrics/job/other", TEXT), 400, "archive-delete"),
    "a DELETE of another job": (Push("DELETE", "/metrics/job/other"), 400, "archive-delete"),
    "a label job_name in the path": (Push("PUT", BACKUP + "/job_name/x", TEXT), 400, "job_name"),
    "a label job_name in the body": (Push("PUT", BACKUP, f'{ITEMS}{{job_name="x"}} 5\n'), 400, "job_name"),
    "an empty component": (Push("PUT", BACKUP + "/a//b/c", TEXT), 400, "@base64/="),
    "NaN": (Push("PUT", BACKUP, f"{ITEMS} NaN\n"), 400, "finite"),
    "infinity": (Push("PUT", BACKUP, f"{ITEMS} +Inf\n"), 400, "finite"),
    "a success that is neither": (Push("PUT", BACKUP, f"{SUCCEEDED} 7\n"), 400, "neither 0 nor 1"),
    "half a success": (Push("PUT", BACKUP, f"{SUCCEEDED} 0.5\n"), 400, "neither 0 nor 1"),
    "a negative number": (Push("PUT", BACKUP, f"{ITEMS} -5\n"), 400, "negative"),
    "a time in the future": (Push("PUT", BACKUP, f"{RUN} {time.time() + 3600}\n"), 503, "future"),
    "a time in milliseconds": (Push("PUT", BACKUP, f"{RUN} 1.7e12\n"), 503, "future"),
    "an older time": (Push("PUT", BACKUP, f"{ITEMS} 1\n{RUN} 1.69e9\n"), 400, "older"),
    "an older time by POST": (Push("POST", BACKUP, f"{ITEMS} 1\n{RUN} 1.69e9\n"), 400, "older"),
    "snappy": (Push("PUT", BACKUP, TEXT, {"Content-Encoding": "snappy"}), 415, "gzip"),
    "protocol buffers": (
        Push("PUT", BACKUP, b"", {"Content-Type": "application/vnd.google.protobuf; encoding=delimited"}),
        415,
        "text",
    ),
    "a body that is not UTF-8": (Push("PUT", BACKUP, b"\xff\n"), 400, "UTF-8"),
    "a body that is too large": (Push("PUT", BACKUP, "#" * (MAX_BODY + 1)), 413, str(MAX_BODY)),
    "a gzip bomb": (
        Push("PUT", BACKUP, gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}),
        413,
        "decompressed",
    ),
    "a gzip bomb in many members": (
        Push("PUT", BACKUP, gzip.compress(b"#" * 50_000) * 2, {"Content-Encoding": "gzip"}),
        413,
        "decompressed",
    ),
    "too many series": (
        Push("PUT", BACKUP, "".join(f'{ITEMS}{{n="{n}"}} 1\n' for n in range(501))),
        400,
        "500",
    ),
    "a GET": (Push("GET", BACKUP), 405, ""),
}


@pytest.mark.parametrize(("push", "status", "reason"), OURS.values(), ids=OURS)
def test_what_only_this_exporter_refuses_is_answered_with_a_reason_and_changes_nothing(
    push: Push, status: int, reason: str, port: int
) -> None:
    assert send(port, Push("PUT", BACKUP, TEXT)).status == 200
    before = published(port)
    answer = send(port, push)
    assert answer.status == status
    assert reason in answer.text
    assert published(port) == before


def test_a_body_of_exactly_64_kib_is_taken(port: int) -> None:
    body = TEXT + "#" * (MAX_BODY - len(TEXT) - 1) + "\n"
    assert send(port, Push("PUT", BACKUP, body)).status == 200


def test_a_chunked_body_is_taken_up_to_the_same_limit(port: int) -> None:
    url = f"http://127.0.0.1:{port}{BACKUP}"
    assert httpx.put(url, content=iter([TEXT[:30].encode(), TEXT[30:].encode()])).status_code == 200
    assert published(port)
    assert httpx.put(url, content=(b"#" * 1000 for _ in range(1000))).status_code == 413


def test_a_push_without_a_type_clashes_with_no_other_group(port: int) -> None:
    assert send(port, Push("PUT", BACKUP, f"{ITEMS} 5\n")).status == 200
    assert send(port, Push("PUT", "/metrics/job/verify", TEXT)).status == 200


def test_the_same_time_again_and_one_within_the_clock_skew_are_taken(port: int) -> None:
    for when in (1.7e9, 1.7e9, time.time() + 30):
        assert send(port, Push("PUT", BACKUP, f"{RUN} {when!r}\n")).status == 200


def test_an_older_time_is_taken_after_a_delete(port: int) -> None:
    for push in (Push("PUT", BACKUP, TEXT), Push("DELETE", BACKUP), Push("PUT", BACKUP, f"{RUN} 1.6e9\n")):
        assert send(port, push).status < 300
    assert list(published(port).values()) == [1.6e9]


def test_a_configured_token_is_required_on_loopback_too(tmp_path: Path, stage: Stage) -> None:
    stage.app = application(tmp_path, token="sesame-é", loopback=True)
    for authorization in ("", "sesame-é", "Basic sesame-é", "Bearer ", "Bearer sesame", "Bearer sesame-é2"):
        headers = {"Authorization": authorization.encode().decode("latin-1")}
        for method in ("PUT", "DELETE"):
            answer = send(stage.port, Push(method, BACKUP, TEXT, headers))
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "sesame" not in answer.text
    headers = {"Authorization": "bearer  " + "sesame-é".encode().decode("latin-1")}
    assert send(stage.port, Push("PUT", BACKUP, TEXT, headers)).status == 200


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_pushes_are_refused_unless_only_loopback_can_send_them(
    token: str | None, tmp_path: Path, stage: Stage
) -> None:
    stage.app = application(tmp_path, token=token, loopback=False)
    for authorization in ("Bearer ", "Bearer None"):
        answer = send(stage.port, Push("PUT", BACKUP, TEXT, {"Authorization": authorization}))
        assert answer.status == 403
        assert "UNIONCORE_PUSH_TOKEN" in answer.text
    assert not published(stage.port)


def test_a_push_that_cannot_be_kept_is_answered_503_with_a_reason(tmp_path: Path, stage: Stage) -> None:
    (tmp_path / "state").write_text("in the way")
    stage.app = application(tmp_path / "state")
    answer = send(stage.port, Push("PUT", BACKUP, TEXT))
    assert answer.status == 503
    assert str(tmp_path / "state") in answer.text


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /", b"PUT /metrics/job/backup HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"],
    ids=["nothing", "half a head", "half a body"],
)
@pytest.mark.parametrize("before", [False, True], ids=["at once", "after a request"])
def test_a_connection_that_goes_silent_is_closed(
    port: int, said: bytes, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        if before:
            client.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(9999).startswith(b"HTTP/1.1 404")
            if not said:
                # One that has been answered is kept for the next request.
                time.sleep(1)
                client.sendall(b"G")
        client.sendall(said)
        began = time.monotonic()
        while client.recv(9999):
            pass
        assert 0.3 < time.monotonic() - began < 4


def test_a_push_to_the_second_exporter_on_a_directory_is_answered_503_and_logged_until_one_is_kept(
    tmp_path: Path, stage: Stage
) -> None:
    first = JobStore(tmp_path)
    asyncio.run(first.push(labels_of({"job": "verify"}), {}, replace=True, now=1.7e9))
    stage.app = application(tmp_path)
    with capture_logs() as logs:
        for _ in range(2):
            answer = send(stage.port, Push("PUT", BACKUP, TEXT))
            assert (answer.status, "another exporter keeps" in answer.text) == (503, True)
        first.close()
        assert send(stage.port, Push("PUT", BACKUP, TEXT)).status == 200
    assert [(line["event"], line["what"]) for line in logs] == [
        ("failure begins", "pushes"),
        ("failure ends", "pushes"),
    ]


def test_every_acknowledged_push_survives_kill_9(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, pushing.__file__, str(tmp_path), str(port)]
    acknowledged = 0
    with Server("push", argv, port=port, ready="/metrics") as server:
        for lifetime in (0.01, 0.05, 0.1, 0.15, 0.2, 0.25):
            killer = threading.Timer(lifetime, server.signal, [signal.SIGKILL])
            killer.start()
            with suppress(OSError, http.client.HTTPException):
                while True:
                    assert send(port, Push("POST", BACKUP, f"{ITEMS} {acknowledged + 1}\n")).status == 200
                    acknowledged += 1
            killer.join()
            server.stop()
            server.start()
            held = sum(published(port).values())
            # The push that was under way is there or not; it cannot be there in part.
            assert held in {acknowledged, acknowledged + 1}
            acknowledged = int(held)
    assert acknowledged > 20
