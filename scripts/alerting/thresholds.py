"""Every limit that alerts and dashboards share, once.

PromQL has no variables, and a recording rule that held a constant would make each comparison a join and each panel's
threshold a query. So the rules are generated from these numbers, and so are the thresholds of the dashboards.
"""

from dataclasses import dataclass

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Burn:
    """One pair of windows in which the error budget burns too fast; both must say so.

    Attributes:
        factor: How many times faster than what would just last for 30 days.
        long: The window that tells that it matters.
        short: The window that tells that it still goes on.
        history: How old the measurements must be at least: half of the long window.
    """

    factor: float
    long: str
    short: str
    history: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits; times in seconds, sizes in bytes, shares as ratios.

    Attributes:
        availability: The share of probes that must succeed, over 30 days.
        slow: The mean time of a probe of `/health/ready` from which on UnionCore is slow; probes end after 5 s.
        certificate_early: A certificate should have been renewed this long before it expires.
        certificate_late: It must be renewed by hand this long before it expires.
        connections: The share of the database's connections in use.
        deadlocks: Deadlocks in 15 minutes.
        transaction: The age of a transaction.
        growth_share: How much the database may grow in a day, as a share of its size the day before.
        growth_bytes: The growth in a day below which that does not matter.
        database_disk: The share of the database's disk in use.
        database_disk_ahead: How far ahead the database's disk must not be full.
        backup_stale: The age of the newest backup: a daily one, and two hours to make it.
        backup_very_stale: The age at which two daily backups are missing.
        backup_unverified: The age of the newest backup that a restore has proven: a weekly run, and a day.
        backup_shrunk: The newest backup's share of the week's median size.
        backup_lag: How much later than the newest backup the backup job may report success: dump, upload, clean up.
        daily_job: How long ago a daily job may have run.
        weekly_job: How long ago a weekly job may have run.
        archive_overdue: How long ago the audit archive may have succeeded: two weekly runs missed.
        audit_silence: How long the audit log may be silent while users log in.
        audit_deletes: Deletions in one table within 15 minutes.
        audit_deletes_factor: How many times the week's mean they must be besides.
        audit_history: How much of its oldest history the audit log may lose.
        audit_history_window: Within what time.
        locked_accounts: Locked accounts.
        locked_share: Locked accounts as a share of those that may log in.
        lock_wave: Accounts locked within 15 minutes.
        notifications_failing: The share of attempts to notify that fail.
        flapping: The share of scrapes, or of a collector's counts, that must succeed within half an hour.
        host_disk: The share of a file system that is free.
        host_disk_soon: The share below which it must not be on its way to be full within a day.
    """

    availability: float = 0.999
    slow: float = 2
    certificate_early: float = 14 * DAY
    certificate_late: float = 3 * DAY
    connections: float = 0.8
    deadlocks: float = 5
    transaction: float = 30 * MINUTE
    growth_share: float = 0.2
    growth_bytes: float = GIB
    database_disk: float = 0.9
    database_disk_ahead: float = 4 * DAY
    backup_stale: float = 26 * HOUR
    backup_very_stale: float = 50 * HOUR
    backup_unverified: float = 8 * DAY
    backup_shrunk: float = 0.5
    backup_lag: float = 6 * HOUR
    daily_job: float = 26 * HOUR
    weekly_job: float = 8 * DAY
    archive_overdue: float = 15 * DAY
    audit_silence: float = HOUR
    audit_deletes: float = 100
    audit_deletes_factor: float = 10
    audit_history: float = DAY
    audit_history_window: float = 6 * HOUR
    locked_accounts: float = 5
    locked_share: float = 0.02
    lock_wave: float = 5
    notifications_failing: float = 0.5
    flapping: float = 0.9
    host_disk: float = 0.1
    host_disk_soon: float = 0.25


THRESHOLDS = Thresholds()

BURNS = (
    Burn(14.4, long="1h", short="5m", history="30m"),
    Burn(6, long="6h", short="30m", history="3h"),
    Burn(3, long="1d", short="2h", history="12h"),
    Burn(1, long="3d", short="6h", history="36h"),
)
"""In the order of P1 to P4."""

DAILY_JOBS = ("backup", "cleanup")
WEEKLY_JOBS = ("verify", "archive")
"""What is scheduled (scripts/crontab.example); every other job runs on demand."""

ONLINE_METHODS = "online|stripe_.*"
"""The payment methods whose payments a webhook records."""
