"""Backups and jobs: whether everything could be brought back, and whether the routine work is done."""

from grafana.fields import (
    BRIGHT,
    COLOURED,
    DEEP,
    P1,
    P2,
    P3,
    WELL,
    board,
    coloured,
    joined,
    override,
    runbook,
    steps,
    yes_no,
)
from grafana.layout import Board, Row
from grafana.panels import Graph, Stat, Table, Timeline
from grafana.queries import Query, own
from scripts.alerting.model import duration
from scripts.alerting.thresholds import DAILY_JOBS, HOUR, WEEKLY_JOBS
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_AGE = "unioncore_backup_age_seconds"
_SIZE = "unioncore_backup_size_bytes"
_RUN = "unioncore_job_last_run_timestamp_seconds"
_SUCCESS = "unioncore_job_last_success_timestamp_seconds"
_STORED = "unioncore_backup_last_success_timestamp_seconds"
_PROVEN = own("unioncore_backup_last_verified_timestamp_seconds")
_LOCATIONS = {"local": DEEP, "s3": BRIGHT}
_STALE = steps((LIMITS.backup_stale, P2), (LIMITS.backup_very_stale, P1))
_STALE_RUNBOOK, _UNVERIFIED = runbook("UnionCoreBackupStale"), runbook("UnionCoreBackupUnverified")
_OVERDUE, _FAILED = runbook("UnionCoreJobOverdue"), runbook("UnionCoreJobFailed")
_DUE = {"what": "What", "Value #A": "Time left", "Value #B": "Last"}
_STORES = {
    "location": "Where",
    "Value #A": "Newest",
    "Value #B": "Age",
    "Value #C": "Size",
    "Value #D": "Backups",
}
_JOBS = {
    "job_name": "Job",
    "Value #A": "Last run",
    "Value #B": "Ended",
    "Value #C": "Last success",
    "Value #D": "Took",
    "Value #E": "Items",
}


def _named(expr: str, text: str, label: str) -> str:
    return f'label_replace({expr}, "what", "{text}", "{label}", "(.+)")'


def _scheduled(age: str) -> str:
    """Return an expression for everything that must happen at intervals, by the label `what`.

    Args:
        age: What is asked, of the time stamp TIME that may be LIMIT old.
    """
    kinds = [
        (own(_RUN, job_name=f"=~{'|'.join(DAILY_JOBS)}"), LIMITS.daily_job, "job: $1", "job_name"),
        (own(_RUN, job_name=f"=~{'|'.join(WEEKLY_JOBS)}"), LIMITS.weekly_job, "job: $1", "job_name"),
        (own(_STORED), LIMITS.backup_stale, "backup: $1", "location"),
        (_PROVEN, LIMITS.backup_unverified, "backup proven by a restore", "instance"),
    ]
    parts = [
        _named(age.replace("TIME", time).replace("LIMIT", duration(limit)), text, label)
        for time, limit, text, label in kinds
    ]
    everything = "\n  or ".join(parts)
    return f"max by (what) (\n  {everything}\n)"


