"""The names under which the parts of the stack are scraped (`job` in prometheus.yml), for every expression."""

from scripts.alerting.model import seen

EXPORTER = 'job="unioncore-exporter"'
LIVE = 'job="unioncore-live"'
"""Probes of /health/live."""
SERVING = 'job="unioncore-serving"'
"""Probes of /health/ready that look at the status only: can people work? The measure of availability."""
READY = 'job="unioncore-ready"'
"""Probes of /health/ready that look at the status and every check."""
CERTIFICATE = 'job="unioncore-certificate"'
ANY = 'job=~"unioncore-.*"'
"""All of the probes."""
POSTGRES = 'job="postgres"'
NODE = 'job="node"'
BLACKBOX = 'job="blackbox"'
ALERTMANAGER = 'job="alertmanager"'
PROMETHEUS = 'job="prometheus"'

_UP = seen("unioncore_up", "1m")
# No longer than this: a probe that can't be run any more must not keep an outage from being told.
_WELL = f"({seen(f'probe_success{{{SERVING}}}', '30s')} == 1 or {_UP} == 1)"
DATABASE_OUT = f"{_UP} == 0 unless on () {_WELL}"
"""Where the database does not answer the exporter, and nobody else says that it answers."""
DATABASE_UNSEEN = f"{_UP} == 0 and on () {_WELL}"
"""Where it does not answer this exporter, but UnionCore, or another exporter."""

OUTAGES = ("UnionCoreDown", "UnionCoreNotReady", "UnionCoreDatabaseDown")
"""The alerts that say that nobody can work."""
