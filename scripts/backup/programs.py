"""PostgreSQL's own programs: which of those installed to use, and how to run one.

A dump is read by the version that wrote it, and by newer ones. pg_dump and pg_restore from 17 on also say things to
the server that only 17 understands. So the version of the server itself is taken where it is installed, else the
next newer one; an older one cannot be used at all.
"""

# ruff: noqa: S603 - what is run is PostgreSQL's, with arguments that are made here

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM

from scripts.embedded.programs import WHEELS, PostgresError, find_programs
from scripts.job.exits import Exit, JobError

GRACE_SECONDS = 5.0
"""How long a program may take to end when it is told to."""

_CAUSES = (
    (
        Exit.NO_SPACE,
        re.compile(
            r": ERROR:  could not .*: (No space left on device|Disk quota exceeded|File too large)$|"
            r": ERROR:  temporary file size exceeds ",
            re.MULTILINE,
        ),
    ),
    (
        Exit.UNREACHABLE,
        re.compile(
            r"\bconnection to server .* failed: |\bserver closed the connection unexpectedly$|: FATAL:  |"
            r"\bSSL connection has been closed unexpectedly$",
            re.MULTILINE,
        ),
    ),
    (
        Exit.FAILED,
        re.compile(
            # An operating system's reasons, and none of those that a decompressor gives.
            r"(: ERROR:  |^\w+: error: )could not .*: (Permission denied|No such file or directory|Input/output error|"
            r"Cannot allocate memory|Too many open files( in system)?|Resource temporarily unavailable|"
            r"Read-only file system|No space left on device|Disk quota exceeded|File too large|Operation not permitted|"
            r"Device or resource busy|Broken pipe|Connection \w+( by peer)?)$|"
            r": ERROR:  (permission denied |must be (owner|superuser|able to SET ROLE|member) |[Oo]nly superuser|"
            r"out of (shared )?memory|canceling |deadlock detected|stack depth limit |extension .* is not available|"
            r".*not supported (by|in) this build|cannot execute .* in a read-only transaction$)",
            re.MULTILINE,
        ),
    ),
)
"""Lines by which libpq, the server and its programs say what is no fault of a dump: rights, memory, disks, connections,
and what a server was not built with. PostgreSQL's `fe-connect.c`, `elog.c`, `aclchk.c`, `md.c`, `extension.c`."""
_FROM_OUTSIDE = {-SIGHUP, -SIGINT, -SIGKILL, -SIGTERM}
"""How a program ends that somebody has ended, such as the kernel when memory is short."""
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)([.\w]*)")
_PROBE_SECONDS = 10.0
_SYSTEM = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Programs:
    """An installation's programs.

    Attributes:
        directory: Where they are.
        major: Their major version.
        version: Their whole version.
    """

    directory: Path
    major: int
    version: str

    def path(self, name: str) -> str:
        """Return the path of a program, as `pg_restore`.

        Raises:
            JobError: It is not installed (TOOL).
        """
        path = self.directory / name
        if not os.access(path, os.X_OK):
            raise JobError(
                Exit.TOOL, f"{path} is missing: install PostgreSQL {self.major}'s client, or set UNIONCORE_PG_BIN"
            )
        return str(path)

    def can_serve(self) -> bool:
        """Say whether a server is installed, too."""
        return all(os.access(self.directory / name, os.X_OK) for name in ("postgres", "initdb"))

    def has_zstd(self) -> bool:
        """Try whether this build can compress and read zstd: its version doesn't tell."""
        # A build that can't says so before it tries to connect, and one that can fails at that.
        probe = [
            self.path("pg_dump"),
            "--format=custom",
            "--compress=zstd:1",
            "--file=/dev/null",
            "--host=/nonexistent",
        ]
        return "connection to server" in _ask(probe)


def installed(directory: Path | None) -> list[Programs]:
    """Find the programs that are installed.

    Args:
        directory: The only place to look at (`UNIONCORE_PG_BIN`); None: PATH, then the system's own directories,
            then the wheels that this environment has for development.
    """
    places = [directory] if directory else [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep)]
    if not directory:
        places += sorted(_SYSTEM.glob("*/bin"))
        for major in WHEELS:
            with suppress(PostgresError):
                places.append(find_programs(major))
    return [
        Programs(place, int(match[1]), match[1] + match[2])
        for place in places
        if os.access(place / "pg_dump", os.X_OK)
        if (match := _VERSION.search(_ask([place / "pg_dump", "--version"])))
    ]


