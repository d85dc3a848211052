"""The stacks that these tests look at, and the images that they are made of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.compose.composing import Compose, docker

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "unioncore-observability:test"
_STAND_INS = "UNIONCORE_STAND_IN_IMAGES"
"""A program that makes local images of the names it is given, where there is no registry."""
_MIRROR = ("index-url", "extra-index-url", "trusted-host", "cert", "proxy", "timeout")


@pytest.fixture(scope="session")
def images() -> None:
    """Have every image that the stacks need, pulled or made."""
    listed = Compose("unioncore-images", profiles=("demo", "site"))("config", "--images").split()
    bases = re.findall(r"^ARG \w+_IMAGE=(.+)$", (Path(__file__).parents[2] / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {*listed, *bases} - {"unioncore-observability:local"}
    missing = [name for name in sorted(wanted) if not docker("images", "--quiet", name)]
    if not missing:
        return
    if tool := os.environ.get(_STAND_INS) or shutil.which("stand-in-images"):
        subprocess.run([tool, *missing], check=True)
    else:
        for name in missing:
            docker("pull", "--quiet", name)


@pytest.fixture(scope="session")
def pip_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this machine's pip finds the package index, for the build."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"^[\w:]+\.([\w-]+)='(.*)'$", done.stdout, re.MULTILINE))
    path = tmp_path_factory.mktemp("pip") / "pip.conf"
    path.write_text("[global]\n" + "".join(f"{key} = {found[key]}\n" for key in _MIRROR if key in found))
    return path


@pytest.fixture(scope="session")
def demo(images: None, pip_conf: Path) -> Iterator[Compose]:  # noqa: ARG001 - it must be there
    """The profile demo, built and up, without an .env."""
    project = Compose("unioncore-test-demo", profiles=("demo",))
    project.variables |= {"UNIONCORE_IMAGE": OURS, "PIP_CONFIG_FILE": str(pip_conf)}
    if not grafana_is_real():
        # A stub has no metrics.
        project.variables["UNIONCORE_GRAFANA_TARGETS"] = ""
    project.remove()
    try:
        project("build")
        project.up()
        yield project
    finally:
        project.remove()


def grafana_is_real() -> bool:
    """Whether the image of Grafana is one."""
    name = next(
        name
        for name in Compose("unioncore-images", profiles=("site",))("config", "--images").split()
        if "grafana/" in name
    )
    done = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", "test", name, "-x", "/run.sh"], capture_output=True, check=False
    )
    return done.returncode == 0
