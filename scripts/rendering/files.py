"""What is rendered, as files: in memory first, checked if that is wanted, then in place."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from exporter.files import write_durably
from scripts.job.exits import Exit, JobError
from scripts.rendering import prometheus, routing, site
from scripts.rendering.dashboards import dashboards
from scripts.rendering.receivers import common, receivers
from scripts.rendering.settings import RenderSettings
from scripts.rendering.targets import targets

SOURCE = Path(__file__).parents[2] / "alertmanager"
"""What is the same at every site: inhibition and templates."""

CONFIG = "alertmanager/alertmanager.yml"

_HEADER = "# Rendered by `unioncore-ops render-config`: set variables of the environment, and render it anew.\n"
_OURS = ("alertmanager/templates/*.tmpl", "dashboards/*.json", "rules/*.yml", "targets/*.yml")
_CHECK_SECONDS = 60


def render(settings: RenderSettings) -> dict[str, str]:
    """Return what every file holds, by its path below the output directory; Alertmanager's configuration comes last.

    Raises:
        JobError: What the project brings along is not there.
    """
    try:
        inhibition = yaml.safe_load((SOURCE / "inhibition.yml").read_text())
        templates = {path.name: path.read_text() for path in sorted((SOURCE / "templates").glob("*.tmpl"))}
        monitoring = prometheus.configuration(settings)
        boards = dashboards(settings)
    except OSError as error:
        # An installation that is not editable leaves them behind.
        raise JobError(
            Exit.FAILED,
            f"{error.filename} can't be read: {error.strerror}; render-config needs the project's checkout, installed"
            " by `pip install --no-deps --editable .`",
        ) from error
    tree = routing.tree(settings)
    names = routing.used(tree)
    config = {
        "global": common(settings),
        "templates": ["templates/*.tmpl"],
        "route": tree,
        "inhibit_rules": inhibition,
        "time_intervals": routing.intervals(settings),
        "receivers": receivers(settings, names),
    }
    files = {f"targets/{name}.yml": _yaml(groups) for name, groups in targets(settings).items()}
    files |= {f"alertmanager/templates/{name}": text for name, text in templates.items()}
    files["alertmanager/templates/site.tmpl"] = site.template(settings)
    files |= {f"rules/{name}": text for name, text in prometheus.rule_files(settings).items()}
    files |= {f"dashboards/{name}": text for name, text in boards.items()}
    return files | {"prometheus.yml": _yaml(monitoring), CONFIG: _yaml(config)}


def check(files: Mapping[str, str]) -> None:
    """Have amtool check Alertmanager's configuration.

    Raises:
        JobError: It finds a fault, or is not there.
    """
    amtool = shutil.which("amtool")
    if not amtool:
        raise JobError(Exit.TOOL, "amtool is not on PATH: install it (it comes with Alertmanager), or omit --check")
    with tempfile.TemporaryDirectory(prefix="unioncore-render-") as directory:
        write(files, Path(directory))
        command = [amtool, "check-config", "--enable-feature=utf8-strict-mode", str(Path(directory, CONFIG))]
        try:
            done = subprocess.run(  # noqa: S603 - amtool from PATH, with no input of the operator's
                command, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise JobError(Exit.TOOL, f"{amtool} does not run: {type(error).__name__}") from error
    if done.returncode:
        raise JobError(Exit.FAILED, f"amtool refuses the configuration:\n{(done.stdout + done.stderr).strip()}")


def write(files: Mapping[str, str], directory: Path) -> list[str]:
    """Put the files in place, each as a whole, and delete those of an earlier rendering that are no more.

    Args:
        files: What they hold, in the order in which they are written.
        directory: Where to; made if it is not there.

    Returns:
        The files that have changed.

    Raises:
        JobError: One can't be written; those before it are in place.
    """
    changed = []
    try:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != text.encode():
                write_durably(path, text.encode())
                changed.append(name)
            # Another user's servers read it, whatever the umask is: no secret is in it.
            path.chmod(0o644)
        for pattern in _OURS:
            for path in directory.glob(pattern):
                if (name := str(path.relative_to(directory))) not in files:
                    path.unlink()
                    changed.append(name)
    except OSError as error:
        where = error.filename or directory
        raise JobError(Exit.FAILED, f"{os.fspath(where)} can't be written: {error.strerror}") from error
    return changed


def _yaml(content: Any) -> str:
    return _HEADER + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
