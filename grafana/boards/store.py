"""Prometheus itself, on the dashboard of the watchers."""

from grafana.fields import DEEP, P2, P3, PALE, WELL, coloured, runbook, steps
from grafana.panels import Graph, Panel
from grafana.queries import Query, select
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_RULE, _STORAGE = runbook("UnionCoreRuleFailing"), runbook("UnionCorePrometheusStorageFailing")
_DISK = runbook("UnionCoreHostDiskFilling")


def prometheus(metric: str) -> str:
    """Return the selector of what Prometheus says of itself."""
    return select(metric, job="prometheus")


def failures(metric: str) -> str:
    """Return how many failures a counter of Prometheus' own saw within 15 minutes."""
    return f"sum(increase({prometheus(metric)}[15m]))"


_GROUPS = prometheus("prometheus_rule_group_last_duration_seconds")
STORE: list[Panel] = [
    Graph(
        title="Series in memory",
        description="How many series Prometheus holds in memory. A steep climb is a label with too many values: look at"
        " the samples of each target.",
        unit="locale",
        minimum=0,
        queries=[Query(prometheus("prometheus_tsdb_head_series"), "series in memory")],
        overrides=coloured({"series in memory": DEEP}),
        links=[_STORAGE],
    ),
    Graph(
        title="What is stored",
        description="What Prometheus' blocks take on the disk. It levels off at what retention keeps; if not, follow"
        " the runbook before the disk is full.",
        unit="bytes",
        minimum=0,
        queries=[
            Query(prometheus("prometheus_tsdb_storage_blocks_bytes"), "blocks"),
            Query(prometheus("prometheus_tsdb_wal_storage_size_bytes"), "write-ahead log"),
        ],
        overrides=coloured({"blocks": DEEP, "write-ahead log": PALE}),
        links=[_STORAGE, _DISK],
    ),
    Graph(
        title="Failures of the store",
        description="Writes, truncations and compactions that failed in the 15 minutes before each moment. Anything"
        " above 0 loses measurements: follow the runbook.",
        unit="none",
        minimum=0,
        soft_maximum=1,
        queries=[
            Query(failures(f"prometheus_tsdb_{name}_failed_total"), words_)
            for name, words_ in {
                "wal_writes": "writes",
                "wal_truncations": "truncations",
                "head_truncations": "head",
                "compactions": "compactions",
            }.items()
        ],
        steps=steps((0.5, P2)),
        links=[_STORAGE],
    ),
    Graph(
        title="How long rules take",
        description="How long each group of rules takes to be evaluated. One that takes longer than its interval skips"
        " evaluations: look at what its queries read.",
        unit="s",
        minimum=0,
        queries=[
            Query(
                f'max by (group) (label_replace({_GROUPS}, "group", "$1", "rule_group", ".*;(.+)"))',
                "{{group}}",
            )
        ],
        links=[_RULE],
    ),
    Graph(
        title="Rules that fail",
        description="Evaluations of rules that failed in the 15 minutes before each moment. Anything above 0 is an"
        " alert that can't fire: follow the runbook.",
        unit="none",
        minimum=0,
        soft_maximum=1,
        queries=[Query(failures("prometheus_rule_evaluation_failures_total"), "failed")],
        steps=steps((0.5, P2)),
        overrides=coloured({"failed": DEEP}),
        links=[_RULE],
    ),
    Graph(
        title="Free space of disks",
        description="The share of each disk that is free, where a node_exporter runs. Below the line Prometheus or the"
        " backups will stop: follow the runbook.",
        unit="percentunit",
        minimum=0,
        maximum=1,
        queries=[
            Query(
                'node_filesystem_avail_bytes{job="node",fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"}'
                " / node_filesystem_size_bytes",
                "{{instance}} {{mountpoint}}",
            )
        ],
        steps=steps((LIMITS.host_disk, P3), (LIMITS.host_disk_soon, WELL), below=P2),
        no_value="No node_exporter",
        links=[_DISK],
    ),
]
"""The panels of its row."""
