"""The push protocol, held against a real Pushgateway and prometheus_client."""

import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    delete_from_gateway,
    generate_latest,
    push_to_gateway,
    pushadd_to_gateway,
)

from exporter.collectors.jobs import JobsSource
from exporter.jobs import KNOWN_JOBS, PushRefusedError
from exporter.push import grouping_key, parse_body
from scripts.dev.binaries import find
from scripts.dev.servers import Server
from scripts.embedded.processes import free_port
from tests.pushing import BACKUP, ITEMS, RUN, SUCCEEDED, SUCCESS, TEXT, Push, Stage, application, published, send


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def port(tmp_path: Path, stage: Stage) -> int:
    stage.app = application(tmp_path)
    return stage.port


@pytest.fixture(scope="module")
def pushgateway() -> Iterator[int]:
    port = free_port()
    argv: list[str | Path] = [find("pushgateway"), f"--web.listen-address=127.0.0.1:{port}", "--web.enable-admin-api"]
    with Server("pushgateway", argv, port=port, ready="/-/ready"):
        yield port


@pytest.fixture
def gateway(pushgateway: int) -> int:
    # A push that it refused for its labels makes it refuse all later ones, so each test begins with nothing.
    assert send(pushgateway, Push("PUT", "/api/v1/admin/wipe")).status == 202
    return pushgateway


def settled(gateway: int) -> int:
    # A DELETE is only queued; a push that is checked waits for what was queued before it.
    assert send(gateway, Push("PUT", "/metrics/job/settled")).status == 200
    return gateway


