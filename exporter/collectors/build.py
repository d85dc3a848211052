"""What runs: the exporter's own version and its Python's."""

import platform
from collections.abc import Sequence

from exporter import __version__
from exporter.metrics import Family, Sample

BUILD_INFO = Family(
    "unioncore_exporter_build_info",
    "What runs: always 1, the labels tell.",
    ("version", "python"),
    example="count by (version) (unioncore_exporter_build_info)",
)


class BuildSource:
    """Publishes the versions."""

    name = "build"
    families: tuple[Family, ...] = (BUILD_INFO,)

    async def collect(self, now: float) -> Sequence[Sample]:  # noqa: ARG002 - the protocol's form
        """Return the one sample.

        Args:
            now: The scrape's time, as a Unix timestamp in seconds; nothing here depends on it.
        """
        return [BUILD_INFO(1.0, __version__, platform.python_version())]
