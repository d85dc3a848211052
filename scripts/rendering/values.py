"""The kinds of values that settings of notifications have: secrets in files, addresses, times."""

import re
from datetime import time
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from scripts.job.settings import http_url

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")
_MAIL = re.compile(r"[^\s@,;<>\"{}]+@[^\s@,;<>\"{}]+")
_TARGET = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})")

_LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=(.+)")

_PASSWORD_LENGTH = 12

DAY_MINUTES = 24 * 60


def _content(path: Path) -> str:
    """Return what a secret's file holds; no message tells any of it."""
    if not path.is_absolute():
        raise ValueError("must be an absolute path: Alertmanager reads the file too")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text") from error
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    if not text:
        raise ValueError(f"{path} is empty")
    if len(text.split()) > 1:
        raise ValueError(f"{path} must hold one word, the secret itself")
    # Alertmanager expands templates in some of its secrets.
    if "{{" in text:
        raise ValueError(f"{path} must not hold {{{{")
    return text


def _secret(path: Path) -> Path:
    _content(path)
    return path


def _password(path: Path) -> Path:
    if len(_content(path)) < _PASSWORD_LENGTH:
        raise ValueError(f"{path} must hold at least {_PASSWORD_LENGTH} characters")
    return path


def _secret_url(path: Path) -> Path:
    if not re.match(r"https?://[^/\s]", _content(path)):
        raise ValueError(f"{path} must hold a URL that begins with https:// or http://")
    return path


def _words(text: str) -> str:
    if "{{" in text or not text.isprintable():
        raise ValueError("must be printable, without {{")
    return text


def _priorities(text: str) -> str:
    if text and len(split(_words(text))) != 4:
        raise ValueError("must be four names, for P1 to P4 (for example Highest,High,Medium,Low)")
    return text


def _mails(text: str) -> str:
    addresses = split(text)
    if _nothing(text) or not all(_MAIL.fullmatch(address) for address in addresses):
        raise ValueError("must be mail addresses, with commas between them")
    return ", ".join(addresses)


def _mail(text: str) -> str:
    if text and not _MAIL.fullmatch(text):
        raise ValueError("must be one mail address")
    return text


def _targets(text: str) -> str:
    found = [_TARGET.fullmatch(target) for target in split(text)]
    if _nothing(text) or not all(one and int(one[2]) <= 65535 for one in found):
        raise ValueError("must be HOST:PORT, with commas between several")
    return text


def _labels(text: str) -> str:
    if _nothing(text) or not all(_LABEL.fullmatch(part) for part in split(text)):
        raise ValueError("must be NAME=VALUE, with commas between several")
    return text


def _hours(text: str) -> str:
    if not _HOURS.fullmatch(text):
        raise ValueError("must be HH:MM-HH:MM (for example 08:00-17:00; 24:00 is the end of the day)")
    start, end = minutes(text)
    if start >= end:
        raise ValueError("must begin before it ends, on the same day")
    return text


def _days(text: str) -> str:
    text = text.lower()
    parts = [part.split(":") for part in split(text)]
    if _nothing(text) or not all(len(ends) <= 2 and set(ends) <= set(_DAYS) for ends in parts):
        raise ValueError("must be days, or ranges of days, in English (for example monday:friday,saturday)")
    for ends in parts:
        if _DAYS.index(ends[0]) > _DAYS.index(ends[-1]):
            raise ValueError(f"{':'.join(ends)}: a range ends on saturday at the latest; list the rest after a comma")
    return text


def _nothing(text: str) -> bool:
    """Whether a list was meant, and nothing is in it: who set it believes that something is."""
    return bool(text) and not split(text)


def _url(text: str) -> str:
    # The rules' annotations, where some of them go, are templates.
    if "{{" in text:
        raise ValueError("must not hold {{")
    return http_url(text)


def _host(text: str) -> str:
    text = _words(text)
    if ":" not in text:
        return text
    try:
        return f"[{IPv6Address(text.removeprefix('[').removesuffix(']'))}]"
    except AddressValueError:
        raise ValueError("must be a host without a port, which is UNIONCORE_SMTP_PORT") from None


def split(text: str) -> list[str]:
    """Return the parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def labels(text: str) -> dict[str, str]:
    """Return labels by their name."""
    return {part.partition("=")[0]: part.partition("=")[2] for part in split(text)}


def minutes(hours: str) -> tuple[int, int]:
    """Return when business hours begin and end, in minutes of the day."""
    begin, _, end = hours.partition("-")
    start = time.fromisoformat(begin)
    if end == "24:00":
        return start.hour * 60 + start.minute, DAY_MINUTES
    stop = time.fromisoformat(end)
    return start.hour * 60 + start.minute, stop.hour * 60 + stop.minute


SecretFile = Annotated[Path, AfterValidator(_secret)]
"""A file that holds a secret. The file is read only to see that it is of use; what is rendered is its path."""

PasswordFile = Annotated[Path, AfterValidator(_password)]
"""A file that holds a password that people choose."""

SecretUrlFile = Annotated[Path, AfterValidator(_secret_url)]
"""A file that holds a URL that is itself a secret."""

Url = Annotated[str, AfterValidator(_url)]
Host = Annotated[str, AfterValidator(_host)]
"""A mail server; an address of IPv6 has brackets, whether they were written or not."""

Words = Annotated[str, AfterValidator(_words)]
"""A text that goes where Alertmanager expands templates."""

Priorities = Annotated[str, AfterValidator(_priorities)]
Mail = Annotated[str, AfterValidator(_mail)]
Mails = Annotated[str, AfterValidator(_mails)]
Targets = Annotated[str, AfterValidator(_targets)]
Labels = Annotated[str, AfterValidator(_labels)]
Hours = Annotated[str, AfterValidator(_hours)]
Days = Annotated[str, AfterValidator(_days)]
