"""The manifest of a backup: what the exporter reads of it, what a restore must bring back, and a seal on both.

The seal is the SHA-256 of the manifest without it. A manifest counts here only to the last byte as it was written;
so not even a fact that nothing else can be compared with, a version for example, can change unnoticed.
"""

import hashlib
import json
from dataclasses import replace

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from exporter.manifests import Manifest, ManifestError
from exporter.storage import MAX_DOCUMENT
from scripts.backup.contents import Contents
from scripts.job.exits import Exit, JobError

_SEAL = "seal"


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Facts:
    """What a manifest says beyond name, size, times and SHA-256 of the dump.

    Attributes:
        client: The version of pg_dump.
        client_major: Its major version.
        compression: As `zstd:1`.
        encryption: `age`, or empty.
        contents: What was in the database, in the dump's own snapshot.
    """

    client: str
    client_major: int
    compression: str
    encryption: str
    contents: Contents


_FACTS = TypeAdapter(Facts)


def seal(manifest: Manifest, facts: Facts) -> bytes:
    """Return a manifest as the file to write.

    Args:
        manifest: Its `extra` is not kept.
        facts: What it says beyond that.

    Raises:
        JobError: It is too large for the exporter to read (FAILED).
    """
    open_manifest = replace(manifest, extra=_FACTS.dump_python(facts, mode="json"))
    digest = hashlib.sha256(open_manifest.render()).hexdigest()
    text = replace(open_manifest, extra={**open_manifest.extra, _SEAL: digest}).render()
    if len(text) > MAX_DOCUMENT:
        raise JobError(
            Exit.FAILED,
            f"the manifest has {len(text)} bytes, where {MAX_DOCUMENT} are read: the database has too many objects",
        )
    return text


def unseal(text: bytes, name: str) -> tuple[Manifest, Facts]:
    """Read a manifest that `seal` made.

    Args:
        text: The file.
        name: The dump beside which it lies.

    Raises:
        JobError: It is not as it was written, or another dump's (NOT_VERIFIED); or it says what this version does not
            know (TOOL).
    """
    try:
        manifest = _sealed(text)
        if manifest.name != name:
            raise ManifestError(f"it is the manifest of {manifest.name!r}")  # noqa: TRY301 - one boundary for all
        # From JSON, so that its lists are read as the tuples that they were.
        return manifest, _FACTS.validate_json(json.dumps(manifest.extra))
    except ManifestError as error:
        raise JobError(Exit.NOT_VERIFIED, f"the manifest of {name} does not count: {error}") from error
    except ValidationError as error:
        raise JobError(
            Exit.TOOL, f"the manifest of {name} was written by another version of this program: use a newer one"
        ) from error


def _sealed(text: bytes) -> Manifest:
    """Return a manifest, without its seal, if that is whole."""
    manifest = Manifest.parse(text)
    bare = replace(manifest, extra={key: value for key, value in manifest.extra.items() if key != _SEAL})
    if manifest.render() != text or manifest.extra.get(_SEAL) != hashlib.sha256(bare.render()).hexdigest():
        raise ManifestError("it is not as it was written: its seal is broken")
    return bare
