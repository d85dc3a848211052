"""What the operations jobs pushed, kept in memory and on disk.

The disk comes first: a push is acknowledged only after its file has been fsynced, renamed into place and the
directory fsynced, so a crash at any moment leaves either the state before it or the state with it, whole.

A state file that is not what this module wrote is set aside under another name, never overwritten or deleted.
From then on the store holds nothing and says so, after a restart too, until the next push that it can keep.
A state file that cannot be read at all (permissions, a failing disk) may be good: it is left where it is,
and pushes are refused until it can be read.
"""

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat, TypeAdapter

from exporter.clock import CLOCK_SKEW, in_future
from exporter.files import open_lock, write_durably

KNOWN_JOBS = (
    "archive",
    "archive-delete",
    "archive-verify",
    "backup",
    "cleanup",
    "restore",
    "restore-archive",
    "verify",
)
MAX_SERIES = 500
"""How many series the store holds at most: every push rewrites them all."""

Labels = tuple[tuple[str, str], ...]
"""Label names and values, sorted by name."""
Series = tuple[str, Labels]
"""A family's name and the labels that the series is published with."""
Groups = Mapping[Labels, Mapping[Series, float]]
"""What is held: the series of each grouping key. Never changed in place, so that readers need no lock."""


class PushRefusedError(Exception):
    """A push contradicts what is held or cannot be true; the message says how, and nothing was changed."""


class PushAheadError(PushRefusedError):
    """A push has a timestamp that lies in the future: by our clock it can't be true yet, and may be later."""


