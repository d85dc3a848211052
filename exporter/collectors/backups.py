"""What backup stores really hold: the newest complete backup, its age and size, and the newest proven one."""

import asyncio
from collections.abc import Sequence
from functools import partial

from exporter.logs import get_logger
from exporter.metrics import CollectError, Family, Sample
from exporter.storage import BackupStore, Listing, Rejected, StoreError
from exporter.whose import Database

LAST_SUCCESS = Family(
    "unioncore_backup_last_success_timestamp_seconds",
    "When the newest complete backup of the database in the store was finished, as a Unix timestamp in seconds.",
    ("location",),
    example="time() - max(unioncore_backup_last_success_timestamp_seconds) > 26 * 3600",
)
AGE = Family(
    "unioncore_backup_age_seconds",
    "Time since the newest complete backup of the database in the store was finished, in seconds.",
    ("location",),
    example="unioncore_backup_age_seconds > 26 * 3600",
)
SIZE = Family(
    "unioncore_backup_size_bytes",
    "Size of the newest complete backup of the database in the store, in bytes.",
    ("location",),
    example="unioncore_backup_size_bytes < 0.5 * (unioncore_backup_size_bytes offset 1d)",
)
BACKUPS = Family(
    "unioncore_backups",
    "Complete backups of the database in the store: each a dump of the size that its manifest gives. Those of which "
    "the manifest names another database do not count. Left out while a manifest can't be read.",
    ("location",),
    example="unioncore_backups < 7",
)
LAST_VERIFIED = Family(
    "unioncore_backup_last_verified_timestamp_seconds",
    "When the newest backup of the database that a restore has proven was finished, wherever it lies, as a Unix "
    "timestamp in seconds.",
    example="time() - unioncore_backup_last_verified_timestamp_seconds > 8 * 86400",
)

_PATIENCE = 4
"""How many time limits a listing may take before its thread gives up: a slow store is known a scrape later."""


class BackupsSource:
    """One store's backups of one database.

    A scrape waits for the listing up to the time limit. A listing that takes longer goes on, alone, for
    a while: when it ends it serves the scrapes that come while it is fresh. What looks like a backup and does not
    count is logged once.

    Args:
        store: The store; it is listed in a thread, by one at a time.
        database: The name of the database whose backups count.
        time_limit: How long a scrape waits for the listing, in seconds.
        refresh: How long a listing serves, in seconds; 0: each scrape lists anew.
        beside: The sources of the other stores, together with which it publishes the newest proven backup
            of all; None: another source publishes that.
    """

    def __init__(
        self,
        store: BackupStore,
        *,
        database: str,
        time_limit: float = 5.0,
        refresh: float = 0.0,
        beside: "Sequence[BackupsSource] | None" = (),
    ) -> None:
        self.name = f"backups_{store.location}"
        proven = () if beside is None else (LAST_VERIFIED,)
        self.families: tuple[Family, ...] = (LAST_SUCCESS, AGE, SIZE, BACKUPS, *proven)
        self._store = store
        # Only a backup's own server knows more of it, and the exporter needs none to look at a store.
        self._database = Database(database)
        self._time_limit = time_limit
        self._refresh = refresh
        self._beside = beside
        self._flight: asyncio.Task[Listing] | None = None
        self._landed: tuple[float, Listing] | None = None
        self._told: tuple[Rejected, ...] = ()
        self._others: list[str] = []

    async def collect(self, now: float) -> Sequence[Sample]:
        """Publish what the store holds; of an empty one only that it holds 0.

        A manifest that can't be read leaves its backup unknown, and so whatever would be another number with it.

        Args:
            now: The scrape's time, as a Unix timestamp in seconds.

        Raises:
            CollectError: The store cannot be listed, or not in time, or the newest backup's manifest can't be read.
        """
        listings = await asyncio.gather(
            self.listing(now), *(source.listing(now) for source in self._beside or ()), return_exceptions=True
        )
        if isinstance(listings[0], BaseException):
            raise listings[0]
        listing, location = listings[0], self._store.location
        backups, _ = listing.of(self._database)
        if doubt := listing.newer_than(backups[-1] if backups else None):
            raise CollectError(f"the newest of the {location} backups is not known: {doubt.file}: {doubt.reason}")
        samples = [] if listing.unread() else [BACKUPS(len(backups), location)]
        if backups:
            newest = backups[-1].manifest
            finished = newest.finished_at.timestamp()
            samples += [
                LAST_SUCCESS(finished, location),
                AGE(max(0.0, now - finished), location),
                SIZE(newest.size, location),
            ]
        # The newest proof may lie in a store that could not be listed: then it is not known.
        known = [listing for listing in listings if isinstance(listing, Listing)]
        if self._beside is not None and len(known) == len(listings):
            samples += self._last_verified(known)
        return samples

    def _last_verified(self, listings: Sequence[Listing]) -> list[Sample]:
        proven = [backup for listing in listings for backup in listing.of(self._database)[0] if backup.verified_at]
        newest = max(proven, key=lambda backup: backup.manifest.finished_at, default=None)
        if newest is None or any(listing.newer_than(newest) for listing in listings):
            return []
        return [LAST_VERIFIED(newest.manifest.finished_at.timestamp())]

    async def listing(self, now: float) -> Listing:
        """List the store, or share the listing that is under way or still serves.

        Args:
            now: The scrape's time, as a Unix timestamp in seconds.

        Raises:
            CollectError: It cannot be listed, or not in time.
        """
        if self._landed is not None and 0 <= now - self._landed[0] < self._refresh:
            return self._landed[1]
        if self._flight is None:
            self._flight = asyncio.create_task(
                asyncio.to_thread(self._store.list_backups, now, patience=_PATIENCE * self._time_limit)
            )
            self._flight.add_done_callback(partial(self._land, now))
        try:
            async with asyncio.timeout(self._time_limit):
                return await asyncio.shield(self._flight)
        except TimeoutError as error:
            raise CollectError(
                f"the {self._store.location} backups could not be listed within {self._time_limit:g} s"
            ) from error
        except StoreError as error:
            raise CollectError(str(error)) from error

    def _land(self, now: float, flight: "asyncio.Task[Listing]") -> None:
        self._flight = None
        if flight.cancelled() or flight.exception() is not None:
            self._landed = None
            return
        listing = flight.result()
        self._landed = (now, listing)
        self._tell(listing)

    def _tell(self, listing: Listing) -> None:
        log = get_logger("exporter").bind(location=self._store.location)
        for rejected in listing.rejected:
            if rejected not in self._told:
                what = "the backups are not counted" if rejected.unread else "this is no backup"
                log.warning(what, file=rejected.file, reason=rejected.reason)
        _, others = listing.of(self._database)
        if others and others != self._others:
            log.warning("backups of other databases are not counted", database=str(self._database), others=others)
        self._told, self._others = listing.rejected, others
