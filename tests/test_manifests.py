"""The form of manifests and proofs."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.manifests import Manifest, ManifestError, Proof

MANIFEST = {
    "format": 1,
    "name": "unioncore-20260301T020000Z.dump",
    "sha256": "0123456789abcdef" * 4,
    "size": 6,
    "started_at": "2026-03-01T02:00:00Z",
    "finished_at": "2026-03-01T02:00:01.5+00:00",
}
moments = st.datetimes(timezones=st.just(UTC))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
extras = st.dictionaries(
    st.text(max_size=5).map("x".__add__), st.none() | st.integers() | st.lists(st.text(max_size=5)), max_size=3
)


def test_a_manifest_is_read_with_what_it_says_beyond_its_own_keys() -> None:
    assert Manifest.parse(json.dumps(MANIFEST | {"tables": {"members": 3000}}).encode()) == Manifest(
        name="unioncore-20260301T020000Z.dump",
        sha256="0123456789abcdef" * 4,
        size=6,
        started_at=datetime(2026, 3, 1, 2, tzinfo=UTC),
        finished_at=datetime(2026, 3, 1, 2, 0, 1, 500_000, tzinfo=UTC),
        extra={"tables": {"members": 3000}},
    )


@given(
    st.builds(
        Manifest,
        name=st.from_regex(r"[^./\0][^/\0]*", fullmatch=True),
        sha256=digests,
        size=st.integers(1),
        started_at=moments,
        finished_at=moments,
        extra=extras,
    )
)
def test_a_manifest_that_is_written_is_read_back(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.render()) == manifest


@given(st.builds(Proof, sha256=digests, verified_at=moments, extra=extras))
def test_a_proof_that_is_written_is_read_back(proof: Proof) -> None:
    assert Proof.parse(proof.render()) == proof


def test_a_further_key_cannot_replace_one_of_the_format() -> None:
    manifest = Manifest.parse(json.dumps(MANIFEST).encode())
    again = Manifest(manifest.name, manifest.sha256, 6, manifest.started_at, manifest.finished_at, {"size": 7})
    assert Manifest.parse(again.render()) == manifest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 1"),
        ({"format": True}, "format 1"),
        ({"format": "1"}, "format 1"),
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": True}, "size"),
        ({"size": 6.0}, "size"),
        ({"size": "6"}, "size"),
        ({"started_at": 1_700_000_000}, "started_at"),
        ({"finished_at": "2026-03-01T02:00:00"}, "finished_at"),
        ({"finished_at": "2026-03-01T02:00:00+01:00"}, "finished_at"),
        ({"finished_at": "2026-03-01"}, "finished_at"),
        ({"finished_at": "2026-02-30T02:00:00Z"}, "finished_at"),
        ({"finished_at": "20260301T020000Z"}, "finished_at"),
    ],
)
def test_a_manifest_with_a_wrong_key_is_none_and_the_reason_names_it(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Manifest.parse(json.dumps(MANIFEST | change).encode())


@pytest.mark.parametrize("key", MANIFEST)
def test_a_manifest_without_one_of_its_keys_is_none(key: str) -> None:
    with pytest.raises(ManifestError, match=key):
        Manifest.parse(json.dumps({name: value for name, value in MANIFEST.items() if name != key}).encode())


@given(st.binary() | (st.none() | st.text() | st.lists(st.none())).map(lambda value: json.dumps(value).encode()))
def test_whatever_is_no_json_object_is_no_manifest(text: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(text)


def test_deeply_nested_json_is_no_manifest() -> None:
    with pytest.raises(ManifestError, match="not JSON"):
        Manifest.parse(b"[" * 100_000)