BOARD = Board(
    name="backups",
    description="Whether everything could be brought back, and whether the routine work is done.",
    since="now-30d",
    refresh="1m",
    rows=[
        Row(
            "",
            [
                Stat(
                    title="Newest backup",
                    description="How old the newest complete backup is, wherever it lies. From orange on a daily one is"
                    " missing, from red on two: follow the runbook.",
                    unit="dtdurations",
                    queries=[Query(f"min({own(_AGE)})")],
                    steps=_STALE,
                    no_value="No backup",
                    links=[_STALE_RUNBOOK, runbook("UnionCoreBackupVeryStale")],
                ),
                Stat(
                    title="Newest off site",
                    description="How old the newest complete backup off site (S3) is. From orange on a fire could take"
                    " the database and its newest backup together: follow the runbook.",
                    unit="dtdurations",
                    queries=[Query(own(_AGE, location="s3"))],
                    steps=steps((LIMITS.backup_stale, P2)),
                    no_value="Not set up",
                    links=[runbook("UnionCoreBackupOffsiteStale")],
                ),
                Stat(
                    title="Proven by a restore",
                    description="How old the newest backup is that a restore has proven. From yellow on nobody knows"
                    " whether the newer ones could be restored: follow the runbook.",
                    unit="dtdurations",
                    queries=[Query(f"time() - {_PROVEN}")],
                    steps=steps((LIMITS.backup_unverified, P3)),
                    no_value="Never",
                    links=[_UNVERIFIED, runbook("UnionCoreBackupNeverVerified")],
                ),
                Stat(
                    title="Size against the week",
                    description="The newest backup's size as a share of the week's median. Below the limit, rows or"
                    " tables are gone, from the backup or from the database: follow the runbook.",
                    unit="percentunit",
                    decimals=0,
                    queries=[Query(f"min({own(_SIZE)} / {own('location:unioncore_backup_size_bytes:median7d')})")],
                    steps=steps((LIMITS.backup_shrunk, WELL), below=P2),
                    no_value="Too early to say",
                    links=[runbook("UnionCoreBackupShrunk")],
                ),
                Stat(
                    title="Backups kept",
                    description="How many complete backups each store holds. If it falls, retention removes more than"
                    " it should, or the job makes none: follow the runbook.",
                    unit="none",
                    queries=[Query(own("unioncore_backups"), "{{location}}")],
                    steps=steps((1, WELL), below=P1),
                    links=[runbook("UnionCoreBackupMissing")],
                ),
                Stat(
                    title="Jobs that failed",
                    description="Jobs whose last run failed. Look in the table below for which, in its log for why.",
                    unit="none",
                    queries=[Query(f"count({own('unioncore_job_last_run_succeeded')} == 0) or 0 * count({own(_RUN)})")],
                    steps=steps((1, P3)),
                    no_value="No job has reported",
                    links=[_FAILED, runbook("UnionCoreVerifyFailed")],
                ),
                Table(
                    title="What is overdue, or due next",
                    description="How much time is left for each thing that must happen at intervals, before an alert"
                    " fires. What is below 0 is overdue: follow the runbook.",
                    unit="dtdurations",
                    queries=[
                        Query(_scheduled("LIMIT - (time() - TIME)")),
                        Query(f"1000 * {_scheduled('TIME')}"),
                    ],
                    transformations=joined("what", _DUE),
                    overrides=[
                        override("What", custom_minWidth=200),
                        override("Time left", custom_cellOptions=COLOURED, thresholds=steps((0, WELL), below=P2)),
                        override("Last", unit="dateTimeFromNow"),
                    ],
                    sort="Time left",
                    links=[_OVERDUE, _STALE_RUNBOOK, _UNVERIFIED],
                    width=12,
                    height=9,
                ),
                Table(
                    title="Local against off site",
                    description="What is really in each store. If the two differ by more than a day, copying off site"
                    " fails: follow the runbook.",
                    unit="none",
                    queries=[
                        Query(f"1000 * max by (location) ({own(_STORED)})"),
                        Query(f"max by (location) ({own(_AGE)})"),
                        Query(f"max by (location) ({own(_SIZE)})"),
                        Query(f"max by (location) ({own('unioncore_backups')})"),
                    ],
                    transformations=joined("location", _STORES),
                    overrides=[
                        override("Newest", unit="dateTimeAsIso", custom_width=170),
                        override("Age", unit="dtdurations", thresholds=_STALE, custom_cellOptions=COLOURED),
                        override("Size", unit="bytes"),
                    ],
                    links=[runbook("UnionCoreBackupOffsiteStale"), runbook("UnionCoreBackupNotStored")],
                    width=12,
                    height=9,
                ),
            ],
        ),
        Row(
            "Backups",
            [
                Graph(
                    title="Age of the newest backup",
                    description="It grows for a day and falls with each backup. A peak above the orange line was a"
                    " missing backup: look in that night's log for why.",
                    unit="suffix: h",
                    minimum=0,
                    queries=[Query(f"{own(_AGE)} / {HOUR}", "{{location}}")],
                    steps=steps((LIMITS.backup_stale / HOUR, P2), (LIMITS.backup_very_stale / HOUR, P1)),
                    backups=True,
                    overrides=coloured(_LOCATIONS),
                    links=[_STALE_RUNBOOK],
                ),
                Graph(
                    title="Size of the newest backup",
                    description="It grows slowly. A step down means that rows or tables are gone: follow the runbook.",
                    unit="bytes",
                    minimum=0,
                    queries=[Query(own(_SIZE), "{{location}}")],
                    backups=True,
                    overrides=coloured(_LOCATIONS),
                    links=[runbook("UnionCoreBackupShrunk")],
                ),
                Graph(
                    title="Backups kept",
                    description="Complete backups in each store. It rises to what retention keeps, and stays there; if"
                    " it falls, follow the runbook.",
                    unit="none",
                    decimals=0,
                    minimum=0,
                    stepped=True,
                    queries=[Query(own("unioncore_backups"), "{{location}}")],
                    overrides=coloured(_LOCATIONS),
                    links=[runbook("UnionCoreBackupMissing")],
                ),
            ],
        ),
        Row(
            "Jobs",
            [
                Table(
                    title="Every job",
                    description="When each job last ran, how that ended, when it last succeeded, how long it took and"
                    " with how many items it dealt. If one failed, look in its log for why.",
                    unit="none",
                    queries=[
                        Query(f"1000 * max by (job_name) ({own(_RUN)})"),
                        Query(f"max by (job_name) ({own('unioncore_job_last_run_succeeded')})"),
                        Query(f"1000 * max by (job_name) ({own(_SUCCESS)})"),
                        Query(f"max by (job_name) ({own('unioncore_job_last_run_duration_seconds')})"),
                        Query(f"max by (job_name) ({own('unioncore_job_last_run_items')})"),
                    ],
                    no_value="No job has reported",
                    transformations=joined("job_name", _JOBS),
                    overrides=[
                        override("Last run", unit="dateTimeFromNow"),
                        override("Ended", mappings=yes_no("well", "failed", bad=P3), custom_cellOptions=COLOURED),
                        override("Last success", unit="dateTimeFromNow"),
                        override("Took", unit="s"),
                        override("Items", unit="locale"),
                    ],
                    sort="Job",
                    links=[_FAILED, _OVERDUE],
                    width=12,
                ),
                Timeline(
                    title="How the last run had ended",
                    description="At each moment, how the last run of each job before it had ended. Yellow: look in the"
                    " log of that run for why.",
                    unit="none",
                    queries=[Query(own("unioncore_job_last_run_succeeded"), "{{job_name}}")],
                    mappings=yes_no("well", "failed", bad=P3),
                    links=[_FAILED],
                    width=12,
                ),
                Graph(
                    title="How long jobs take",
                    description="The duration of each job's last run. One that doubles will miss its window: look at"
                    " what grew.",
                    unit="s",
                    minimum=0,
                    stepped=True,
                    queries=[Query(own("unioncore_job_last_run_duration_seconds"), "{{job_name}}")],
                    links=[_OVERDUE, board("service")],
                    width=12,
                ),
                Graph(
                    title="What jobs deal with",
                    description="The number of items of each job's last run: tables dumped, rows archived, tokens"
                    " removed. One that is 0 for long does nothing: look in its log for why.",
                    unit="locale",
                    minimum=0,
                    stepped=True,
                    queries=[Query(own("unioncore_job_last_run_items"), "{{job_name}}")],
                    links=[_FAILED],
                    width=12,
                ),
            ],
        ),
    ],
)
