"""Pushgateway's protocol, for the job results that the exporter publishes.

`PUT`, `POST` and `DELETE` of `/metrics/job/<job>[/<label>/<value>…]`, in Pushgateway's own reading of it, so
that its client libraries and curl work unchanged. Narrower than Pushgateway in what is accepted:

- only the families of the `jobs` collector, as gauges or without a type, and only known job names;
- finite values that are not negative, success as 0 or 1; timestamps that are not in the future (503: they may be true
  later) and not older than those held (see `exporter.jobs`);
- the text format (which an OpenMetrics body of gauges is, too), plain or gzip, 64 KiB at most;
- names without quotes, no label of the name `job_name`, no label name that begins with `__`.

Where it differs on purpose: a push without a type is a gauge like any other, so it clashes with no other
group; a label with an empty value is no label, as Prometheus has it; a DELETE is on disk when it is answered.
"""

import base64
import binascii
import hmac
import math
import re
import time
import zlib
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.collectors.jobs import LAST_RUN_SUCCEEDED, JobsSource
from exporter.jobs import KNOWN_JOBS, JobStore, PushAheadError, PushRefusedError, Series, StateError, labels_of
from exporter.logs import Incidents

MAX_BODY = 64 * 1024
"""Bytes that a body may have, as sent and as decompressed."""

_FAMILIES = tuple(family.name for family in JobsSource.families)
_BASE64 = "@base64"
_PATH = re.compile(r"/metrics/(job(?:@base64)?/.*)", re.DOTALL)
_BLANK = r"[ \t]*"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL = re.compile(rf'{_BLANK}({_LABEL_NAME.pattern}){_BLANK}={_BLANK}"((?:[^"\\]|\\[\\"n])*)"{_BLANK}(?:,{_BLANK}|$)')
_VALUE = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SAMPLE = re.compile(
    # What follows the name is no part of it: else "…succeeded1" would be the name "…succeeded" and the value 1.
    rf'{_BLANK}({_NAME})(?![a-zA-Z0-9_:]){_BLANK}(?:\{{((?:[^"}}]|"(?:[^"\\]|\\.)*")*)\}}{_BLANK})?([^ \t]+)(.*)',
    re.DOTALL,
)
_COMMENT = re.compile(rf"{_BLANK}#{_BLANK}([^ \t]*)[ \t]*([^ \t]*)[ \t]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r'\\([\\"n])')
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n"}
_HELP_TEXT = re.compile(r'(?:[^\\]|\\[\\n"])*', re.DOTALL)


def push_routes(store: JobStore, *, token: str | None, loopback: bool) -> list[Route]:
    """Make the routes that take pushes.

    Args:
        store: Where pushes are kept.
        token: The bearer token that each push must bear; None if none is configured.
        loopback: True if the exporter listens on a loopback address only: without a token, pushes are taken
            then and refused otherwise. Behind a proxy a token is needed: to the exporter all is loopback.

    Returns:
        Routes that answer 200 (PUT, POST) or 202 (DELETE) when the change is on disk. Else nothing is changed,
        and a reason comes with 400 (the push is wrong), 401 or 403 (it is not allowed), 413 (too large),
        415 (its format is not taken) or 503 (it can't be kept, or not yet: its time lies in the future).
    """

    async def take(request: Request) -> Response:
        _authorize(request.headers.get("authorization", ""), token=token, loopback=loopback)
        try:
            group = grouping_key(request.scope["raw_path"])
            if request.method == "DELETE":
                await store.delete(labels_of(group))
            else:
                series = parse_body(await _body(request), group)
                await store.push(labels_of(group), series, replace=request.method == "PUT", now=time.time())
        except StateError as error:
            incidents.report("pushes", str(error))
            raise HTTPException(503, f"nothing was stored: {error}") from error
        except PushAheadError as error:
            raise HTTPException(503, f"nothing was stored: {error}") from error
        except PushRefusedError as error:
            raise HTTPException(400, str(error)) from error
        incidents.report("pushes", None)
        return Response(status_code=202 if request.method == "DELETE" else 200)

    incidents = Incidents()
    methods = ["PUT", "POST", "DELETE"]
    return [Route(f"/metrics/{job}/{{rest:path}}", take, methods=methods) for job in ("job", f"job{_BASE64}")]


