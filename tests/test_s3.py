"""What an operator is told of an S3 store that cannot be listed, and what not."""

import time
import traceback
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from exporter.manifests import MANIFEST_SUFFIX
from exporter.s3 import S3Store
from exporter.storage import StoreError
from scripts.embedded.processes import free_port
from tests.storing import HOUR, KEY, NOW, SECRET, backup, hung_server, moto, path_style, upload, use_s3


def trouble(store: S3Store) -> str:
    """Why a bucket cannot be listed; no part of it tells a secret."""
    with pytest.raises(StoreError) as caught:
        store.list_backups(NOW)
    for secret in (KEY, SECRET):
        assert secret not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_wrong_credentials_are_told_apart_from_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto(INITIAL_NO_AUTH_ACTION_COUNT="0") as server:
        use_s3(monkeypatch, server.url)
        assert "the access key is not known: set AWS_ACCESS_KEY_ID" in trouble(S3Store("b", client=path_style))
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "the credentials are incomplete: set AWS_ACCESS_KEY_ID" in trouble(S3Store("b", client=path_style))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert "there are no credentials: set AWS_ACCESS_KEY_ID" in trouble(S3Store("b", client=path_style))


def test_an_endpoint_that_never_answers_is_given_up_after_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    with hung_server() as url:
        use_s3(monkeypatch, url)
        began = time.monotonic()
        assert trouble(S3Store("b", client=partial(path_style, timeout=0.2))).endswith("does not answer in time")
        assert 0.4 < time.monotonic() - began < 3


def test_an_endpoint_that_refuses_connections_is_told_without_the_password_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_s3(monkeypatch, f"http://{KEY}:{SECRET}@127.0.0.1:{free_port()}")
    assert "cannot be reached: look at the network and AWS_ENDPOINT_URL" in trouble(S3Store("b", client=path_style))


def test_an_endpoint_that_is_no_url_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, f"{SECRET} no url")
    assert "the endpoint is not a URL: set AWS_ENDPOINT_URL" in trouble(S3Store("b", client=path_style))


class Broken(BaseHTTPRequestHandler):
    """An S3 server that answers every request with an error of its own."""

    def do_GET(self) -> None:
        body = f"<Error><Code>Internal{{Error}}</Code><Message>{KEY} {SECRET}</Message></Error>".encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_error_of_the_server_is_told_by_its_code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        use_s3(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        assert trouble(S3Store("b", client=path_style)) == "S3 bucket b: it answered with status 500 InternalError"
        server.shutdown()


def test_a_manifest_in_cold_storage_is_named_and_hides_no_other_backup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with moto() as server:
        use_s3(monkeypatch, server.url)
        client = path_style()
        client.create_bucket(Bucket="bucket")
        upload(client, "bucket", backup("a.dump", age=960 * HOUR) | backup("b.dump"))
        manifest = "a.dump" + MANIFEST_SUFFIX
        client.put_object(
            Bucket="bucket", Key=manifest, Body=backup("a.dump", age=960 * HOUR)[manifest], StorageClass="GLACIER"
        )
        store = S3Store("bucket", client=path_style)
        listing = store.list_backups(NOW)
        assert [found.manifest.name for found in listing.backups] == ["b.dump"]
        assert [(found.file, "cold storage" in found.reason) for found in listing.unread()] == [(manifest, True)]
        client.delete_object(Bucket="bucket", Key="b.dump")
        assert f"S3 bucket bucket: {manifest}: it lies in cold storage" in trouble(store)
