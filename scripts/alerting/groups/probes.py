"""The names under which the parts of the stack are scraped (`job` in prometheus.yml), for every expression."""

EXPORTER = 'job="unioncore-exporter"'
LIVE = 'job="unioncore-live"'
"""Probes of /health/live."""
SERVING = 'job="unioncore-serving"'
"""Probes of /health/ready that look at the status only: can people work? The measure of availability."""
READY = 'job="unioncore-ready"'
"""Probes of /health/ready that look at the status and every check."""
CERTIFICATE = 'job="unioncore-certificate"'
POSTGRES = 'job="postgres"'
NODE = 'job="node"'
BLACKBOX = 'job="blackbox"'
ALERTMANAGER = 'job="alertmanager"'
PROMETHEUS = 'job="prometheus"'

OUTAGES = ("UnionCoreDown", "UnionCoreNotReady", "UnionCoreDatabaseDown")
"""The alerts that say that nobody can work."""
