"""The page at `/`."""

from exporter.board import Snapshot


def page(snapshot: Snapshot) -> str:
    """Return the page as HTML."""
    return f"<!doctype html><title>UnionCore exporter</title><p>{snapshot.at}"
