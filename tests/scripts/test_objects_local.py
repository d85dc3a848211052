"""Objects in a directory: never a half one, and nothing of others' in the way."""

import io
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.job.exits import Exit
from scripts.localobjects import LocalObjects
from scripts.objects import (
    ObjectDamagedError,
    ObjectError,
)
from tests.scripts.putting import SHA256, SOON, put


def test_a_directory_keeps_nothing_of_a_write_that_failed(tmp_path: Path) -> None:
    store = LocalObjects(tmp_path)
    with pytest.raises(ObjectDamagedError, match="its source changed"):
        store.put("a/b", io.BytesIO(b"x"), SHA256)
    with pytest.raises(ZeroDivisionError), store.create("a/c") as file:
        file.write(b"x" * (1 // 0))
    assert list((tmp_path / "a").iterdir()) == []


def test_a_directory_forgets_what_a_killed_writer_left_and_shows_it_to_nobody(tmp_path: Path) -> None:
    store = LocalObjects(tmp_path)
    put(store, "a/b", b"1")
    (tmp_path / "a/.b.0123abcd.partial").write_bytes(b"half")
    assert [found.key for found in store.list()] == ["a/b"]
    assert store.clean(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.clean(SOON) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o600


@contextmanager
def as_anybody() -> Iterator[None]:
    """Be a user who may not read everything."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_directory_of_others_in_it_is_passed_over_or_named(scratch: Path) -> None:
    for name in ("lost+found", "theirs", "a"):
        (scratch / name).mkdir()
    store = LocalObjects(scratch)
    put(store, "a/b", b"1")
    (scratch / "a").chmod(0o755)
    for name in ("lost+found", "theirs"):
        (scratch / name).chmod(0)
    with as_anybody():
        assert [found.key for found in store.list("a")] == ["a/b"]
        assert [found.key for found in store.list("a/b")] == ["a/b"]
        assert store.clean(datetime.now(UTC), "a") == 0
        with pytest.raises(ObjectError, match=r"/theirs: Permission denied: let the job's user read it"):
            list(store.list())
    (scratch / "theirs").rmdir()
    with as_anybody():
        assert [found.key for found in store.list()] == ["a/b"]


def test_what_a_directory_holds_has_its_permissions_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o277)
    try:
        put(LocalObjects(tmp_path, mode=0o644), "k")
    finally:
        os.umask(umask)
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o644


def test_a_directory_that_is_full_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ObjectError, match=r"/k: File too large: make room there") as caught:
            put(LocalObjects(tmp_path), "k")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit is Exit.NO_SPACE
    assert list(tmp_path.iterdir()) == []
