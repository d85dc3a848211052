"""UnionCore's Prometheus exporter, and the parts that the operations jobs share with it."""

from importlib.metadata import version

__version__ = version("unioncore-observability")
