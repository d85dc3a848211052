"""What the tests of notifications share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.dev.sink import Sink
from tests.alertmanager.alerting import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with nothing configured."""
    return Site(tmp_path)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running
