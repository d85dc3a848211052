"""The severities: how soon somebody must respond, whom Alertmanager tells, and how often it says so again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Level:
    """A severity.

    Attributes:
        severity: The label's value.
        priority: Its level, P1 to P4.
        respond: Seconds until somebody must have responded; None for the next business day.
        channels: Whom it is told.
        wait: How long Alertmanager waits for what belongs together, as its `group_wait`.
        interval: How soon it tells what was added or is resolved, as its `group_interval`; so long is a failing
            receiver tried, too.
        repeat: How soon it says again what is still firing, as its `repeat_interval`.
    """

    severity: str
    priority: str
    respond: int | None
    channels: tuple[str, ...]
    wait: str
    interval: str
    repeat: str


# A wait of one evaluation of all rules at least: what an outage brings with it must not be told before the outage,
# which silences it, has arrived.
LEVELS: Final = (
    Level("critical", "P1", 15 * 60, ("page", "chat", "mail"), "15s", "1m", "15m"),
    Level("high", "P2", 60 * 60, ("page", "chat", "mail"), "30s", "5m", "1h"),
    Level("medium", "P3", 4 * 60 * 60, ("chat", "ticket"), "1m", "5m", "4h"),
    Level("low", "P4", None, ("chat", "ticket"), "5m", "10m", "12h"),
)

UNKNOWN: Final = LEVELS[2]
"""How an alert is told whose severity is none of these."""

TICKET_REPEAT: Final = "5d"
"""A ticket is a reminder itself. After so long Alertmanager has forgotten that it told (its data.retention)."""


def by_severity(texts: Sequence[str], *, otherwise: str, severity: str = ".CommonLabels.severity") -> str:
    """Return a template that writes one of several texts.

    Args:
        texts: One for each of `LEVELS`.
        otherwise: For any other severity.
        severity: The template's expression of the severity.
    """
    cases = " else ".join(
        f'if eq {severity} "{level.severity}" }}}}{text}{{{{' for level, text in zip(LEVELS, texts, strict=True)
    )
    return f"{{{{ {cases} else }}}}{otherwise}{{{{ end }}}}"
