"""The jobs behind a connection pooler that does not keep sessions: they say so, and do nothing."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from scripts.embedded.postgres import psql
from scripts.job.exits import Exit
from tests.scripts.running import CLEANUP, run

DUE = "select count(*) from refresh_tokens where expires_at < now() - interval '30 days'"


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """What passes on who wants to which database, and no setting: pgbouncer with ignore_startup_parameters, Supavisor.

    Yields:
        The database's URL by way of it.
    """
    server = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            there = socket.create_connection((str(server.hostname), int(server.port or 0)))
            length = int.from_bytes(self.request.recv(4, socket.MSG_WAITALL))
            version, said = (self.request.recv(size, socket.MSG_WAITALL) for size in (4, length - 8))
            words = said.rstrip(b"\0").split(b"\0")
            settings = dict(zip(words[::2], words[1::2], strict=True))
            kept = b"".join(b"%s\0%s\0" % (name, settings[name]) for name in (b"user", b"database"))
            body = version + kept + b"\0"
            there.sendall((len(body) + 4).to_bytes(4) + body)
            back = threading.Thread(target=_pass, args=(there, self.request))
            back.start()
            _pass(self.request, there)
            back.join()
            there.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        login = str(server.netloc).rpartition("@")[0]
        yield server._replace(netloc=f"{login}@127.0.0.1:{running.server_address[1]}", query="sslmode=disable").geturl()
        running.shutdown()
        thread.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)], ids=["a run", "a dry run"])
def test_a_session_without_its_settings_is_a_mistake_in_the_configuration_and_changes_nothing(
    arguments: tuple[str, ...], live_url: str, env: dict[str, str]
) -> None:
    psql(live_url, "update refresh_tokens set expires_at = now() - interval '90 days'")
    before = psql(live_url, DUE)
    with pooler(live_url) as url:
        ended = run((*CLEANUP, *arguments), env | {"DATABASE_URL": url})
    assert ended.code == Exit.CONFIGURATION
    assert "a connection pooler that does not keep sessions" in ended.result["error"]
    assert psql(live_url, DUE) == before != "0"
