"""The stack's programs come from PATH, then from the cache, and are fetched last, once."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.dev import binaries
from scripts.dev.binaries import BinaryMissingError, find
from scripts.embedded.directories import cache

SCRIPT = Path(binaries.__file__).with_name("stack-binaries")
NAMES = ["prometheus", "promtool", "alertmanager", "amtool", "blackbox_exporter", "postgres_exporter", "pushgateway"]
PLUGINS = ["docker-compose", "docker-buildx"]


def fill(directory: Path) -> None:
    for name in [*NAMES, *PLUGINS, "alertmanager.d/alertmanager"]:
        program(directory / name)


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    cache.cache_clear()
    yield tmp_path
    cache.cache_clear()


def fetch(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(binaries, "_FETCH", program(home / "fetch", f"#!/bin/sh\n{text}\n"))


def test_path_comes_first_then_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(home, monkeypatch, "exit 1")
    cached = program(home / ".cache/unioncore-observability/bin/some-tool")
    assert find("some-tool") == cached
    installed = program(home / "bin/some-tool")
    monkeypatch.setenv("PATH", f"{home}/bin:/usr/bin:/bin")
    assert find("some-tool") == installed


def test_what_is_nowhere_is_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(home, monkeypatch, 'mkdir -p "$1"; cp "$0" "$1/some-tool"; touch "$TMPDIR/rubbish"; echo "$1"')
    assert find("some-tool") == home / ".cache/unioncore-observability/bin/some-tool"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo no mirror >&2; exit 1", "no mirror"),
        ("exit 3", "no reason given"),
        ("true", "it was not among what was fetched"),
    ],
)
def test_a_failed_fetch_says_what_to_install(
    text: str, reason: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(home, monkeypatch, text)
    with pytest.raises(BinaryMissingError, match=rf"some-tool is not on PATH .*\({reason}\)\. Install some-tool"):
        find("some-tool")


def test_a_complete_directory_is_taken_as_it_is(home: Path) -> None:
    fill(home / "bin")
    done = subprocess.run(
        [SCRIPT, home / "bin"], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert (done.stdout, done.stderr) == (f"{home}/bin\n", "")


def test_of_two_at_once_one_waits_for_the_other(home: Path) -> None:
    directory = home / "bin"
    directory.mkdir()
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([SCRIPT, directory], stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(0.5)
            fill(directory)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.communicate(timeout=10)[0] == f"{directory}\n"
            assert second.returncode == 0


def test_the_programs_are_those_that_are_needed() -> None:
    assert [find(name).name for name in NAMES] == NAMES
