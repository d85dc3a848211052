"""When things happen at a union local: the moments of the past, its working hours, and what went wrong in it."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS = 35
ZONE = ZoneInfo("America/Los_Angeles")
LOOKBACK = 20 * 60
"""How far Prometheus must look back for a sample, in seconds: past five minutes, or the past would cost too much."""
_GRIDS = ((8 * 86400, 285), (86400, 90))
"""How often a counter is sampled since when, so that graphs of the last days can take its rate; all in seconds."""
_OPENS, _CLOSES = 7.0, 18.0


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which something was wrong, as Unix timestamps in seconds."""

    begin: float
    end: float

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, float) and self.begin <= moment < self.end


class Clock:
    """The past of one moment.

    Args:
        now: The moment, as a Unix timestamp in seconds.
        seed: Other seeds make another past.
    """

    def __init__(self, now: float, seed: int) -> None:
        self.now = now
        self.seed = seed
        # Asked for every sample of every series.
        self.day = cache(self._day)
        self.done = cache(self._done)
        self.busy = cache(self._busy)
        self.outage = self._spell(days=11, hour=10.67, hours=0.24)
        self.late_backup = self._spell(days=17, hour=4.2, hours=8.0)
        self.slow = self._spell(days=5, hour=14.0, hours=0.7)
        self.wave = self._spell(days=9, hour=21.2, hours=0.5)
        self.failed_job = self._spell(days=13, hour=3.5, hours=20.0)
        self.deployment = self.midnight(20) + 22 * 3600

    @cached_property
    def moments(self) -> list[float]:
        """The moments of the samples, ascending; the last is just before now."""
        return self._grid(DAYS * 86400, 5, LOOKBACK - 10)

    @cached_property
    def often(self) -> list[float]:
        """The moments of the samples of counters."""
        since = [age for age, _ in _GRIDS]
        coarse = [moment for moment in self.moments if self.now - moment > since[0]]
        finer = (
            moment
            for (age, step), until in zip(_GRIDS, [*since[1:], 5], strict=True)
            for moment in self._grid(age, until, step)
        )
        return [*coarse, *finer]

    @cached_property
    def always(self) -> list[float]:
        """The moments of the samples of what a share of time is taken of: as often as it will be measured."""
        return self._grid(DAYS * 86400, 5, 15)

    def _grid(self, age: float, until: float, step: float) -> list[float]:
        return [self.now - until - index * step for index in range(int((age - until) // step), -1, -1)]

    def dice(self, *words: object) -> random.Random:
        """Return a source of chance that depends on the seed and these words alone."""
        return random.Random(repr((self.seed, *words)))

    def midnight(self, days: int) -> float:
        """Return when the local's day so many days ago began."""
        today = datetime.fromtimestamp(self.now, ZONE).date()
        return datetime.combine(today - timedelta(days), datetime.min.time(), ZONE).timestamp()

    @cached_property
    def midnights(self) -> list[float]:
        """When each of the local's days began: the first is 70 days ago, the last is today."""
        return [self.midnight(days) for days in range(70, -1, -1)]

    def _day(self, moment: float) -> int:
        """Return how many days before today the local's day of a moment is."""
        return 71 - bisect_right(self.midnights, moment)

    def _busy(self, day: int) -> float:
        """Return how busy a day is, 1 for the mean of working days, so many days ago."""
        weekday = datetime.fromtimestamp(self.midnight(day) + 43200, ZONE).weekday()
        return (1.1, 1.0, 1.0, 0.95, 1.2, 0.25, 0.12)[weekday] * self.dice("busy", day).uniform(0.85, 1.15)

    def _done(self, moment: float) -> float:
        """Return which share of its day's work is done at a moment."""
        hour = (moment - self.midnights[-1 - self.day(moment)]) / 3600
        through = min(max((hour - _OPENS) / (_CLOSES - _OPENS), 0.0), 1.0)
        return 0.02 * min(hour / 24, 1.0) + 0.98 * through * through * (3 - 2 * through)

    def working_moment(self, chance: random.Random) -> float:
        """Return a moment of the past, in the working hours of a working day."""
        while True:
            day = chance.randrange(1, DAYS)
            if chance.random() < self.busy(day):
                return self.midnight(day) + chance.uniform(_OPENS, _CLOSES) * 3600

    def _spell(self, *, days: int, hour: float, hours: float) -> Spell:
        begin = self.midnight(days) + hour * 3600
        return Spell(begin, begin + hours * 3600)


@dataclass(frozen=True, slots=True)
class Days:
    """An amount that grows over each of the local's days, and the windows that the exporter has of it.

    Attributes:
        amounts: What each day brings, by how many days ago it is.
    """

    amounts: Sequence[float]

    @classmethod
    def leading_to(cls, clock: Clock, name: str, windows: Sequence[tuple[int, float]]) -> Days:
        """Return days whose windows are, at present, what is measured.

        Args:
            clock: The past.
            name: What the chance depends on.
            windows: How many days before today each window begins, and what it holds now, ascending from today.
        """
        (_, today), *longer = windows
        amounts = [today / max(clock.done(clock.now), 0.02)]
        known = today
        for days, total in longer:
            weights = [
                clock.busy(day) * clock.dice(name, day).uniform(0.6, 1.4) for day in range(len(amounts), days + 1)
            ]
            amounts += [(total - known) * weight / sum(weights) for weight in weights]
            known = total
        mean = (known - today) / (len(amounts) - 1)
        amounts += [
            mean * 1.25 * clock.busy(day) * clock.dice(name, day).uniform(0.6, 1.4) for day in range(len(amounts), 71)
        ]
        return cls(amounts)

    def window(self, clock: Clock, moment: float, days: int) -> float:
        """Return what a window that begins so many days before the moment's day held at that moment."""
        day = clock.day(moment)
        return self.amounts[day] * clock.done(moment) + sum(self.amounts[day + 1 : day + days + 1])

    def before(self, clock: Clock, moment: float) -> float:
        """Return how much less than now there had been in all at a moment."""
        day = clock.day(moment)
        return sum(self.amounts[1:day]) + (
            self.amounts[day] * (1 - clock.done(moment)) + self.amounts[0] * clock.done(clock.now)
            if day
            else self.amounts[0] * (clock.done(clock.now) - clock.done(moment))
        )
