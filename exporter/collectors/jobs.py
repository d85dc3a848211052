"""What the operations jobs last did, as they pushed it."""

from collections.abc import Sequence
from dataclasses import replace

from exporter.jobs import JobStore, Series, StateError, lies_ahead
from exporter.logs import get_logger
from exporter.metrics import CollectError, Family, Sample

LAST_SUCCESS = Family(
    "unioncore_job_last_success_timestamp_seconds",
    "When the job last ended well, as a Unix timestamp in seconds, left out if that has not come yet; a failure since "
    "then leaves it as it is.",
    ("job_name",),
    example='time() - unioncore_job_last_success_timestamp_seconds{job_name="backup"} > 26 * 3600',
)
LAST_RUN = Family(
    "unioncore_job_last_run_timestamp_seconds",
    "When the job last ended, well or not, as a Unix timestamp in seconds; left out if that has not come yet.",
    ("job_name",),
    example="time() - unioncore_job_last_run_timestamp_seconds",
)
LAST_RUN_SUCCEEDED = Family(
    "unioncore_job_last_run_succeeded",
    "1 if the job's last run ended well, 0 if it failed.",
    ("job_name",),
    example="unioncore_job_last_run_succeeded == 0",
)
LAST_RUN_DURATION = Family(
    "unioncore_job_last_run_duration_seconds",
    "How long the job's last run took, in seconds.",
    ("job_name",),
    example='unioncore_job_last_run_duration_seconds{job_name="backup"} > 3600',
)
LAST_RUN_ITEMS = Family(
    "unioncore_job_last_run_items",
    "How many items the job's last run dealt with: tables dumped, rows archived, tokens removed.",
    ("job_name",),
    example='unioncore_job_last_run_items{job_name="cleanup"}',
)


class JobsSource:
    """The pushed series, each with `job_name` and whatever further labels it was pushed with.

    A timestamp in the future, pushed while the clock was ahead, is left out, and logged once.

    Args:
        store: Where the pushes are held.
    """

    name = "jobs"
    families: tuple[Family, ...] = (
        LAST_SUCCESS,
        LAST_RUN,
        LAST_RUN_SUCCEEDED,
        LAST_RUN_DURATION,
        LAST_RUN_ITEMS,
    )

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._families = {family.name: family for family in self.families}
        self._told: set[Series] = set()

    async def collect(self, now: float) -> Sequence[Sample]:
        """Publish what is held and can be true.

        Args:
            now: The scrape's time, as a Unix timestamp in seconds.

        Raises:
            CollectError: What was pushed is not known, because the state file is unreadable or was damaged.
        """
        try:
            held = await self._store.series()
        except StateError as error:
            raise CollectError(str(error)) from error
        ahead = {series for series, value in held.items() if lies_ahead(series, value, now)}
        for name, labels in sorted(ahead - self._told):
            get_logger("exporter").warning(
                "a job's time lies in the future, and is left out until the job runs again: the clock was ahead",
                series=name,
                labels=dict(labels),
                value=held[name, labels],
            )
        self._told = ahead
        return [
            replace(self._families[name], labels=tuple(label for label, _ in labels))(
                value, *(text for _, text in labels)
            )
            for (name, labels), value in sorted(held.items())
            # A later version, since undone, may have kept more families.
            if name in self._families and (name, labels) not in ahead
        ]
