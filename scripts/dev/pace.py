"""How fast the watching goes: the configuration that is shipped, made faster for the demo and for tests.

Only waiting becomes shorter. Thresholds, and how far back an expression looks, stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NOTIFYING = re.compile(r"(group_wait|group_interval|repeat_interval): (\d+)(ms|[smhd])\b")
_LEAST_INTERVAL = 1.0
"""What Alertmanager's `group_interval` must not be below, in seconds: within it a notification must be delivered."""


@dataclass(frozen=True)
class Pace:
    """How fast the watching goes; as it stands, as fast as it is shipped.

    Attributes:
        speed: How many times faster everything is that waits.
        least: Seconds between scrapes and between evaluations, at the least: so long may a scrape take.
        scrape: Seconds between them, at the most.
        evaluate: Seconds between evaluations of a group of rules that has an interval of its own, at the most.
    """

    speed: float = 1
    least: float = 0
    scrape: float = 3600
    evaluate: float = 3600

    @property
    def resend(self) -> float:
        """Seconds until Prometheus sends an alert that still fires again: its default, made faster."""
        return min(60 / self.speed, 2 * self.evaluate)

    def prometheus(self, directory: Path) -> None:
        """Change a copy of Prometheus' configuration.

        Args:
            directory: Where prometheus.yml and rules/ are.
        """
        config = directory / "prometheus.yml"
        content = yaml.safe_load(config.read_text())
        _shorten(content["global"], self._scraped, "scrape_interval", "scrape_timeout", "evaluation_interval")
        for job in content["scrape_configs"]:
            _shorten(job, self._scraped, "scrape_interval", "scrape_timeout")
        _write(config, content)
        for path in (directory / "rules").glob("*.yml"):
            content = yaml.safe_load(path.read_text())
            for group in content["groups"]:
                _shorten(group, self._evaluated, "interval")
                for rule in group["rules"]:
                    _shorten(rule, self._waited, "for", "keep_firing_for")
            _write(path, content)

    def alertmanager(self, config: Path) -> None:
        """Change Alertmanager's configuration.

        Args:
            config: Its alertmanager.yml.
        """

        def faster(found: re.Match[str]) -> str:
            seconds = int(found[2]) * _SECONDS[found[3]] / self.speed
            if found[1] == "group_interval":
                seconds = max(seconds, _LEAST_INTERVAL)
            return f"{found[1]}: {seconds * 1000:.0f}ms"

        config.write_text(_NOTIFYING.sub(faster, config.read_text()))

    def _scraped(self, seconds: float) -> float:
        return min(max(seconds / self.speed, self.least), self.scrape)

    def _evaluated(self, seconds: float) -> float:
        return min(seconds / self.speed, self.evaluate)

    def _waited(self, seconds: float) -> float:
        return seconds / self.speed


SHIPPED = Pace()
LIVELY = Pace(scrape=2, evaluate=5)
"""For somebody who looks on: there is something to see at once, and alerts take the time that they take."""


def _shorten(section: dict[str, Any], shorter: Any, *keys: str) -> None:
    for key in keys:
        if key in section:
            section[key] = f"{shorter(_seconds(section[key])) * 1000:.0f}ms"


def _seconds(text: str) -> float:
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", text))


def _write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
