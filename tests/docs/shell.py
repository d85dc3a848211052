"""A shell that runs a page's blocks as its reader would: one after the other, each in what the one before has left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from scripts.dev.binaries import find
from scripts.embedded.postgres import EmbeddedPostgres
from tests.docs.pages import REPOSITORY, Block, Page
from tests.scripts.running import NOWHERE, environment

SECONDS = 110
EVENTUALLY = 30
_AROUND = """\
[ -e "$STATE" ] && . "$STATE"
[ -e "$STATE.cwd" ] && cd "$(cat "$STATE.cwd")"
trap 'code=$?; export -p >"$STATE"; pwd >"$STATE.cwd"; exit $code' EXIT
set -a
set -euo pipefail
"""


@dataclass(frozen=True)
class Shell:
    """Where blocks are run.

    Attributes:
        directory: An empty directory, for the shell's own files and for those of the reader's /etc/unioncore.
        env: Its environment.
        places: What is elsewhere here than on the reader's machine: texts of the pages, and what to put there.
    """

    directory: Path
    env: Mapping[str, str]
    places: Mapping[str, str]

    def run(self, page: Page) -> int:
        """Run all blocks of a page that are marked; return their number.

        Raises:
            AssertionError: One ended or printed otherwise than the page says.
        """
        blocks = list(runnable(page))
        for block, expected in blocks:
            self.step(page, block, expected)
        return len(blocks)

    def step(self, page: Page, block: Block, expected: Block | None) -> None:
        """Run a block of a page.

        Raises:
            AssertionError: It ended or printed otherwise than the page says.
        """
        end = time.monotonic() + (EVENTUALLY if "eventually" in block.words else 0)
        while (wrong := self._wrong(block, expected)) and time.monotonic() < end:
            time.sleep(1)
        assert not wrong, f"{page}:{block.line}\n{block.text}{wrong}"

    def _wrong(self, block: Block, expected: Block | None) -> str:
        """Run a block; return what is not as the page says."""
        code, output = self._run(block.text)
        if code != int(block.option("ends") or 0):
            return f"ended with {code}:\n{output}"
        if expected is not None and not matches(expected.text, output):
            return f"printed\n{output}\nand not\n{expected.text}"
        return ""

    def output(self, text: str) -> str:
        """Run a command that no page shows, and return what it printed.

        Raises:
            AssertionError: It failed.
        """
        code, output = self._run(text)
        assert code == 0, output
        return output

    def _run(self, text: str) -> tuple[int, str]:
        for there, here in self.places.items():
            text = text.replace(there, here)
        log = self.directory / "output"
        state = self.directory / "state"
        # What a block has unset stays so.
        env = {} if state.exists() else self.env
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", _AROUND + text],
                env={**env, "STATE": str(state)},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(SECONDS)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return code, log.read_text(errors="replace")


def runnable(page: Page) -> Iterator[tuple[Block, Block | None]]:
    """The blocks of a page that are run, each with the one that shows what it prints."""
    for block, after in zip_longest(page.blocks, page.blocks[1:]):
        if "run" in block.words:
            yield block, after if after and "output" in after.words else None


def matches(expected: str, output: str) -> bool:
    """Whether a text is what was shown; `...` stands for anything, blanks at the ends of lines for nothing."""
    pattern = re.escape(_trimmed(expected)).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, _trimmed(output), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def reader(
    directory: Path,
    server: EmbeddedPostgres,
    url: str,
    *,
    places: Mapping[str, str] | None = None,
    container: bool = False,
    **variables: str,
) -> Shell:
    """A shell with the programs and the settings of an operator.

    Args:
        directory: An empty directory.
        server: Whose programs are on the PATH, behind ours; scratch databases are made on it.
        url: UnionCore's database.
        places: As the shell's.
        container: True for one in the jobs' container: its settings are in the environment alone, and none can be put
            into /etc.
        **variables: Further settings.
    """
    etc = directory / "etc"
    backups = directory / "backups"
    for path in (etc, backups):
        path.mkdir()
    settings = {
        "DATABASE_URL": url,
        "UNIONCORE_SCRATCH_URL": server.url("postgres"),
        "UNIONCORE_PG_BIN": str(server.bin("pg_dump").parent),
        "UNIONCORE_TIMEZONE": "America/Los_Angeles",
        **variables,
    }
    # As docs/install.md has it: the database's address is in a file of its own.
    (etc / "database-url").write_text(settings["DATABASE_URL"])
    site = {**settings, "DATABASE_URL_FILE": str(etc / "database-url")}
    del site["DATABASE_URL"]
    base = environment(backups, url, exporter=NOWHERE)
    if container:
        settings = site
        del base["DATABASE_URL"]
    else:
        (etc / "environment").write_text("".join(f"{name}='{value}'\n" for name, value in site.items()))
    for path in etc.iterdir():
        path.chmod(0o600)
    search = [str(_installed(directory / "bin")), str(server.bin("psql").parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return Shell(
        directory,
        {**base, **settings, "PATH": os.pathsep.join(search)},
        {"/etc/unioncore": "/proc/unioncore" if container else str(etc), **(places or {})},
    )


def _installed(directory: Path) -> Path:
    """Make what docs/install.md puts into /usr/local/bin, which a login shell has on its PATH."""
    directory.mkdir()
    for name in ("amtool", "promtool"):
        (directory / name).symlink_to(find(name))
    (command,) = (
        line.removeprefix("sudo ")
        for block in Page(REPOSITORY / "docs" / "install.md").language("sh")
        for line in block.text.splitlines()
        if line.endswith("/usr/local/bin/")
    )
    places = {"/opt/unioncore-observability/.venv/bin": Path(sys.executable).parent, "/usr/local/bin": directory}
    for there, here in places.items():
        command = command.replace(there, str(here))
    subprocess.run(["bash", "-c", command], check=True)
    return directory
