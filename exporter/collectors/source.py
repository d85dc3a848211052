"""The face of a collector that does not read UnionCore's database."""

from collections.abc import Sequence
from typing import Protocol

from exporter.metrics import Family, Sample


class Source(Protocol):
    """Something outside the database that is looked at anew for each scrape."""

    name: str
    families: tuple[Family, ...]

    async def collect(self, now: float) -> Sequence[Sample]:
        """Look at it.

        Args:
            now: The scrape's time, as a Unix timestamp in seconds.

        Returns:
            The samples; a fact that is not known has none.

        Raises:
            CollectError: It could not be looked at; no sample of it is published.
        """
        ...
