"""Processes that need not start Python first: to start it and import everything is most of what a short job costs.

Each is forked from a process that has imported what jobs need, and has done nothing else; it is a process of its own in
every other respect, with a session, an environment, and pipes for what it writes.
"""

import ctypes
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL
from threading import Thread

from scripts.embedded.processes import descendants

_PR_SET_PDEATHSIG = 1
_ROOT = Path(__file__).parents[2]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "tests.scripts.forking",
        "scripts.archive_audit_logs",
        "scripts.backup_database",
        "scripts.cleanup_sessions",
        "scripts.s3objects",
        "scripts.verify_backup",
    ]
)


class Forked:
    """A module that is run as `python -m` would, from its construction on.

    Attributes:
        pid: Its process id.
        out: What it has written to standard output so far.
        log: What it has written to standard error so far.

    Args:
        argv: The module and its arguments.
        env: Its whole environment.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.out, self.log = bytearray(), bytearray()
        pipes = [_context.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in pipes]
        self._process = _context.Process(target=_run, args=(tuple(argv), dict(env), *writers))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        self._readers = []
        for (reader, writer), content in zip(pipes, (self.out, self.log), strict=True):
            writer.close()
            self._readers.append(Thread(target=_read, args=(reader, content), daemon=True))
            self._readers[-1].start()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        # That it has is told a moment after the process is gone.
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; its exit status, None if it still runs."""
        self._process.join(seconds)
        return self.poll()

    def finish(self, seconds: float) -> int:
        """Wait until it has ended and nobody can write to its output any more; its exit status.

        Raises:
            AssertionError: It takes longer.
        """
        status = self.wait(seconds)
        assert status is not None, "it does not end"
        for reader in self._readers:
            reader.join(seconds)
        return status

    def slay(self) -> None:
        """Kill it and its descendants with SIGKILL."""
        for pid in [self.pid, *descendants(self.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        self.finish(20)


def _read(reader: Connection, content: bytearray) -> None:
    while piece := os.read(reader.fileno(), 1 << 16):
        content += piece
    reader.close()


def _run(argv: tuple[str, ...], env: Mapping[str, str], out: Connection, log: Connection) -> None:
    os.setsid()
    # The process that it was forked from ends with the tests.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, SIGKILL)
    os.chdir(_ROOT)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, connection in ((1, out), (2, log)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    sys.argv = list(argv)
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
