"""CONTRIBUTING.md's worked examples, followed to the letter in a copy of the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.embedded.postgres import EmbeddedPostgres
from tests.docs.pages import REPOSITORY, Block, Page
from tests.docs.shell import reader, runnable

PAGE = Page(REPOSITORY / "CONTRIBUTING.md")


def copy_of_repository(directory: Path) -> Path:
    """Copy what is in the repository, and lend it the virtual environment."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, directory / name)
    # Of its own, so that python knows it as a virtual environment that lies here.
    (directory / ".venv").mkdir()
    for entry in ("bin", "lib", "pyvenv.cfg"):
        (directory / ".venv" / entry).symlink_to(Path(sys.prefix) / entry)
    return directory


def apply(block: Block, tree: Path) -> None:
    """Do what a block with `-` and `+` says: each part of it, between `@@`, must be found once."""
    old, new, *lines = block.text.splitlines()
    assert old.startswith("--- a/"), block
    assert new == f"+++ b/{old.removeprefix('--- a/')}", block
    path = tree / old.removeprefix("--- a/")
    text = path.read_text()
    for part in "\n".join(lines).split("\n@@\n"):
        before, after = (
            "".join(f"{line[1:]}\n" for line in part.splitlines() if line[:1] != left_out) for left_out in ("+", "-")
        )
        assert text.count(before) == 1, (
            f"CONTRIBUTING.md:{block.line}: {path.name} has {text.count(before)} of\n{before}"
        )
        text = text.replace(before, after)
    path.write_text(text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_repository(tmp_path_factory.mktemp("tree"))


def examples() -> dict[str, list[Block]]:
    """The blocks of each worked example, by its heading."""
    found: dict[str, list[Block]] = {}
    for block in PAGE.blocks:
        heading = PAGE.places[max(line for line in PAGE.places if line < block.line)]
        found.setdefault(heading, []).append(block)
    return {name: blocks for name, blocks in found.items() if name.startswith("Example")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", examples())
def test_a_worked_example_works(
    example: str, tree: Path, postgres: EmbeddedPostgres, live_url: str, tmp_path: Path
) -> None:
    # The commands find the copy, not what is installed.
    shell = reader(tmp_path, postgres, live_url, PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    shell.output(f"cd {tree}")
    shown = dict(runnable(PAGE))
    done = set()
    for block in examples()[example]:
        if name := block.option("file"):
            assert not (tree / name).exists(), f"CONTRIBUTING.md:{block.line}: there is a {name} already"
            (tree / name).write_text(block.text)
            done.add("file")
        elif block.language == "diff":
            apply(block, tree)
            done.add("diff")
        elif block in shown:
            shell.step(PAGE, block, shown[block])
            done.add("run")
    assert done == {"file", "diff", "run"}
