"""UnionCore's Prometheus exporter, and the parts that the operations jobs share with it."""

__version__ = "0.1.0"
