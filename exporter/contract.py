"""The public contract: every family that the exporter publishes, by the collector that fills it."""

from collections.abc import Mapping

from exporter.board import HEALTH
from exporter.collectors import SPECS, backups
from exporter.collectors.audit import AuditCollector
from exporter.collectors.build import BuildSource
from exporter.collectors.jobs import JobsSource
from exporter.metrics import Family
from exporter.reading import SCHEMA, SCHEMA_INFO

COLLECTORS: Mapping[str, tuple[Family, ...]] = {
    AuditCollector.name: AuditCollector.families,
    **{spec.name: spec.families for spec in SPECS},
    # One collector for each store: `backups_local`, `backups_s3`.
    "backups": (backups.LAST_SUCCESS, backups.AGE, backups.SIZE, backups.BACKUPS, backups.LAST_VERIFIED),
    JobsSource.name: JobsSource.families,
    SCHEMA: (SCHEMA_INFO,),
    BuildSource.name: BuildSource.families,
}
CONTRACT: tuple[Family, ...] = (*HEALTH, *(family for families in COLLECTORS.values() for family in families))
