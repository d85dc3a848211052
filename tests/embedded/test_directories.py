"""Temporary directories: they vanish with their owner, or with the next one that is made."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.processes import descendants, end

MAKER = """
import sys, time
from scripts.embedded.directories import make_directory
path = make_directory("unioncore-work-")
(path / "members.csv").write_text("what nobody else may read")
print(path, flush=True)
time.sleep(600)
"""


def test_a_removed_directory_may_be_removed_again() -> None:
    path = make_directory()
    assert path.is_dir()
    assert path.stat().st_mode & 0o777 == 0o700
    remove_directory(path)
    remove_directory(path)
    assert not path.exists()


def test_what_was_killed_with_its_reaper_is_removed_by_the_next_one_and_what_lives_is_not(scratch: Path) -> None:
    env = os.environ | {"TMPDIR": str(scratch)}
    older = scratch / "unioncore-work-0123abcd"
    older.mkdir()
    makers = [subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, env=env) for _ in range(2)]
    places = [Path(maker.stdout.readline().decode().strip()) for maker in makers if maker.stdout]
    killed, living = makers
    # All at once, as a container ends; the reaper first, which would see its owner's end.
    for pid in [*descendants(killed.pid), killed.pid]:
        os.kill(pid, signal.SIGKILL)
    killed.wait()
    assert [path.exists() for path in places] == [True, True]
    next_one = subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, env=env)
    assert next_one.stdout
    path = Path(next_one.stdout.readline().decode().strip())
    try:
        # One that an older version made says nothing of its owner.
        assert set(scratch.iterdir()) == {path, places[1], older}
    finally:
        for process in (living, next_one):
            end(process)
            if process.stdout:
                process.stdout.close()
        if killed.stdout:
            killed.stdout.close()