class StateError(Exception):
    """What was pushed is not known or cannot be kept; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class _HeldSeries:
    name: str
    labels: dict[str, str]
    value: FiniteFloat


@dataclass(frozen=True, slots=True)
class _HeldGroup:
    labels: dict[str, str]
    series: tuple[_HeldSeries, ...]


@dataclass(frozen=True, slots=True)
class _State:
    format: Literal[1]
    groups: tuple[_HeldGroup, ...]


_STATE = TypeAdapter(_State)


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """Make labels comparable: sorted by name.

    Args:
        pairs: Label names and their values.
    """
    return tuple(sorted(pairs.items()))


class JobStore:
    """The pushed series of one exporter.

    Who keeps pushes holds a lock on the directory, from its first one until it ends: another exporter there, its
    successor for example, keeps none, for it would write over what was acknowledged. What that publishes it reads anew
    each time.

    Args:
        directory: Where `jobs.json` is kept; created when the first push arrives.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "jobs.json"
        self._lock = threading.Lock()
        self._held: int | None = None  # The descriptor of the lock file, while this is the only writer.
        self._groups: Groups | None = None  # None until this is the only writer, and has read the file.
        self._set_aside: Path | None = None

    async def push(self, group: Labels, series: Mapping[Series, float], *, replace: bool, now: float) -> None:
        """Take the series of a group, on disk when this returns.

        Args:
            group: The grouping key.
            series: The pushed series; values in their family's unit.
            replace: True if they are all that the group holds afterwards, False if they replace only what
                it holds of the same families.
            now: The time of the push, as a Unix timestamp in seconds.

        Raises:
            PushAheadError: A timestamp is in the future.
            PushRefusedError: A timestamp is older than the one held, a series belongs to another group already,
                or the store would hold more than `MAX_SERIES`.
            StateError: The state file cannot be read or written, or another exporter keeps it; nothing was changed.
        """
        await asyncio.to_thread(
            self._change, lambda groups: _with_push(groups, group, series, replace=replace, now=now)
        )

    async def delete(self, group: Labels) -> None:
        """Forget a group, on disk when this returns; one that is not held is no error.

        Args:
            group: The grouping key.

        Raises:
            StateError: As of `push`.
        """
        await asyncio.to_thread(
            self._change, lambda groups: {key: held for key, held in groups.items() if key != group}
        )

    async def series(self) -> Mapping[Series, float]:
        """Tell what is held.

        Returns:
            Every series with its last pushed value, in its family's unit.

        Raises:
            StateError: What was pushed is not known: the state file cannot be read, or was damaged and no
                push has arrived since.
        """
        groups = self._groups
        if groups is None:
            groups = await asyncio.to_thread(self._look)
        if self._set_aside is not None:
            raise StateError(
                f"the state file was damaged and is set aside as {self._set_aside}: "
                "what the jobs pushed before is not known until they push again"
            )
        return {key: value for held in groups.values() for key, value in held.items()}

    def close(self) -> None:
        """Let another exporter keep pushes in the directory."""
        with self._lock:
            self._groups = None
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def _change(self, change: Callable[[Groups], Groups]) -> None:
        with self._alone():
            groups = self._own()
            changed = change(groups)
            if changed == groups == {}:
                return  # Nothing to keep: it must not hide that a damaged file was set aside.
            if changed is not groups:
                self._write(changed)
            self._groups = changed

    def _look(self) -> Groups:
        with self._alone():
            if self._groups is None:
                # Only who holds the lock may set a damaged file aside: the other's next one takes its name.
                with suppress(ValueError):
                    return self._load()
            return self._own()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A lock of threads, not of tasks: a cancelled request leaves its thread running, and the next
        # change must still wait for it.
        with self._lock:
            try:
                yield
            except OSError as error:
                raise StateError(f"the state file {self._path} cannot be read or written: {error.strerror}") from error

    def _own(self) -> Groups:
        """Be the only writer, which alone can trust what it holds."""
        self._acquire()
        if self._groups is None:
            try:
                self._groups = self._load()
            except ValueError:
                aside = self._path.with_name(f"{self._path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
                self._path.rename(aside)
                self._groups, self._set_aside = {}, aside
        return self._groups

    def _acquire(self) -> None:
        if self._held is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_lock(self._path.with_suffix(".lock"))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                why = "another exporter keeps what is pushed there: end it, or give each its own UNIONCORE_STATE_DIR"
            else:
                why = (
                    f"the directory can't be locked ({error.strerror}), as on a file system of a network that has no "
                    "locks: set UNIONCORE_STATE_DIR to a directory of this machine"
                )
            raise StateError(f"{self._path.parent}: {why}") from error
        self._held = descriptor

    def _load(self) -> Groups:
        try:
            state = _STATE.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            self._set_aside = max(self._path.parent.glob(f"{self._path.name}.damaged-*"), default=None)
            return {}
        self._set_aside = None
        return {
            labels_of(group.labels): {(one.name, labels_of(one.labels)): one.value for one in group.series}
            for group in state.groups
        }

    def _write(self, groups: Groups) -> None:
        state = _State(
            1,
            tuple(
                _HeldGroup(
                    dict(group),
                    tuple(_HeldSeries(name, dict(labels), value) for (name, labels), value in held.items()),
                )
                for group, held in groups.items()
            ),
        )
        write_durably(self._path, _STATE.dump_json(state))
        self._set_aside = None


def lies_ahead(series: Series, value: float, now: float) -> bool:
    """Say whether a series is a timestamp that can't have come yet.

    One that is held was pushed while the clock was ahead, and is no truth: it is not published, refuses no push, and
    is gone with the next push of its group.

    Args:
        series: The series.
        value: Its value, in its family's unit.
        now: The time, as a Unix timestamp in seconds.
    """
    return _is_timestamp(series) and in_future(value, now)


def _is_timestamp(series: Series) -> bool:
    return series[0].endswith("_timestamp_seconds")


def _with_push(groups: Groups, group: Labels, series: Mapping[Series, float], *, replace: bool, now: float) -> Groups:
    own = {key: value for key, value in groups.get(group, {}).items() if not lies_ahead(key, value, now)}
    others = {key: held for key, held in groups.items() if key != group}
    for key, value in series.items():
        if lies_ahead(key, value, now):
            raise PushAheadError(
                f"{key[0]} {value!r} lies {value - now:.0f} s in the future, where {CLOCK_SKEW:.0f} s are allowed: "
                "look at both machines' clocks"
            )
        if _is_timestamp(key) and value < own.get(key, value):
            raise PushRefusedError(f"{key[0]} {value!r} is older than {own[key]!r}, which is held already")
        if any(key in held for held in others.values()):
            raise PushRefusedError(f"{key[0]} with the same labels belongs to another group already")
    names = {name for name, _ in series}
    kept = {} if replace else {key: value for key, value in own.items() if key[0] not in names}
    mine = kept | dict(series)
    if len(mine) + sum(map(len, others.values())) > MAX_SERIES:
        raise PushRefusedError(f"more than {MAX_SERIES} series would be held; delete groups that are not needed")
    return others | ({group: mine} if mine else {})
