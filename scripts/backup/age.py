"""Encryption on this side, by age (https://age-encryption.org): the store never sees what is in a dump."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol

import pyrage  # type: ignore[import-untyped] # it has no stubs

from scripts.job.exits import Exit, JobError

if TYPE_CHECKING:
    from pathlib import Path


class Writable(Protocol):
    """Where encrypted bytes go."""

    def write(self, block: bytes, /) -> int:
        """Take all of it."""

    def flush(self) -> None:
        """Do nothing more."""


def conceal(text: str, recipients: Sequence[str]) -> str:
    """Return a text encrypted, as text.

    Args:
        text: The text.
        recipients: As for `encrypt`.
    """
    keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    return base64.b64encode(pyrage.encrypt(text.encode(), keys)).decode()


def reveal(text: str, identities: str) -> str:
    """Return what `conceal` was given.

    Args:
        text: What it has returned.
        identities: As for `decrypt`.

    Raises:
        JobError: It can't be decrypted (NOT_VERIFIED).
    """
    try:
        return bytes(pyrage.decrypt(base64.b64decode(text), _keys(identities))).decode()
    except (ValueError, pyrage.DecryptError) as error:
        raise JobError(Exit.NOT_VERIFIED, f"a value in the manifest can't be decrypted: {error}") from error


def encrypt(source: BinaryIO, target: Writable, recipients: Sequence[str]) -> None:
    """Encrypt a stream.

    Args:
        source: Where it is read from.
        target: Where it is written to.
        recipients: Public keys (`age1…`); each one's identity can decrypt it.

    Raises:
        pyrage.EncryptError: Reading or writing failed.
    """
    pyrage.encrypt_io(source, target, [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients])


def check_recipients(text: str) -> str:
    """Return the text of a setting if it holds public keys, separated by spaces or commas.

    Raises:
        ValueError: One of them is none.
    """
    words = split(text)
    try:
        for word in words:
            pyrage.x25519.Recipient.from_str(word)
    except pyrage.RecipientError:
        words = []
    # One that names no key must not mean: store it as it is.
    if text and not words:
        raise ValueError("must be public keys of age (age1...), separated by spaces")
    return text


def split(text: str) -> list[str]:
    """Return the public keys in the text of a setting."""
    return text.replace(",", " ").split()


def decrypt(source: "Path", target: "Path", identities: str) -> None:
    """Decrypt a file.

    Args:
        source: The encrypted file.
        target: The file to write, which only this user can read.
        identities: The content of an identity file, as age-keygen writes it.

    Raises:
        JobError: There is no identity that fits (CONFIGURATION), or the file is damaged (NOT_VERIFIED).
    """
    if not _lines(identities):
        raise JobError(
            Exit.CONFIGURATION, f"{source.name} is encrypted: set UNIONCORE_AGE_IDENTITY_FILE to the file of its key"
        )
    target.touch(mode=0o600)
    try:
        with source.open("rb") as encrypted, target.open("wb") as plain:
            pyrage.decrypt_io(encrypted, plain, _keys(identities))
    except pyrage.IdentityError:
        # `from None`: the library's words may hold the key.
        raise JobError(
            Exit.CONFIGURATION, "UNIONCORE_AGE_IDENTITY is none: it must be the content of a file that age-keygen wrote"
        ) from None
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise JobError(
                Exit.CONFIGURATION, f"{source.name} is encrypted for another key than that in UNIONCORE_AGE_IDENTITY"
            ) from None
        raise JobError(Exit.NOT_VERIFIED, f"{source.name} can't be decrypted: {error}") from error
    except OSError as error:
        # One with a number is the file system's own.
        if error.errno is not None:
            raise
        raise JobError(Exit.NOT_VERIFIED, f"{source.name} can't be decrypted: {error}") from error


def _lines(identities: str) -> list[str]:
    return [line.strip() for line in identities.splitlines() if line.strip() and not line.startswith("#")]


def _keys(identities: str) -> list[object]:
    return [pyrage.x25519.Identity.from_str(line) for line in _lines(identities)]
