"""The two small files that make a dump a backup: its manifest, and the proof of a restore.

Both are JSON objects with `"format": 1`; times are RFC 3339 in UTC. A reader ignores keys that it does not know and
keeps them (`extra`), so that a writer may add some; a change that would mislead an older reader takes the next
format number.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

MANIFEST_SUFFIX = ".json"
PROOF_SUFFIX = ".verified.json"
ENCRYPTED_SUFFIX = ".age"
"""What the name of an encrypted dump ends with, ahead of the manifest's suffix."""
STEM = "unioncore-"
"""What the names that dumps are given begin with."""

_FORMAT = 1
_DUMP = re.compile(rf"{STEM}(\d{{8}}T\d{{9}})Z\.dump(?:{re.escape(ENCRYPTED_SUFFIX)})?", re.ASCII)
_BEGUN = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(r"[^./\0][^/\0]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)", re.ASCII)


class ManifestError(ValueError):
    """A manifest or a proof is not one; the message says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        name: The dump's file name.
        sha256: The dump's SHA-256, in lower-case hexadecimal.
        size: The dump's size in bytes, at least 1.
        started_at: When the backup began.
        finished_at: When its dump was complete.
        extra: Every other key of the file.
    """

    name: str
    sha256: str
    size: int
    started_at: datetime
    finished_at: datetime
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a manifest.

        Raises:
            ManifestError: It is not JSON, not format 1, or a key is missing or of the wrong form.
        """
        keys = _keys(text)
        size = keys.pop("size", None)
        if type(size) is not int or size < 1:
            raise ManifestError("its size is not a whole number of bytes above 0")
        return cls(
            name=_text(keys, "name", _NAME),
            sha256=_text(keys, "sha256", _SHA256),
            size=size,
            started_at=_time(keys, "started_at"),
            finished_at=_time(keys, "finished_at"),
            extra=keys,
        )

    def render(self) -> bytes:
        """Write it as the file that `parse` reads."""
        return _render(
            self.extra,
            name=self.name,
            sha256=self.sha256,
            size=self.size,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """That a restore of a dump succeeded.

    Attributes:
        sha256: The SHA-256 of the dump that was restored, in lower-case hexadecimal.
        verified_at: When the restore was found right.
        extra: Every other key of the file.
    """

    sha256: str
    verified_at: datetime
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a proof.

        Raises:
            ManifestError: It is not JSON, not format 1, or a key is missing or of the wrong form.
        """
        keys = _keys(text)
        return cls(_text(keys, "sha256", _SHA256), _time(keys, "verified_at"), keys)

    def render(self) -> bytes:
        """Write it as the file that `parse` reads."""
        return _render(self.extra, sha256=self.sha256, verified_at=self.verified_at)


def name_at(moment: datetime, *, encrypted: bool) -> str:
    """Return the name that a dump is given which is begun at a moment."""
    milliseconds = moment.astimezone(UTC).strftime(_BEGUN)[:-3]
    return f"{STEM}{milliseconds}Z.dump{ENCRYPTED_SUFFIX if encrypted else ''}"


def begun_at(name: str) -> datetime | None:
    """Return when a dump was begun, to the millisecond, if it has a name that `name_at` makes; else None."""
    made = _DUMP.fullmatch(name)
    try:
        return datetime.strptime(made[1], _BEGUN).replace(tzinfo=UTC) if made else None
    except ValueError:
        return None


def _keys(text: bytes) -> dict[str, object]:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError("it is not JSON") from error
    if not isinstance(keys, dict) or type(keys.get("format")) is not int or keys.pop("format") != _FORMAT:
        raise ManifestError(f"it is not a JSON object of format {_FORMAT}")
    return keys


def _text(keys: dict[str, object], key: str, form: re.Pattern[str]) -> str:
    value = keys.pop(key, None)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ManifestError(f"its {key} is missing or of the wrong form")
    return value


def _time(keys: dict[str, object], key: str) -> datetime:
    try:
        return datetime.fromisoformat(_text(keys, key, _TIME))
    except ValueError as error:
        raise ManifestError(f"its {key} is not a time in UTC (2026-01-31T02:00:00Z)") from error


def _render(extra: Mapping[str, object], **keys: object) -> bytes:
    known = {
        key: value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for key, value in {"format": _FORMAT, **keys}.items()
    }
    # What the format defines stands first, and no extra key can replace it.
    return json.dumps(known | dict(extra) | known, indent=1).encode() + b"\n"
