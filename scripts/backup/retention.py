"""Which backups may go."""

from collections.abc import Sequence

from exporter.storage import Backup

_DAY = 86400.0


def expired(backups: Sequence[Backup], now: float, *, days: float, keep: int) -> list[Backup]:
    """Choose the backups of one store that may be deleted.

    Args:
        backups: All complete ones, in any order.
        now: The time, as a Unix timestamp in seconds.
        days: Only what is older may go.
        keep: Only what has at least so many newer complete ones may go, at least 1; never the newest that a restore
            has proven.

    Returns:
        Those that may go, the oldest first; never all.
    """
    ordered = sorted(backups, key=lambda backup: backup.manifest.finished_at)
    proven = [backup for backup in ordered if backup.verified_at is not None]
    return [
        backup
        for backup in ordered[: -max(1, keep)]
        if now - backup.manifest.finished_at.timestamp() > days * _DAY and backup not in proven[-1:]
    ]