def choose(found: Sequence[Programs], server: int, purpose: str) -> Programs:
    """Choose the programs for a server: those of its version, else the next newer ones.

    Args:
        found: What is installed; of equals the first is taken.
        server: The server's major version, or the version that a dump was written by.
        purpose: What for, to be told if there are none.

    Raises:
        JobError: All are older, or there are none (TOOL).
    """
    fitting = [programs for programs in found if programs.major >= server]
    if not fitting:
        newest = max((programs.major for programs in found), default=None)
        have = "none is installed" if newest is None else f"the newest that is installed is {newest}"
        raise JobError(
            Exit.TOOL,
            f"{purpose} needs the programs of PostgreSQL {server} or newer, and {have}: "
            f"install postgresql-client-{server}, or set UNIONCORE_PG_BIN to the directory that has them",
        )
    return min(fitting, key=lambda programs: programs.major)


def choose_reader(found: Sequence[Programs], major: int, compression: str) -> Programs:
    """Choose the pg_restore for a dump.

    Args:
        found: What is installed.
        major: The major version of the pg_dump that wrote it.
        compression: As its manifest says it, `zstd:1` for example.

    Raises:
        JobError: None can read it (TOOL).
    """
    able = [programs for programs in found if not compression.startswith("zstd") or programs.has_zstd()]
    if found and not able:
        raise JobError(
            Exit.TOOL,
            f"the dump is compressed with zstd, which {found[0].path('pg_restore')} was built without: set "
            "UNIONCORE_PG_BIN to the directory of one that was built with it",
        )
    return choose(able, major, "a dump by this pg_dump")


def _ask(argv: Sequence[str | Path]) -> str:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def readable(words: bytes) -> str:
    """Return what a program said as text, with what is not UTF-8 as escapes: no two of them look alike."""
    return words.decode(errors="backslashreplace")


class Child:
    """A running program. What it says goes to a file, so that it can never wait for a reader."""

    def __init__(self, process: "subprocess.Popen[bytes]", words: Path) -> None:
        self.process = process
        self._words = words
        self._name = Path(str(process.args[0] if isinstance(process.args, list) else process.args)).name

    def said(self) -> str:
        """Return all that it wrote to standard error."""
        return readable(self._words.read_bytes())

    def warnings(self) -> list[str]:
        """Return what it warned of, though it may have succeeded."""
        return [line.strip() for line in self.said().splitlines() if re.search(r"\bwarning: ", line, re.IGNORECASE)]

    def complaint(self) -> str:
        """Return one line that says how it failed."""
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"\b(error|ERROR|FATAL|fatal)\b", line)]
        words = " ".join((errors or lines)[:2])
        status = self.process.poll()
        end = f"was ended by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        return f"{self._name} {end}{': ' if words else ''}{words.removeprefix(f'{self._name}: ')[:500]}"

    def failure(self, otherwise: Exit) -> JobError:
        """Return what its end means to the job.

        Args:
            otherwise: How the job ends if what it was to do can't be done, unlike where it was kept from it: by the
                server's disk, the connection to it, rights that it lacks there, somebody who ended it.
        """
        said = self.said()
        if self.process.poll() in _FROM_OUTSIDE:
            otherwise = Exit.FAILED
        return JobError(next((end for end, cause in _CAUSES if cause.search(said)), otherwise), self.complaint())

    async def wait(self) -> int:
        """Wait for its end and return its status, negative for a signal."""
        return await asyncio.to_thread(self.process.wait)

    def end(self) -> None:
        """End it and what it has started, at once if it does not end when it is told to."""
        for signum in (SIGTERM, SIGKILL):
            if self.process.poll() is not None:
                return
            # While another thread waits for it, `poll` knows nothing of its end (CPython's `Popen._internal_poll`).
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue


@contextmanager
def start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[Child]:
    """Start a program, and end it if it still runs when the block ends.

    Args:
        argv: The program and its arguments, none of them secret.
        environment: Its whole environment.
        stdin: As `subprocess.Popen` takes it.
        stdout: Likewise.

    Raises:
        JobError: It can't be executed (TOOL).
    """
    # Without a name, it is gone even if this process is killed.
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=words,
                env={**environment, "LC_ALL": "C"},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise JobError(Exit.TOOL, f"{argv[0]} can't be executed: {error.strerror}") from error
        child = Child(process, Path(f"/proc/self/fd/{words.fileno()}"))
        try:
            yield child
        finally:
            child.end()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


async def run_program(
    argv: Sequence[str], environment: Mapping[str, str], failure: Exit, *, stdin: int | None = None
) -> None:
    """Run a program to its end.

    Args:
        argv: The program and its arguments, none of them secret.
        environment: Its whole environment.
        failure: How the job ends if it fails for no reason that has a code of its own.
        stdin: An open file to read from.

    Raises:
        JobError: It failed, or can't be executed (TOOL); NO_SPACE, UNREACHABLE and FAILED may be the server's.
    """
    with start(argv, environment, stdin=subprocess.DEVNULL if stdin is None else stdin) as child:
        if await child.wait():
            raise child.failure(failure)
