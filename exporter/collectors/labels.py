"""Label values that are always present."""

from collections.abc import Sequence

from exporter.schema import Column


def labels_of(column: Column, words: Sequence[str]) -> Sequence[str]:
    """Return the values a status can have: the enum's own labels, or where it is text, the known words."""
    return column.labels or words
