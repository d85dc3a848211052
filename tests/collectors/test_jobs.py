"""What the jobs collector publishes."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import CLOCK_SKEW
from exporter.collectors.jobs import JobsSource
from exporter.jobs import JobStore, labels_of
from exporter.metrics import CollectError, render

ITEMS = "unioncore_job_last_run_items"
BACKUP = labels_of({"job_name": "backup"})


async def test_a_job_that_never_pushed_has_no_series(tmp_path: Path) -> None:
    assert await JobsSource(JobStore(tmp_path)).collect(1.7e9) == []


async def test_series_are_published_with_the_labels_that_they_were_pushed_with(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    labels = labels_of({"job_name": "backup", "instance": "db1"})
    await store.push(BACKUP, {(ITEMS, BACKUP): 46.0, (ITEMS, labels): 7.0}, replace=True, now=1.7e9)
    body, _ = render(await JobsSource(store).collect(1.7e9))
    assert body.decode().splitlines()[1:] == [
        f"# TYPE {ITEMS} gauge",
        f'{ITEMS}{{instance="db1",job_name="backup"}} 7.0',
        f'{ITEMS}{{job_name="backup"}} 46.0',
    ]


async def test_a_family_that_only_a_later_version_knows_is_kept_but_not_published(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    await store.push(BACKUP, {("unioncore_job_new", BACKUP): 1.0}, replace=True, now=1.7e9)
    assert await JobsSource(store).collect(1.7e9) == []
    assert await store.series()


async def test_a_damaged_state_file_fails_the_collector_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text("{")
    with pytest.raises(CollectError, match=r"damaged and is set aside as .*jobs\.json\.damaged-"):
        await JobsSource(JobStore(tmp_path)).collect(1.7e9)


async def test_a_time_that_has_not_come_is_left_out_and_logged_once_and_the_rest_of_the_run_is_published(
    tmp_path: Path,
) -> None:
    store, run = JobStore(tmp_path), "unioncore_job_last_run_timestamp_seconds"
    source, now, ahead = JobsSource(store), 1.7e9, 1.7e9 + 86400
    await store.push(BACKUP, {(run, BACKUP): ahead, (ITEMS, BACKUP): 7.0}, replace=True, now=ahead)
    with capture_logs() as logs:
        for _ in range(2):
            assert {sample.family.name: sample.value for sample in await source.collect(now)} == {ITEMS: 7.0}
    assert [(line["series"], line["value"], line["labels"]) for line in logs] == [(run, ahead, {"job_name": "backup"})]
    assert len(await source.collect(ahead - CLOCK_SKEW)) == 2
