"""Children die with their owner, however it dies, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.embedded.processes import descendants, end, free_port, kill, spawn

OWNER = """
import json, sys, time
from scripts.embedded.postgres import EmbeddedPostgres
from scripts.embedded.directories import make_directory
from scripts.embedded.processes import descendants, spawn

server = EmbeddedPostgres()
server.start()
session = spawn([server.bin("psql"), "-d", server.url("postgres"), "-c", "select pg_sleep(600)"])
child = spawn(["sh", "-c", "trap '' TERM; sleep 600 & sleep 600"])
make_directory()
while "pg_sleep" not in server.psql("select query from pg_stat_activity where pid <> pg_backend_pid()"):
    time.sleep(0.01)
segment = (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
family = [pid for parent in (server.pid, session.pid, child.pid) for pid in (parent, *descendants(parent))]
print(json.dumps({"segment": segment, "family": family}), flush=True)
"""
ENDINGS = {
    "SIGKILL": "time.sleep(600)",
    "SIGKILL while the server is frozen": "server.freeze(); print(flush=True); time.sleep(600)",
    "SIGKILL after the server was killed": "server.kill(); print(flush=True); time.sleep(600)",
    "a normal exit without closing": "",
    "an exception": "raise SystemExit(3)",
    "os._exit": "import os; os._exit(1)",
}


def segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_outlives_its_owner(ending: str, scratch: Path, leftovers: Callable[[], list[str]]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER + ENDINGS[ending]],
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(scratch)},
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        told = json.loads(owner.stdout.readline())
        if "SIGKILL" in ending:
            if ending != "SIGKILL":
                owner.stdout.readline()
            # The whole group, as a time limit of a test runner does it.
            os.killpg(owner.pid, signal.SIGKILL)
    assert len(told["family"]) > 6
    deadline = time.monotonic() + 10
    while leftovers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert leftovers() == []
    assert told["segment"] not in segments()
    assert not [pid for pid in told["family"] if running(pid)]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_ignores_sigterm_is_killed_with_its_children() -> None:
    child = spawn(["sh", "-c", "trap '' TERM; sleep 600 & while :; do sleep 600; done"])
    while len(family := descendants(child.pid)) < 2:
        time.sleep(0.01)
    assert end(child, grace=0.1) == -signal.SIGKILL
    assert not any(running(pid) for pid in family)


def test_a_stopped_child_still_ends_by_its_own_will() -> None:
    child = spawn(["sleep", "600"])
    os.kill(child.pid, signal.SIGSTOP)
    assert end(child) == -signal.SIGTERM


def test_ending_twice_is_no_error() -> None:
    child = spawn(["true"])
    child.wait()
    assert (end(child), kill(child)) == (0, 0)


def test_free_ports_are_outside_of_the_range_of_outgoing_connections() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < low for _ in range(20))