def _authorize(authorization: str, *, token: str | None, loopback: bool) -> None:
    if not token:  # an empty one is none: it would open the door to everybody
        if not loopback:
            raise HTTPException(
                403,
                "pushes are refused: set UNIONCORE_PUSH_TOKEN, or let the exporter listen on loopback only",
            )
        return
    scheme, _, given = authorization.partition(" ")
    # Starlette reads headers as Latin-1, whatever the client's bytes mean.
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), token.encode()):
        raise HTTPException(401, "a push needs the bearer token (UNIONCORE_PUSH_TOKEN)", {"WWW-Authenticate": "Bearer"})


def grouping_key(raw_path: bytes) -> dict[str, str]:
    """Read the grouping key from a request's path.

    As in Pushgateway, the path is split after percent-decoding: `%2F` separates as `/` does, and only
    base64 can carry a slash in a value.

    Args:
        raw_path: The path as it was sent, percent-encoded, whatever stands before its `/metrics/job`.

    Returns:
        The labels, `job` among them.

    Raises:
        PushRefusedError: The path is not a grouping key, or its job is not a known one.
    """
    if re.search(rb"%(?![0-9a-fA-F]{2})", raw_path):
        raise PushRefusedError("the path holds a % that begins no percent-encoding")
    try:
        path = _PATH.search(unquote_to_bytes(raw_path).decode())
    except UnicodeDecodeError as error:
        raise PushRefusedError("the path is not UTF-8") from error
    if path is None:
        raise PushRefusedError("the path is not /metrics/job/<job>")
    components = path[1].split("/")
    if len(components) == 3 and not components[2]:
        del components[2]  # Pushgateway takes one slash after the job, but none after a label's value.
    if len(components) % 2:
        raise PushRefusedError("the path holds an odd number of components after /metrics/")
    job, *pairs = zip(components[::2], components[1::2], strict=True)
    labels: dict[str, str] = {}
    for name, value in (*pairs, job):  # The job comes last: a further pair named `job` must not override it.
        label = name.removesuffix(_BASE64)
        if not _LABEL_NAME.fullmatch(label) or label == "job_name":
            raise PushRefusedError(f"{label!r} cannot be the name of a label")
        if not value:
            raise PushRefusedError(f"an empty value is written as {label}{_BASE64}/=")
        labels[label] = value if label == name else _decode_base64(label, value)
    if labels["job"] not in KNOWN_JOBS:
        raise PushRefusedError(f"{labels['job']!r} is not a known job; known are {', '.join(KNOWN_JOBS)}")
    return labels


def _decode_base64(label: str, value: str) -> str:
    digits = value.rstrip("=")
    try:
        if not re.fullmatch(r"[A-Za-z0-9_-]*", digits):
            raise PushRefusedError(f"the value of {label} is not URL-safe base64")
        return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4)).decode()
    except binascii.Error as error:
        raise PushRefusedError(f"the value of {label} is not URL-safe base64") from error
    except UnicodeDecodeError as error:
        raise PushRefusedError(f"the value of {label} is not UTF-8") from error