TAKEN: dict[str, Sequence[Push]] = {
    "a PUT makes the group": [Push("PUT", BACKUP, TEXT)],
    "a slash after the job is no label": [Push("PUT", BACKUP + "/", TEXT)],
    "a PUT replaces all of the group": [Push("PUT", BACKUP, TEXT), Push("PUT", BACKUP, f"{SUCCESS} 1.7e9\n")],
    "a PUT of nothing empties the group": [Push("PUT", BACKUP, TEXT), Push("PUT", BACKUP)],
    "a POST replaces the same families only": [Push("PUT", BACKUP, TEXT), Push("POST", BACKUP, f"{ITEMS} 5\n")],
    "a POST replaces a family's series of other labels too": [
        Push("PUT", BACKUP, f'{ITEMS}{{table="a"}} 5\n{ITEMS}{{table="b"}} 6\n{RUN} 7\n'),
        Push("POST", BACKUP, f'{ITEMS}{{table="c"}} 8\n'),
    ],
    "a POST of nothing changes nothing": [Push("PUT", BACKUP, TEXT), Push("POST", BACKUP)],
    "a POST makes the group": [Push("POST", BACKUP, TEXT)],
    "a DELETE forgets the group": [Push("PUT", BACKUP, TEXT), Push("DELETE", BACKUP)],
    "a DELETE of nothing is no error": [Push("DELETE", BACKUP)],
    "a DELETE forgets no other group": [
        Push("PUT", BACKUP, TEXT),
        Push("PUT", BACKUP + "/instance/a", TEXT),
        Push("DELETE", BACKUP),
    ],
    "each job has its own group": [Push("PUT", BACKUP, TEXT), Push("PUT", "/metrics/job/verify", TEXT)],
    "labels make groups of their own": [
        Push("PUT", BACKUP + "/instance/db1/kind/full", TEXT),
        Push("PUT", BACKUP + "/kind/full/instance/db2", TEXT),
    ],
    "the order of labels makes no other group": [
        Push("PUT", BACKUP + "/instance/db1/kind/full", TEXT),
        Push("PUT", BACKUP + "/kind/full/instance/db1", f"{ITEMS} 7\n"),
    ],
    "a label twice: the last counts": [Push("PUT", BACKUP + "/a/1/a/2", TEXT)],
    "a further job label does not count": [Push("PUT", BACKUP + "/job/other", TEXT)],
    "a base64 job": [Push("PUT", "/metrics/job@base64/YmFja3Vw", TEXT)],
    "a base64 job of the same group": [Push("PUT", BACKUP, TEXT), Push("DELETE", "/metrics/job@base64/YmFja3Vw")],
    "a base64 value with a slash": [Push("PUT", BACKUP + "/path@base64/L3Zhci90bXA", TEXT)],
    "a base64 value with padding": [Push("PUT", BACKUP + "/path@base64/L3Zhci90bXA=", TEXT)],
    "a base64 value with URL-safe digits": [Push("PUT", BACKUP + "/name@base64/zqDPgc6_zrrOt864zrXPjc-C", TEXT)],
    "a base64 value that is empty": [Push("PUT", BACKUP + "/path@base64/=", TEXT)],
    "a percent-encoded value": [Push("PUT", BACKUP + "/name/%CE%A0%20%2B+%25", TEXT)],
    "a percent-encoded slash separates": [Push("PUT", BACKUP + "/a%2Fb", TEXT)],
    "labels in the body": [Push("PUT", BACKUP, f'{ITEMS}{{ table = "a\\"\\\\\\n}}," , x="y",}} 5\n{ITEMS}{{}} 6\n')],
    "the group's labels override the body's": [Push("PUT", BACKUP + "/a/b", f'{ITEMS}{{job="x",a="y",c="d"}} 5\n')],
    "an OpenMetrics body": [
        Push(
            "PUT",
            BACKUP,
            f"# TYPE {RUN} gauge\n# UNIT {RUN} seconds\n# HELP {RUN} Run.\n{RUN} 5.0\n# EOF\n",
            {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"},
        )
    ],
    "curl's own content type": [
        Push("POST", BACKUP, TEXT, {"Content-Type": "application/x-www-form-urlencoded"}),
    ],
    "comments, blanks and odd numbers": [
        Push(
            "PUT",
            BACKUP,
            f"\n \t\n#\n# x\n# TYPE\n# TYPE {ITEMS}\n# HELP\n#\tTYPE\t{ITEMS}\tGauge\n\t{ITEMS}\t+.5E+1\n",
        )
    ],
    "a value right after its name": [Push("PUT", BACKUP, f'{ITEMS}+5\n{RUN}{{a="b"}}5.\n')],
    "no type at all": [Push("PUT", BACKUP, f"{ITEMS} 5\n"), Push("POST", BACKUP, f"# TYPE {RUN} untyped\n{RUN} 5\n")],
    "HELP and TYPE of a family without samples": [Push("PUT", BACKUP, "# HELP x \\\\\\n\n# TYPE x counter\n" + TEXT)],
    "a gzip body": [Push("PUT", BACKUP, gzip.compress(TEXT.encode()), {"Content-Encoding": "GZIP"})],
    "a gzip body in two members": [
        Push(
            "PUT",
            BACKUP,
            gzip.compress(TEXT[:20].encode()) + gzip.compress(TEXT[20:].encode()),
            {"Content-Encoding": "gzip"},
        )
    ],
    "Content-Encoding identity": [Push("PUT", BACKUP, TEXT, {"Content-Encoding": "identity"})],
}


REFUSED: dict[str, Push] = {
    "an odd number of components": Push("PUT", BACKUP + "/instance", TEXT),
    "a slash after a label's value": Push("PUT", BACKUP + "/instance/a/", TEXT),
    "a percent-encoded slash in a value": Push("PUT", BACKUP + "/path/a%2Fb", TEXT),
    "an invalid percent-encoding": Push("PUT", BACKUP + "/instance/%zz", TEXT),
    "a path that is not UTF-8": Push("PUT", BACKUP + "/instance/%ff", TEXT),
    "an empty job": Push("PUT", "/metrics/job@base64/=", TEXT),
    "a label name with two underscores": Push("PUT", BACKUP + "/__instance/a", TEXT),
    "a label name with a dash": Push("PUT", BACKUP + "/in-stance/a", TEXT),
    "base64 of the other alphabet": Push("PUT", BACKUP + "/a@base64/Y+Jh", TEXT),
    "base64 with padding inside": Push("PUT", BACKUP + "/a@base64/Ym=Fy", TEXT),
    "base64 of an impossible length": Push("PUT", BACKUP + "/a@base64/YmFyZ", TEXT),
    "base64 of what is not UTF-8": Push("PUT", BACKUP + "/a@base64/_w", TEXT),
    "a DELETE with an invalid label": Push("DELETE", BACKUP + "/in-stance/a"),
    "no final newline": Push("PUT", BACKUP, f"{ITEMS} 5"),
    "no final newline after a comment": Push("PUT", BACKUP, f"{ITEMS} 5\n# EOF"),
    "a timestamp": Push("PUT", BACKUP, f"{ITEMS} 5 1700000000000\n"),
    "a blank after the value": Push("PUT", BACKUP, f"{ITEMS} 5 \n"),
    "a carriage return": Push("PUT", BACKUP, f"{ITEMS} 5\r\n"),
    "no value": Push("PUT", BACKUP, f"{ITEMS}\n"),
    "a value that is no number": Push("PUT", BACKUP, f"{ITEMS} five\n"),
    "a hexadecimal value": Push("PUT", BACKUP, f"{ITEMS} 0x10\n"),
    "a value with underscores": Push("PUT", BACKUP, f"{ITEMS} 1_0\n"),
    "a value beyond all numbers": Push("PUT", BACKUP, f"{ITEMS} 1e400\n"),
    "a series twice": Push("PUT", BACKUP, f"{ITEMS} 5\n{ITEMS} 5\n"),
    "a series twice once the group's labels are set": Push("PUT", BACKUP + "/a/b", f'{ITEMS} 5\n{ITEMS}{{a="c"}} 6\n'),
    "a label twice": Push("PUT", BACKUP, f'{ITEMS}{{a="b",a="c"}} 5\n'),
    "a label named __name__": Push("PUT", BACKUP, f'{ITEMS}{{__name__="b"}} 5\n'),
    "a leading comma": Push("PUT", BACKUP, f'{ITEMS}{{,a="b"}} 5\n'),
    "a label without quotes": Push("PUT", BACKUP, f"{ITEMS}{{a=b}} 5\n"),
    "a label without an end": Push("PUT", BACKUP, f'{ITEMS}{{a="b 5\n'),
    "an unknown escape in a label": Push("PUT", BACKUP, f'{ITEMS}{{a="b\\t"}} 5\n'),
    "an unknown escape in HELP": Push("PUT", BACKUP, f"# HELP {ITEMS} a\\b\n{ITEMS} 5\n"),
    "a value that runs into the name": Push("PUT", BACKUP, f"{SUCCEEDED}1\n"),
    "a value that runs into the name of a family": Push("PUT", BACKUP, f"{ITEMS}15\n"),
    "a second TYPE": Push("PUT", BACKUP, f"# TYPE {ITEMS} gauge\n# TYPE {ITEMS} gauge\n{ITEMS} 5\n"),
    "a second HELP": Push("PUT", BACKUP, f"# HELP {ITEMS} a\n# HELP {ITEMS} a\n{ITEMS} 5\n"),
    "a TYPE after the sample": Push("PUT", BACKUP, f"{ITEMS} 5\n# TYPE {ITEMS} gauge\n"),
    "a blank after the type": Push("PUT", BACKUP, f"# TYPE {ITEMS} gauge \n{ITEMS} 5\n"),
    "an unknown type": Push("PUT", BACKUP, f"# TYPE {ITEMS} unknown\n{ITEMS} 5\n"),
    "a TYPE of no family's name": Push("PUT", BACKUP, f"# TYPE 5 gauge\n{ITEMS} 5\n"),
    "plain text that says it is gzip": Push("PUT", BACKUP, TEXT, {"Content-Encoding": "gzip"}),
    "nothing that says it is gzip": Push("PUT", BACKUP, "", {"Content-Encoding": "gzip"}),
    "gzip that ends early": Push("PUT", BACKUP, gzip.compress(TEXT.encode())[:-5], {"Content-Encoding": "gzip"}),
    "gzip with a wrong checksum": Push(
        "PUT", BACKUP, gzip.compress(TEXT.encode())[:-8] + bytes(8), {"Content-Encoding": "gzip"}
    ),
    "gzip with something after it": Push("PUT", BACKUP, gzip.compress(b"") + b"x", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("pushes", TAKEN.values(), ids=TAKEN)
def test_what_is_taken_is_answered_and_published_as_by_a_pushgateway(
    pushes: Sequence[Push], port: int, gateway: int
) -> None:
    for push in pushes:
        theirs, ours = send(gateway, push), send(port, push)
        assert (ours.status, ours.text) == (theirs.status, "")
    assert published(port) == published(settled(gateway))


@pytest.mark.parametrize("push", REFUSED.values(), ids=REFUSED)
def test_what_a_pushgateway_refuses_is_refused_with_a_reason_and_changes_nothing(
    push: Push, port: int, gateway: int
) -> None:
    assert send(port, Push("PUT", BACKUP, TEXT)).status == 200
    before = published(port)
    assert send(gateway, push).status == 400
    answer = send(port, push)
    assert answer.status == 400
    assert answer.text
    assert published(port) == before


def test_a_series_of_another_group_is_refused_as_by_a_pushgateway(port: int, gateway: int) -> None:
    for to in (port, gateway):
        assert send(to, Push("PUT", BACKUP, f'{ITEMS}{{instance="a"}} 5\n')).status == 200
        assert send(to, Push("PUT", BACKUP + "/instance/a", f"{ITEMS} 6\n")).status == 400
    assert list(published(port).values()) == [5]


@pytest.mark.parametrize("key", [{}, {"instance": "db1:5432", "path": "/a b", "empty": "", "name": "Προμηθεύς+%"}])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_functions_of_prometheus_client_work_as_with_a_pushgateway(
    key: dict[str, str], compression: Literal["gzip"] | None, port: int, gateway: int
) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Gauge(RUN, "Run", registry=first).set(1.7e9)
    Gauge(ITEMS, "Items", ["table"], registry=first).labels('a"\\\n').set(46)
    Gauge(ITEMS, "Items", registry=second).set(0.1)
    for to in (port, gateway):
        push_to_gateway(f"127.0.0.1:{to}", "backup", first, key, compression=compression)
        push_to_gateway(f"127.0.0.1:{to}", "verify", first, key, compression=compression)
        pushadd_to_gateway(f"http://127.0.0.1:{to}/", "backup", second, key, compression=compression)
        delete_from_gateway(f"127.0.0.1:{to}", "verify", key)
    assert published(port) == published(settled(gateway))
    assert sorted(published(port).values()) == [0.1, 1.7e9]


label_names = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True).filter(
    lambda name: name not in {"job", "job_name"}
)
texts = st.text(st.characters(codec="utf-8"))


@given(job=st.sampled_from(KNOWN_JOBS), key=st.dictionaries(label_names, texts, max_size=4))
def test_every_grouping_key_that_prometheus_client_writes_is_read_back(job: str, key: dict[str, str]) -> None:
    urls = []
    delete_from_gateway("http://x", job, key, handler=lambda url, **_: lambda: urls.append(url))
    assert grouping_key(urlsplit(urls[0]).path.encode()) == {**key, "job": job}


@given(values=st.dictionaries(texts, st.floats(min_value=0, allow_infinity=False), max_size=4))
def test_every_body_that_prometheus_client_writes_is_read_back(values: dict[str, float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge(ITEMS, "Items \\ \n of it", ["text"], registry=registry)
    for text, value in values.items():
        gauge.labels(text).set(value)
    series = parse_body(generate_latest(registry), {"job": "backup"})
    assert {dict(labels).get("text", ""): value for (_, labels), value in series.items()} == values


@given(
    name=st.sampled_from([family.name for family in JobsSource.families]),
    gap=st.sampled_from(["", " ", "\t", "{}", '{a="b"} ']),
    number=st.sampled_from([0, 1]) | st.floats() | st.integers(min_value=-(10**300), max_value=10**300),
)
def test_a_number_is_read_as_it_stands_or_refused_if_it_cannot_be_true(name: str, gap: str, number: float) -> None:
    body = f"{name}{gap}{number!r}\n".encode()
    can_be_true = 0 <= number < math.inf and (name != SUCCEEDED or number in {0, 1})
    if can_be_true and (gap or repr(number).startswith("-")):
        assert list(parse_body(body, {"job": "backup"}).values()) == [float(number)]
    else:
        with pytest.raises(PushRefusedError):
            parse_body(body, {"job": "backup"})


@given(
    path=st.binary() | st.from_regex(rb"(backup|verify)(/[a-z]{1,3}(@base64)?/[a-zA-Z=%]{0,5}){0,3}/?", fullmatch=True),
    body=st.binary() | st.from_regex(rf'(# (TYPE|HELP) )?({ITEMS})?[{{}}a="\\, ]*[0-9 ]*\n'.encode(), fullmatch=True),
)
def test_whatever_is_sent_is_read_or_refused(path: bytes, body: bytes) -> None:
    try:
        key = grouping_key(b"/metrics/job/" + path)
    except PushRefusedError:
        key = {"job": "backup"}
    assert key["job"] in KNOWN_JOBS
    try:
        series = parse_body(body, key)
    except PushRefusedError:
        series = {}
    assert all(dict(labels)["job_name"] == key["job"] for _, labels in series)
