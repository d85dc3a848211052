"""What one look at the world brought: each collector's outcome, and the snapshot made of them.

Data and health are apart: a collector that failed has no data, and its health says so.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics import Family, Sample

UP = Family(
    "unioncore_up",
    "1 if the database answered this scrape.",
    example="unioncore_up == 0",
)
COLLECTOR_SUCCESS = Family(
    "unioncore_collector_success",
    "1 if the collector could look at all it publishes in this scrape; if 0, its families are left out.",
    ("collector",),
    example="unioncore_collector_success == 0",
)
COLLECTOR_DURATION = Family(
    "unioncore_collector_duration_seconds",
    "Time that this scrape spent on the collector; 0 if what it had counted still holds.",
    ("collector",),
    example="topk(3, unioncore_collector_duration_seconds)",
)
COLLECTOR_LAST_SUCCESS = Family(
    "unioncore_collector_last_success_timestamp_seconds",
    "When the collector last succeeded, as a Unix timestamp.",
    ("collector",),
    example="time() - unioncore_collector_last_success_timestamp_seconds",
)
HEALTH = (UP, COLLECTOR_SUCCESS, COLLECTOR_DURATION, COLLECTOR_LAST_SUCCESS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one collector in one scrape.

    Attributes:
        samples: Its data; empty if it failed.
        seconds: The time spent on it.
        error: Why it failed; None if it did not.
    """

    samples: Sequence[Sample] = ()
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of a scrape: immutable, shared by all who waited for it.

    Attributes:
        at: When it was finished (Unix timestamp, seconds).
        database_error: Why the database did not answer; None if it did.
        outcomes: By collector.
        last_success: When each collector last succeeded (Unix timestamps); those that never did are absent.
    """

    at: float
    database_error: str | None
    outcomes: Mapping[str, Outcome]
    last_success: Mapping[str, float]

    def samples(self) -> list[Sample]:
        """Return everything to publish, health first."""
        samples = [UP(0.0 if self.database_error else 1.0)]
        for name, outcome in self.outcomes.items():
            samples.append(COLLECTOR_SUCCESS(0.0 if outcome.error else 1.0, name))
            samples.append(COLLECTOR_DURATION(outcome.seconds, name))
        samples += [COLLECTOR_LAST_SUCCESS(at, name) for name, at in self.last_success.items()]
        for outcome in self.outcomes.values():
            samples += outcome.samples
        return samples


class Board:
    """Where the parts of a scrape write down what became of them."""

    def __init__(self, database_collectors: Sequence[str], sources: Sequence[str]) -> None:
        self._database_collectors = tuple(database_collectors)
        self._sources = tuple(sources)
        self._outcomes: dict[str, Outcome] = {}
        self._answered = asyncio.Event()
        self.database_error: str | None = "it did not answer in time"

    def record(self, name: str, outcome: Outcome) -> None:
        """Write down a collector's outcome."""
        self._outcomes[name] = outcome

    def database_answered(self) -> None:
        """The database has answered."""
        self.database_error = None
        self._answered.set()

    async def wait_for_answer(self) -> None:
        """Wait until the database has answered, or is known not to."""
        await self._answered.wait()

    def database_down(self, error: str) -> None:
        """The database does not answer, or no longer does: nothing of it is published."""
        self.database_error = error
        for name in self._database_collectors:
            self._outcomes.pop(name, None)
        self._answered.set()

    def outcomes(self) -> dict[str, Outcome]:
        """Return every collector's outcome; one that was not reached has failed."""
        missed = "it was not reached before the scrape's deadline"
        down = f"the database is down: {self.database_error}"
        otherwise = dict.fromkeys(self._database_collectors, down if self.database_error else missed)
        otherwise |= dict.fromkeys(self._sources, missed)
        return {name: self._outcomes.get(name) or Outcome(error=why) for name, why in otherwise.items()}