async def _body(request: Request) -> bytearray:
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/vnd.google.protobuf":
        raise HTTPException(415, "protocol buffers are not taken: push the text format")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise HTTPException(
            415, f"Content-Encoding {encoding!r} is not taken: gzip or none", {"Accept-Encoding": "gzip"}
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            _limit(body)
    except ClientDisconnect as error:
        raise PushRefusedError("the body ended early") from error
    return _gunzip(body) if encoding == "gzip" else body


def _limit(body: bytearray) -> None:
    if len(body) > MAX_BODY:
        raise HTTPException(413, f"a push may have {MAX_BODY} bytes at most, as sent and as decompressed")


def _gunzip(packed: bytearray) -> bytearray:
    body, rest = bytearray(), bytes(packed)
    try:
        while True:
            member = zlib.decompressobj(wbits=31)
            body += member.decompress(rest, MAX_BODY + 1 - len(body))
            _limit(body)
            if not member.eof:
                raise PushRefusedError("the gzip body ended early")
            if not (rest := member.unused_data):
                return body
    except zlib.error as error:
        raise PushRefusedError(f"the body is not gzip: {error}") from error


def parse_body(body: bytes | bytearray, group: Mapping[str, str]) -> dict[Series, float]:
    """Read the series of a pushed body, as strictly as Pushgateway does.

    Args:
        body: The text format, decompressed.
        group: The grouping key; its labels override those of the same name in the body.

    Returns:
        Each series, with the labels that it is published with, and its value in its family's unit.

    Raises:
        PushRefusedError: The body is not well formed, or holds what is not taken; the message names the line.
    """
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError as error:
        raise PushRefusedError("the body is not UTF-8") from error
    if lines.pop().strip(" \t"):
        raise PushRefusedError("the body's last line does not end with a newline")
    series: dict[Series, float] = {}
    described: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, 1):
        try:
            _read_line(line, group, series, described)
        except PushRefusedError as error:
            raise PushRefusedError(f"line {number}: {error}") from error
    return series


def _read_line(
    line: str, group: Mapping[str, str], series: dict[Series, float], described: set[tuple[str, str]]
) -> None:
    if comment := _COMMENT.fullmatch(line):
        _check_comment(comment, described)
    elif line.strip(" \t"):
        key, value = _sample(line, group)
        if key in series:
            raise PushRefusedError(f"{key[0]} is there twice with the same labels")
        series[key] = value
        described.add(("TYPE", key[0]))


def _check_comment(comment: re.Match[str], described: set[tuple[str, str]]) -> None:
    keyword, name, text = comment.groups()
    if keyword not in {"HELP", "TYPE"} or not name:
        return
    if not re.fullmatch(_NAME, name):
        raise PushRefusedError(f"{name!r} is not the name of a family")
    if not text:
        return
    if (keyword, name) in described:
        raise PushRefusedError(f"a second {keyword} of {name}, or a TYPE after its samples")
    described.add((keyword, name))
    if keyword == "TYPE" and name in _FAMILIES and text.lower() not in {"gauge", "untyped"}:
        raise PushRefusedError(f"the type of {name} is gauge, not {text!r}")
    if keyword == "HELP" and not _HELP_TEXT.fullmatch(text):
        raise PushRefusedError(f"the HELP of {name} holds an invalid escape sequence")


def _sample(line: str, group: Mapping[str, str]) -> tuple[Series, float]:
    sample = _SAMPLE.fullmatch(line)
    if sample is None:
        raise PushRefusedError(f"{line[:80]!r} is not a sample")
    name, body_labels, value, rest = sample.groups()
    if name not in _FAMILIES:
        raise PushRefusedError(f"{name!r} is not taken; taken are {', '.join(_FAMILIES)}")
    if rest:
        raise PushRefusedError(f"{rest[:80]!r} after the value: a pushed sample has no timestamp, and no blank ends it")
    if not _VALUE.fullmatch(value) or math.isinf(float(value)):
        raise PushRefusedError(f"{value[:80]!r} is not a finite number")
    if float(value) < 0:
        raise PushRefusedError(f"{value[:80]!r} is negative: {name} can't be")
    if name == LAST_RUN_SUCCEEDED.name and float(value) not in {0.0, 1.0}:
        raise PushRefusedError(f"{value[:80]!r} is neither 0 nor 1: {name} is one of these")
    labels = _labels(body_labels or "") | dict(group)
    labels["job_name"] = labels.pop("job")
    return (name, labels_of({label: text for label, text in labels.items() if text})), float(value)


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    rest = text.lstrip(" \t")
    while rest:
        label = _LABEL.match(rest)
        if label is None:
            raise PushRefusedError(f"{rest[:80]!r} is not a label")
        if label[1] in labels or label[1] == "job_name":
            raise PushRefusedError(f"the label {label[1]} is there twice, or is job_name, which is set by the path")
        labels[label[1]] = _ESCAPE.sub(lambda escape: _ESCAPES[escape[1]], label[2])
        rest = rest[label.end() :]
    return labels
