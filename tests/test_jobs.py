"""What the store of pushed results promises of its file."""

import asyncio
import errno
import fcntl
import os
from pathlib import Path

import pytest

from exporter.jobs import MAX_SERIES, JobStore, PushAheadError, PushRefusedError, StateError, labels_of

GROUP = labels_of({"job": "backup"})
LABELS = labels_of({"job_name": "backup"})
ITEMS = ("unioncore_job_last_run_items", LABELS)
RUN = ("unioncore_job_last_run_timestamp_seconds", LABELS)
SUCCESS = ("unioncore_job_last_success_timestamp_seconds", LABELS)
DAY = 86400.0


async def push(store: JobStore, value: float = 1.0) -> None:
    await store.push(GROUP, {ITEMS: value}, replace=False, now=1.7e9)


async def push_to(directory: Path, value: float = 1.0) -> None:
    """As an exporter does that has ended since."""
    store = JobStore(directory)
    await push(store, value)
    store.close()


def set_aside(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.glob("*.damaged-*")]


async def test_what_was_pushed_is_there_after_a_restart(tmp_path: Path) -> None:
    await push_to(tmp_path / "state", 0.1)
    await JobStore(tmp_path / "state").push(
        labels_of({"job": "verify", "a": "é"}), {(ITEMS[0], labels_of({"a": "é"})): 2.0}, replace=True, now=1.7e9
    )
    assert await JobStore(tmp_path / "state").series() == {ITEMS: 0.1, (ITEMS[0], (("a", "é"),)): 2.0}


async def test_nothing_was_pushed_where_there_is_no_state_file_yet(tmp_path: Path) -> None:
    assert await JobStore(tmp_path / "state").series() == {}
    assert not (tmp_path / "state").exists()


async def test_a_push_is_synced_and_renamed_and_the_rename_synced_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(tmp_path)}")
        fsync(descriptor)

    def recorded_replace(path: Path, target: Path) -> Path:
        events.append(f"rename {path.name} {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    await push(JobStore(tmp_path))
    assert events == ["sync jobs.tmp", "rename jobs.tmp jobs.json", "sync ."]


async def test_a_push_that_cannot_be_written_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    await push(store)
    (tmp_path / "jobs.tmp").mkdir()
    with pytest.raises(StateError, match="cannot be read or written: Is a directory"):
        await push(store, 2.0)
    assert await store.series() == await JobStore(tmp_path).series() == {ITEMS: 1.0}


async def test_pushes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    names = [f"unioncore_job_{n}" for n in range(30)]
    await asyncio.gather(*(store.push(GROUP, {(name, GROUP): 1.0}, replace=False, now=1.7e9) for name in names))
    assert {name for name, _ in await JobStore(tmp_path).series()} == set(names)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b'{"format": 1, "groups": [{"labels"',
        b"\xff",
        b"[]",
        b'{"format": 2, "groups": []}',
        b'{"format": 1, "groups": [{"labels": {"job": 5}, "series": []}]}',
        b'{"format": 1, "groups": [{"labels": {}, "series": [{"name": "x", "labels": {}, "value": NaN}]}]}',
    ],
)
async def test_a_damaged_state_file_is_set_aside_and_told_of_until_the_next_push(tmp_path: Path, state: bytes) -> None:
    (tmp_path / "jobs.json").write_bytes(state)
    for _ in range(2):  # the second store starts without a state file, as after a restart
        store = JobStore(tmp_path)
        with pytest.raises(StateError, match=r"set aside as .*/jobs\.json\.damaged-.*until they push again"):
            await store.series()
        # Neither of these brings anything that could be published.
        await store.delete(GROUP)
        await store.push(GROUP, {}, replace=False, now=1.7e9)
        with pytest.raises(StateError):
            await store.series()
        store.close()
    await push(store)
    assert await store.series() == await JobStore(tmp_path).series() == {ITEMS: 1.0}
    assert set_aside(tmp_path) == [state]


async def test_a_push_that_finds_a_damaged_state_file_sets_it_aside_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_bytes(b"{")
    await push_to(tmp_path)
    assert await JobStore(tmp_path).series() == {ITEMS: 1.0}
    assert set_aside(tmp_path) == [b"{"]


