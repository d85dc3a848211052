"""An S3 server that goes wrong when it is told to: a proxy before moto."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["500", "412", "slow", "lost reply", "swallowed", "half kept", "flipped answer", "wrong checksum"]


@dataclass
class Fault:
    """What goes wrong with the requests of a method whose path, with its query, holds a text.

    `500`, `412`: that answer, and nothing done. `slow`: answered after a second. `lost reply`: done, but the connection
    breaks before the answer. `swallowed`: answered as done, nothing done. `half kept`: half of the content is stored.
    `flipped answer`: a bit of the answer's content is wrong. `wrong checksum`: the store's own checksum is another's.
    """

    method: str
    path: str
    kind: Kind
    times: int = 1_000_000


class FaultyS3:
    """The proxy; `faults` may be changed at any time, `log` has each request's method, path and fault."""

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, Kind | None]] = []
        self._lock = Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                if "100-continue" in self.headers.get("Expect", ""):
                    del self.headers["Expect"]
                kind = proxy.choose(self.command, self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if kind in {"500", "412"}:
                    self.reply(int(kind), {}, b"<Error><Code>InternalError</Code></Error>" if kind == "500" else b"")
                    return
                if kind == "slow":
                    time.sleep(1)
                if kind == "swallowed":
                    self.reply(200, {"ETag": '"0"'}, b"")
                    return
                if kind == "half kept":
                    body = body[: len(body) // 2]
                    self.headers.replace_header("Content-Length", str(len(body)))
                if "x-amz-copy-source" in self.headers:
                    # moto asks of a locked copy what S3 asks of an upload only: CopyObject knows no MD5.
                    self.headers["Content-MD5"] = "0" * 22 + "=="
                connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    content = answer.read()
                    headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
                finally:
                    connection.close()
                if kind == "lost reply":
                    self.close_connection = True
                    return
                if kind == "flipped answer" and content:
                    middle = len(content) // 2
                    content = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
                if kind == "wrong checksum":
                    headers = {k: v for k, v in headers.items() if k.lower() != "x-amz-checksum-sha256"}
                    headers["x-amz-checksum-sha256"] = "A" * 43 + "="
                self.reply(answer.status, headers, content)

            def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "content-length" not in {name.lower() for name in headers}:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - as the base class calls them

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def choose(self, method: str, path: str) -> Kind | None:
        """Return what goes wrong with a request."""
        with self._lock:
            found = next((f for f in self.faults if f.times and f.method == method and f.path in path), None)
            if found:
                found.times -= 1
            kind = found.kind if found else None
            self.log.append((method, path, kind))
            return kind

    @contextmanager
    def serving(self) -> Iterator["FaultyS3"]:
        """Serve while the block lasts."""
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


_HOP = {"connection", "transfer-encoding", "server", "date"}
