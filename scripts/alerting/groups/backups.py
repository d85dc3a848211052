"""Backups: what the stores really hold."""

from scripts.alerting.model import Alert, Group, Record, Severity, duration, held, lines, seen, words
from scripts.alerting.thresholds import HOUR
from scripts.alerting.thresholds import THRESHOLDS as LIMITS

_OFF_SITE = '{location="s3"}'
# A store that is empty has no newest backup: what it had is not held.
_NONE = f"on (location) {held('unioncore_backups')} == 0"
_STALE = duration(LIMITS.backup_stale)
_AGES = f"({held('unioncore_backup_age_seconds')} unless {_NONE})"
_AGE = f"min{_AGES}"
_MEDIAN = "location:unioncore_backup_size_bytes:median7d"
_REPORTED = 'unioncore_job_last_success_timestamp_seconds{job_name="backup"}'
_VERIFIED = "unioncore_backup_last_verified_timestamp_seconds"

GROUP = Group(
    "unioncore-backups",
    [
        # Up to a day ago, so that the newest is not compared with itself.
        Record(_MEDIAN, "quantile_over_time(0.5, unioncore_backup_size_bytes[7d] offset 1d)"),
        Alert(
            name="UnionCoreBackupMissing",
            # Where a manifest can't be read their number is left out, but not the newest one's age.
            expr=f"sum({held('unioncore_backups')}) == 0 unless on () {_AGES}",
            wait="10m",
            keep="5m",
            severity=Severity.CRITICAL,
            service="backups",
            summary="There is no backup at all",
            description="For at least 10 minutes no complete backup has been in any store. If the database were lost "
            "now, everything would be lost.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupVeryStale",
            expr=f"{_AGE} > {duration(LIMITS.backup_very_stale)}",
            wait="2m",
            keep="5m",
            severity=Severity.CRITICAL,
            service="backups",
            summary="There has been no backup for two days",
            description="The newest complete backup, wherever it is, is {{ $value | humanizeDuration }} old; more than "
            f"{LIMITS.backup_very_stale / HOUR:.0f} hours means that two daily backups are missing. "
            "Everything entered since would be lost with the database.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupStale",
            expr=f"{_AGE} > {_STALE}",
            wait="2m",
            keep="2m",
            severity=Severity.HIGH,
            service="backups",
            summary="Today's backup is missing",
            description="The newest complete backup, wherever it is, is {{ $value | humanizeDuration }} old; there "
            f"should be one at least every {LIMITS.backup_stale / HOUR:.0f} hours. "
            "Everything entered since would be lost with the database.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupOffsiteStale",
            # The age is left out of a store that is empty.
            expr=lines(
                f"({held(f'unioncore_backup_age_seconds{_OFF_SITE}')} unless {_NONE}) > {_STALE}",
                f"or {held(f'unioncore_backups{_OFF_SITE}')} == 0",
            ),
            wait="10m",
            keep="2m",
            severity=Severity.HIGH,
            service="backups",
            summary="There is no current backup off site",
            description="{{ if eq $value 0.0 }}The bucket for backups off site (S3) holds none"
            "{{ else }}The newest complete backup off site (S3) is {{ $value | humanizeDuration }} old{{ end }}. "
            "A fire, a theft or ransomware in the office could take the database and its newest backup together.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupNotStored",
            # The difference is held, not its parts: a run that is reported while a store can't be listed tells nothing.
            expr=lines(
                "last_over_time((",
                f"  max({_REPORTED}) - max(unioncore_backup_last_success_timestamp_seconds)",
                f")[6h:15s]) > {duration(LIMITS.backup_lag)}",
            ),
            wait="2m",
            keep="5m",
            severity=Severity.HIGH,
            service="backups",
            summary="The backup job reports success, but its backup is not there",
            description="The backup job ended well {{ $value | humanizeDuration }} after the newest complete backup "
            "that any store holds was made. The backup went somewhere else, was deleted, or is damaged.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupShrunk",
            expr=f"{held('unioncore_backup_size_bytes')} / {seen(_MEDIAN)} < {LIMITS.backup_shrunk}",
            wait="10m",
            keep="10m",
            severity=Severity.HIGH,
            service="backups",
            summary="The newest backup is much smaller than usual",
            description="The newest backup ({{ $labels.location }}) has only {{ $value | humanizePercentage }} of the "
            f"size that was usual in the last week; less than {LIMITS.backup_shrunk:.0%} is suspicious. Rows or whole "
            "tables may be gone, from the backup or from the database.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupUnverified",
            expr=f"time() - max({held(_VERIFIED)}) > {duration(LIMITS.backup_unverified)}",
            wait="10m",
            keep="10m",
            severity=Severity.MEDIUM,
            service="backups",
            summary="No recent backup has been proven by a restore",
            description="The newest backup that a restore has proven is {{ $value | humanizeDuration }} old; one "
            f"should be proven at least every {words(LIMITS.backup_unverified)}. Nobody knows whether the newer "
            "ones could be restored.",
            dashboard="backups",
        ),
        Alert(
            name="UnionCoreBackupNeverVerified",
            # By what was known within an hour: a scrape that fails would begin the days anew.
            expr=lines(
                f"sum({seen('unioncore_backups', '1h')}) > 0",
                f"unless on () {seen(_VERIFIED, '1h')}",
            ),
            wait=duration(LIMITS.backup_unverified),
            keep="10m",
            severity=Severity.MEDIUM,
            service="backups",
            summary="No backup has ever been proven by a restore",
            description="There are {{ $value }} complete backups, but for "
            f"{words(LIMITS.backup_unverified)} none of them has been one that a restore has proven. "
            "Nobody knows whether they could be restored.",
            dashboard="backups",
        ),
    ],
    interval="30s",
)