async def test_a_state_file_that_cannot_be_read_stays_and_is_used_once_it_can_be(tmp_path: Path) -> None:
    await push_to(tmp_path)
    good = (tmp_path / "jobs.json").rename(tmp_path / "good")
    (tmp_path / "jobs.json").mkdir()
    store = JobStore(tmp_path)
    for _ in range(2):
        with pytest.raises(StateError, match=r"jobs\.json cannot be read"):
            await store.series()
        with pytest.raises(StateError, match=r"jobs\.json cannot be read"):
            await push(store, 2.0)
    (tmp_path / "jobs.json").rmdir()
    good.rename(tmp_path / "jobs.json")
    assert await store.series() == {ITEMS: 1.0}


async def test_the_store_holds_a_bounded_number_of_series(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    await store.push(labels_of({"job": "verify"}), {ITEMS: 1.0}, replace=True, now=1.7e9)
    too_many = {(f"unioncore_job_{n}", GROUP): 1.0 for n in range(MAX_SERIES)}
    with pytest.raises(PushRefusedError, match=f"more than {MAX_SERIES} series"):
        await store.push(GROUP, too_many, replace=True, now=1.7e9)
    too_many.popitem()
    await store.push(GROUP, too_many, replace=True, now=1.7e9)
    assert len(await store.series()) == MAX_SERIES


async def test_what_was_pushed_while_the_clock_was_ahead_refuses_no_later_push_and_is_gone_with_it(
    tmp_path: Path,
) -> None:
    store = JobStore(tmp_path)
    now, ahead = 1.7e9, 1.7e9 + 30 * DAY
    await store.push(GROUP, {RUN: ahead, SUCCESS: ahead, ITEMS: 7.0}, replace=False, now=ahead)
    with pytest.raises(PushAheadError):
        await store.push(GROUP, {RUN: ahead}, replace=False, now=now)
    await store.push(GROUP, {RUN: now}, replace=False, now=now)  # a failure: it says nothing of the last success
    assert await store.series() == await JobStore(tmp_path).series() == {RUN: now, ITEMS: 7.0}


async def test_a_last_success_from_before_the_clock_was_ahead_is_still_the_last_success(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    now, ahead = 1.7e9, 1.7e9 + 30 * DAY
    await store.push(GROUP, {RUN: now - DAY, SUCCESS: now - DAY}, replace=False, now=now - DAY)
    await store.push(GROUP, {RUN: ahead}, replace=False, now=ahead)
    await store.push(GROUP, {RUN: now}, replace=False, now=now)
    assert await store.series() == {RUN: now, SUCCESS: now - DAY}


async def test_of_two_exporters_on_a_directory_one_keeps_pushes_and_both_publish_them(tmp_path: Path) -> None:
    before, after = JobStore(tmp_path), JobStore(tmp_path)
    assert await before.series() == await after.series() == {}
    await push(before)
    for change in (push(after, 2.0), after.delete(GROUP)):
        with pytest.raises(StateError, match=rf"{tmp_path}: another exporter keeps .* own UNIONCORE_STATE_DIR"):
            await change
    assert await after.series() == {ITEMS: 1.0}
    await push(before, 3.0)
    assert await after.series() == {ITEMS: 3.0}
    before.close()
    await after.push(GROUP, {RUN: 1.0}, replace=False, now=1.7e9)
    assert await after.series() == await JobStore(tmp_path).series() == {ITEMS: 3.0, RUN: 1.0}
    with pytest.raises(StateError):
        await push(before)


async def test_a_damaged_state_file_is_left_to_the_exporter_that_keeps_pushes(tmp_path: Path) -> None:
    keeper = JobStore(tmp_path)
    await push(keeper)
    (tmp_path / "jobs.json").write_bytes(b"{")
    with pytest.raises(StateError, match="another exporter"):
        await JobStore(tmp_path).series()
    assert not set_aside(tmp_path)
    await push(keeper, 2.0)
    assert await JobStore(tmp_path).series() == {ITEMS: 2.0}


async def test_where_nothing_can_be_locked_no_push_is_kept_and_what_is_there_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_to(tmp_path)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    store = JobStore(tmp_path)
    with pytest.raises(StateError, match=r"can't be locked \(No locks available\).*UNIONCORE_STATE_DIR"):
        await push(store, 2.0)
    assert await store.series() == {ITEMS: 1.0}
