"""Child processes that never outlive the Python process that started them.

A server started by a test or by the demo has to vanish with its owner, even when the owner is killed
with SIGKILL, and so have its directories. `PR_SET_PDEATHSIG` cannot promise that: it fires when the *thread*
that started the child ends, a change of user clears it, it reaches only one process, and nobody is left
to delete the directory. So the first child brings up one reaper for the whole process: this very file, run
as a script, which sleeps on a pipe from the owner. End of file on that pipe is the owner's death, however it
died.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MARK = "UNIONCORE_OWNER"
_IPC_RMID = 0
_given: set[int] = set()
"""The ports that were found: between the look at one and its use, another server may be given its own."""


class _Reaper:
    """The owner's end of the pipe to its reaper process, which it starts when it is first needed."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def tell(self, line: str = "") -> None:
        """Send one line to the reaper: `+DIR` to delete a directory at the end, `-DIR` to forget it."""
        with self._lock:
            if self._process is None:
                # An empty environment: without the mark of an outer owner this reaper outlives that owner's
                # reaper. A session of its own: a signal to the terminal's process group misses it.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(__file__).resolve()), self.mark],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                    bufsize=0,
                )
                atexit.register(self._close)
            if line:
                assert self._process.stdin is not None
                self._process.stdin.write(f"{line}\n".encode())

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


REAPER = _Reaper()
"""This process's."""


class Closing(ABC):
    """What is started and closed: `with` does both."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it can be used."""

    @abstractmethod
    def close(self) -> None:
        """Stop it, and remove all that it has made, even if it never started."""


def spawn(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a child that is killed, with all its descendants, when this process ends in any way.

    Args:
        argv: The program and its arguments.
        env: The child's whole environment; this process's own when left out.
        **options: Whatever else `subprocess.Popen` takes; stdin is /dev/null unless given.

    Returns:
        The running child, in a session of its own, so that Ctrl-C reaches only its owner.

    Raises:
        OSError: The program cannot be executed.
    """
    REAPER.tell()
    environment = dict(os.environ if env is None else env) | {_MARK: REAPER.mark}
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([str(word) for word in argv], env=environment, start_new_session=True, **options)


def free_port() -> int:
    """Find a TCP port on 127.0.0.1 that nothing listens on.

    Returns:
        A port below the range that the kernel gives to outgoing connections, so that it is still free a
        moment later and after a restart of the server that uses it. None is returned twice.

    Raises:
        OSError: No free port was found in 200 tries.
    """
    for _ in range(200):
        port = random.SystemRandom().randrange(20_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise OSError("no free TCP port between 20000 and 32000 on 127.0.0.1")


def end(process: subprocess.Popen[bytes], *, signum: int = signal.SIGTERM, grace: float = 10) -> int:
    """End a child and its descendants: a signal, and SIGKILL for what is left after the grace time.

    Args:
        process: The child, made by `spawn`; one that has ended already is no error.
        signum: The signal that asks it to stop.
        grace: Seconds it gets to do so.

    Returns:
        The exit status, negative for a signal.
    """
    if process.poll() is None:
        _signal(process.pid, signum)
        # A process stopped with SIGSTOP would never see the signal.
        for pid in [process.pid, *descendants(process.pid)]:
            _signal(pid, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(grace)
    return kill(process)


def kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a child and its descendants with SIGKILL and wait until all are gone.

    Args:
        process: The child, made by `spawn`; one that has ended already is no error.

    Returns:
        The exit status, negative for a signal.
    """
    family = [] if process.poll() is not None else [process.pid, *descendants(process.pid)]
    for pid in family:
        _signal(pid, signal.SIGKILL)
    status = process.wait()
    while any(_parent(pid) is not None for pid in family):
        time.sleep(0.002)
    return status


def descendants(pid: int) -> list[int]:
    """List the living descendants of a process, parents before children.

    Args:
        pid: The process whose family is wanted; it is not part of the answer.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for child in _pids():
        if (parent := _parent(child)) is not None:
            children[parent].append(child)
    found = list(children[pid])
    for member in found:
        found += children[member]
    return found


def remove_shared_memory(pid_file: Path) -> None:
    """Remove the System V segment of a PostgreSQL server that was killed and cannot remove it itself.

    Args:
        pid_file: `postmaster.pid` in the data directory; a server that stopped by itself leaves none.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int(pid_file.read_text().splitlines()[6].split()[1])
        ctypes.CDLL(None, use_errno=True).shmctl(segment, _IPC_RMID, None)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 -- a tenth of the time


def _parent(pid: int) -> int | None:
    """The parent of a living process; None if there is no such process or only its exit status is left."""
    try:
        # The command, in parentheses, may hold anything; state and parent come after the last one.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(parent)


def _signal(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def _marked(mark: bytes) -> list[int]:
    """The living processes that carry the mark in their environment, and their descendants.

    PostgreSQL's children overwrite theirs for the process title: they are found through their parent.
    """
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return [*found, *(child for pid in found for child in descendants(pid))]


def _reap(mark: str) -> None:
    """The reaper: remember directories until the owner is dead, then kill and delete all it left."""
    directories: set[str] = set()
    for line in sys.stdin:
        (directories.add if line[0] == "+" else directories.discard)(line[1:].rstrip("\n"))
    word = f"{_MARK}={mark}".encode()
    for _ in range(100):
        left = _marked(word)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        if not left:
            break
        time.sleep(0.02)
    for directory in directories:
        remove_shared_memory(Path(directory, "data", "postmaster.pid"))
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _reap(sys.argv[1])
