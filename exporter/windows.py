"""Time windows of the metrics: the local's own "today", and the days before it.

"today" is the calendar day of the configured zone; `7d` and `30d` reach back that many days before
today's start; every window ends now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

DAYS: Mapping[str, int] = {"today": 0, "7d": 7, "30d": 30}


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a calendar day in a zone, in UTC.

    Where midnight is skipped by a clock change, this is the moment of the change; where it comes twice,
    the first of the two (PEP 495, fold=0).
    """
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows as they stand at one moment.

    Attributes:
        now: The moment, in UTC; where every window ends.
        days: The first calendar day of each window, by label.
        starts: The first instant of each window in UTC, by label.
        until: When today is over: the next local midnight, in UTC.
    """

    now: datetime
    days: Mapping[str, date]
    starts: Mapping[str, datetime]
    until: datetime

    @classmethod
    def at(cls, now: datetime, zone: ZoneInfo) -> Self:
        """Compute the windows at a moment.

        Args:
            now: An aware datetime.
            zone: The zone whose calendar day is "today".
        """
        today = now.astimezone(zone).date()
        days = {label: today - timedelta(days=back) for label, back in DAYS.items()}
        return cls(
            now=now.astimezone(UTC),
            days=days,
            starts={label: start_of_day(day, zone) for label, day in days.items()},
            until=start_of_day(today + timedelta(days=1), zone),
        )

    def parameters(self, horizon: datetime) -> dict[str, object]:
        """Return the bind parameters that statements may use: now, horizon, start_*, day_*, today."""
        return {
            "now": self.now,
            "horizon": horizon,
            "today": self.days["today"],
            **{f"start_{label}": start for label, start in self.starts.items()},
            **{f"day_{label}": day for label, day in self.days.items()},
        }
