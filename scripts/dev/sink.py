"""A sink for notifications: it takes mail and webhooks, answers as the real services do, and keeps everything.

The first part of a request's path says which service is meant: /pagerduty, /opsgenie, /slack, /mattermost, /teams,
/jira (an API that knows the issues it was given), and anything else for a webhook. `GET /received` tells what came,
as JSON; `PUT /trouble/slack` with a body of `500` lets a service (or `smtp`) fail with that status, `DELETE` ends it.

Run `python -m scripts.dev.sink --help` for the command.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import click

from scripts.dev.jira import Jira
from scripts.embedded.processes import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_HOST = "127.0.0.1"
_ANSWERS = {
    "pagerduty": (202, "application/json", b'{"status": "success", "message": "Event processed"}'),
    "opsgenie": (202, "application/json", b'{"result": "Request will be processed", "took": 0.1, "requestId": "1"}'),
    "slack": (200, "text/plain", b"ok"),
    "mattermost": (200, "text/plain", b"ok"),
    "teams": (202, "text/plain", b""),
}
_OTHERS = (200, "application/json", b"{}")


@dataclass(frozen=True)
class Received:
    """What came, whether or not it was taken.

    Attributes:
        service: The first part of the path; `smtp` for a mail.
        path: The rest of the path; a mail's recipients.
        method: As `POST`; `MAIL` for a mail.
        content: The JSON of the body; a mail's headers, and its parts by their type.
        headers: The request's, in lower case; a mail's.
        status: What it was answered with.
        at: When, in seconds since the epoch.
    """

    service: str
    path: str
    method: str
    content: Any
    headers: dict[str, str] = field(repr=False)
    status: int = 200
    at: float = field(default_factory=time.time)

    @property
    def text(self) -> str:
        """Everything that it says, to look for words in."""
        return self.content if isinstance(self.content, str) else json.dumps(self.content, ensure_ascii=False)

    @property
    def title(self) -> str:
        """What a person sees of it first; empty for a service that shows people nothing."""
        match self.service:
            case "pagerduty":
                return str(self.content.get("payload", {}).get("summary", ""))
            case "slack" | "mattermost":
                return str(self.content["attachments"][0]["title"])
            case "smtp":
                return str(self.content["subject"])
        return ""


class Sink:
    """The sink: a context manager that serves as long as it is entered.

    Args:
        port: Where it takes requests; a free port when left out.
        smtp_port: Where it takes mail, likewise.
        host: Where it listens.
        mail: False for no mail server at all.
        tls: For STARTTLS; with it, a login is asked for, which is `login`.
        login: The user and the password that the mail server knows.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        smtp_port: int = 0,
        host: str = _HOST,
        mail: bool = True,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] = ("", ""),
    ) -> None:
        self.port = port or free_port()
        self.smtp_port = smtp_port or free_port()
        self.url = f"http://{_HOST}:{self.port}"
        self.troubles: dict[str, int] = {}
        self.jira = Jira()
        self._received: list[Received] = []
        self._news = threading.Condition()
        self._host, self._mail, self._tls, self._login = host, mail, tls, login
        self._stop = ExitStack()

    def __enter__(self) -> Self:
        http = ThreadingHTTPServer((self._host, self.port), self._handler())
        http.daemon_threads = True
        self._stop.callback(http.server_close)
        if self._mail:
            from scripts.dev.mailbox import listen  # noqa: PLC0415 - needs aiosmtpd, which a container has not

            self._stop.callback(listen(self, self._host, self._tls, self._login))
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        self._stop.callback(http.shutdown)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; calling it again does nothing."""
        self._stop.close()

    def received(self, *services: str) -> list[Received]:
        """Return what came, in order.

        Args:
            *services: Only what came for these.
        """
        with self._news:
            return [item for item in self._received if not services or item.service in services]

    def clear(self) -> None:
        """Forget what came."""
        with self._news:
            self._received.clear()

    def wait(self, found: Callable[[Received], bool], *, timeout: float = 30) -> Received:
        """Return the first that is found, and wait for it if it has not come yet.

        Args:
            found: Says whether this is it.
            timeout: In seconds.

        Raises:
            TimeoutError: It did not come; the message lists what did.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for item in self._received:
                    if found(item):
                        return item
                if not self._news.wait(deadline - time.monotonic()):
                    came = "\n".join(f"{item.service} {item.method} {item.path} {item.text}" for item in self._received)
                    raise TimeoutError(f"it did not come within {timeout:g} s; what came:\n{came or 'nothing'}")

    def take(
        self, service: str, path: str, method: str, content: Any, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        """Keep what came, and say what is answered: status, type, body."""
        if service in self.troubles:
            answer = (self.troubles[service], "text/plain", b"trouble")
        elif service == "jira":
            status, body = self.jira.answer(method, path, content)
            answer = (status, "application/json", b"" if status == 204 else json.dumps(body).encode())
        else:
            answer = _ANSWERS.get(service, _OTHERS)
        with self._news:
            self._received.append(Received(service, path, method, content, headers, answer[0]))
            self._news.notify_all()
        return answer

    def control(self, method: str, path: str, content: Any) -> bytes:
        """Serve what the sink itself is asked for."""
        if path.startswith("/trouble/"):
            service = path.removeprefix("/trouble/")
            if method == "DELETE":
                self.troubles.pop(service, None)
            else:
                self.troubles[service] = int(content)
        return json.dumps([asdict(item) for item in self.received()]).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                content = _json(body)
                if self.path == "/received" or self.path.startswith("/trouble/"):
                    answer = (200, "application/json", sink.control(self.command, self.path, content))
                else:
                    service, _, rest = self.path.lstrip("/").partition("/")
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    answer = sink.take(service, f"/{rest}", self.command, content, headers)
                status, kind, body_out = answer
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body_out)))
                self.end_headers()
                self.wfile.write(body_out)

            do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing: what came is kept."""

        return Handler


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


@click.command(
    epilog="""\b
Examples:
  python -m scripts.dev.sink
  python -m scripts.dev.sink --host 0.0.0.0 --port 9999 --smtp-port 2525
  curl http://127.0.0.1:9999/received"""
)
@click.option("--host", default=_HOST, show_default=True, help="Where it listens.")
@click.option("--port", default=9999, show_default=True, help="For webhooks.")
@click.option("--smtp-port", default=2525, show_default=True, help="For mail; 0 for none.")
def main(host: str, port: int, smtp_port: int) -> None:
    """Take notifications, and print each as a line of JSON, until Ctrl-C."""
    with Sink(port=port, smtp_port=smtp_port, host=host, mail=smtp_port > 0) as sink:
        mail = f"; mail: port {sink.smtp_port}" if smtp_port else ""
        click.echo(f"webhooks: {sink.url}/slack and so on{mail}", err=True)
        seen = 0
        try:
            while True:
                for item in sink.received()[seen:]:
                    click.echo(json.dumps(asdict(item)))
                    seen += 1
                time.sleep(0.2)
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
