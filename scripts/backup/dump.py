"""Writes a dump: pg_dump's output goes through this process, which hashes it, may encrypt it, and checks it.

A pg_restore reads along and unpacks everything to nowhere. So it is known before there is a backup that the dump is
whole, and of which tables it has rows: pg_dump's word alone is not taken for it.
"""

import asyncio
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyrage  # type: ignore[import-untyped] # it has no stubs

from scripts.backup import age
from scripts.backup.programs import Child, Programs, readable, start
from scripts.job.console import Meter
from scripts.job.exits import Exit, JobError

BLOCK = 1 << 20
"""How much is read and written at a time, in bytes."""

_READ = re.compile(r'^pg_restore: processing data for table "(.*)"$', re.MULTILINE)
_CHECK_SECONDS = 1.0
_F_SETPIPE_SZ = 1031


@dataclass(frozen=True, slots=True)
class Written:
    """A dump that is complete.

    Attributes:
        sha256: Of the file, in lower-case hexadecimal.
        size: Of the file, in bytes.
        warnings: What pg_dump warned of: something is not in it, or hard to restore.
    """

    sha256: str
    size: int
    warnings: Sequence[str]


class _Tee(io.RawIOBase):
    """pg_dump's output, of which the checker gets a copy."""

    def __init__(self, source: int, checker: BinaryIO, meter: Meter) -> None:
        self.moved_at = time.monotonic()
        self._source = source
        self._checker: BinaryIO | None = checker
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # a Buffer is one here
        count = os.readv(self._source, [buffer])
        self.moved_at = time.monotonic()
        self._meter.advance(count)
        if self._checker is not None:
            try:
                # Unbuffered, it may take a block bit by bit.
                rest = buffer[:count]
                while rest:
                    rest = rest[self._checker.write(rest) :]
                if not count:
                    self._checker.close()
                    self._checker = None
            except BrokenPipeError:
                # It has seen enough, and will say why; what pg_dump says counts more.
                self._checker = None
        self.moved_at = time.monotonic()
        return count


class _Sink:
    """The file, and what has been written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None
        self._file = file

    def write(self, block: bytes) -> int:
        try:
            self._file.write(block)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(block)
        self.size += len(block)
        return len(block)

    def flush(self) -> None:
        """Leave it to the end."""


async def write_dump(
    programs: Programs,
    environment: Mapping[str, str],
    file: BinaryIO,
    *,
    snapshot: str,
    encoding: str,
    compression: str,
    recipients: Sequence[str],
    tables: Mapping[str, bytes],
    stall_seconds: float,
    lock_seconds: float,
    meter: Meter,
) -> Written:
    """Dump a database into a file.

    Args:
        programs: pg_dump and pg_restore.
        environment: Tells them where the database is.
        file: The file, open and empty; of no use if this fails.
        snapshot: What to dump, as pg_export_snapshot named it.
        encoding: The database's, and so the dump's: not every text of another one is also UTF-8's.
        compression: `zstd:LEVEL` or `gzip:LEVEL`.
        recipients: Public keys of age to encrypt it for; none: it is not encrypted.
        tables: The tables of which it must have rows, as SCHEMA.TABLE, not quoted, and as that is in the database's
            encoding.
        stall_seconds: For how long pg_dump may write nothing.
        lock_seconds: For how long it may wait for a locked table.
        meter: Is told how many bytes it has written.

    Raises:
        JobError: It failed (FAILED, TOOL, UNREACHABLE), it hung (TIMEOUT), or its dump is not whole (NOT_VERIFIED).
        OSError: The file can't be written.
    """
    dumper_words = [
        programs.path("pg_dump"),
        "--format=custom",
        # Until 15 there was only gzip, and its name was not known.
        f"--compress={compression.removeprefix('gzip:')}",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={lock_seconds * 1000:.0f}",
        "--no-password",
        # Else the settings of the database or of the role would choose it.
        f"--encoding={encoding}",
    ]
    checker_words = [programs.path("pg_restore"), "--verbose", "--file=/dev/null"]
    sink = _Sink(file)
    with (
        start(dumper_words, environment, stdout=subprocess.PIPE) as dumper,
        start(checker_words, environment, stdin=subprocess.PIPE) as checker,
    ):
        await _pump(dumper, checker, sink, recipients=recipients, meter=meter, stall_seconds=stall_seconds)
        _check(dumper, checker, tables)
        return Written(sink.digest.hexdigest(), sink.size, dumper.warnings())


async def _pump(
    dumper: Child, checker: Child, sink: _Sink, *, recipients: Sequence[str], meter: Meter, stall_seconds: float
) -> None:
    """Move everything, and wait for the end of both programs."""
    output, copy = cast("BinaryIO", dumper.process.stdout), cast("BinaryIO", checker.process.stdin)
    for pipe in (output, copy):
        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, BLOCK)
    tee = _Tee(output.fileno(), copy, meter)

    def move() -> None:
        with io.BufferedReader(tee, BLOCK) as source:
            if recipients:
                age.encrypt(source, sink, recipients)
            else:
                shutil.copyfileobj(source, sink, BLOCK)
        dumper.process.wait()
        checker.process.wait()

    moving = asyncio.create_task(asyncio.to_thread(move))
    try:
        while not (await asyncio.wait({moving}, timeout=_CHECK_SECONDS))[0]:
            if time.monotonic() - tee.moved_at > stall_seconds:
                raise JobError(Exit.TIMEOUT, f"pg_dump has written nothing for {stall_seconds:g} s, and was ended")
        await moving
    except pyrage.EncryptError:
        if sink.error is not None:
            raise sink.error from None
        raise
    finally:
        # Ended programs end the thread: it waits for nothing else.
        dumper.end()
        checker.end()
        await asyncio.gather(moving, return_exceptions=True)


def _check(dumper: Child, checker: Child, tables: Mapping[str, bytes]) -> None:
    if dumper.process.returncode:
        raise dumper.failure(Exit.FAILED)
    if checker.process.returncode:
        raise JobError(Exit.NOT_VERIFIED, f"the dump can't be read: {checker.complaint()}")
    read = set(_READ.findall(checker.said()))
    missing = sorted(name for name, stored in tables.items() if readable(stored) not in read)
    if missing:
        raise JobError(Exit.NOT_VERIFIED, f"the dump has no rows of the tables {', '.join(missing)}")
