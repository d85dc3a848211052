"""Where the stack's servers and tools are: on PATH, or fetched once into a cache directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from scripts.embedded.directories import cache, make_directory, remove_directory
from scripts.embedded.processes import kill, spawn

_FETCH = Path(__file__).with_name("stack-binaries")


class BinaryMissingError(RuntimeError):
    """A program is not installed and could not be fetched; the message names what to install."""


def cache_directory() -> Path:
    """The directory that `stack-binaries` fills, in the user's own cache."""
    return cache() / "bin"


def find(name: str) -> Path:
    """Find one of the stack's programs, and fetch all of them if it is nowhere.

    Args:
        name: Its name, as `prometheus`, `promtool`, `alertmanager`, `amtool` or `pushgateway`.

    Returns:
        The path of an executable.

    Raises:
        BinaryMissingError: It is not there and cannot be fetched.
    """
    cached = cache_directory() / name
    if on_path := shutil.which(name):
        return Path(on_path)
    if not cached.is_file() and (problem := _fetch(cached)):
        raise BinaryMissingError(
            f"{name} is not on PATH and could not be fetched ({problem}). Install {name} from your"
            " distribution or https://prometheus.io/download/ and put it on PATH."
        )
    return cached


def _fetch(wanted: Path) -> str | None:
    """Run the script; the reason if that did not bring what is wanted."""
    # Its temporary files go where they are deleted even if it is interrupted.
    directory = make_directory("unioncore-fetch-")
    log = directory / "log"
    try:
        with log.open("wb") as stderr:
            process = spawn(
                [_FETCH, cache_directory()],
                env=os.environ | {"TMPDIR": str(directory)},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        try:
            status = process.wait()
        finally:
            kill(process)
        if status:
            return (log.read_text(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        return None if wanted.is_file() else "it was not among what was fetched"
    finally:
        remove_directory(directory)
