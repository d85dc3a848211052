"""Every setting, metric, command, option and target that the pages name exists, and every one that exists is named."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

import click
import pytest

from exporter.contract import CONTRACT
from exporter.settings import CommonSettings, variable_of
from scripts.alerting.groups.database import DISK
from scripts.dev import docs
from scripts.dev.docs_commands import PROGRAMS
from tests.docs.pages import PAGES, REPOSITORY, Page
from tests.prometheus.shipped import rules

SETTINGS = docs.variables()
# What others than this project read.
FOREIGN = {
    "ADMIN_DATABASE_URL": "the pages' own, for the URL of the database's owner",
    "NEW_DATABASE_URL": "the pages' own, for the URL of an empty database",
}
# What docker-compose alone reads.
COMPOSED = {
    name
    for path in (*REPOSITORY.glob("docker-compose*.yml"), *REPOSITORY.glob("compose/*.yml"))
    for name in re.findall(r"\$\{([A-Z0-9_]+)", path.read_text())
}
FOREIGN_PREFIXES = ("AWS_", "PG")
FAMILIES = {family.name for family in CONTRACT}
# The disk is recorded where a site has said how large it is.
RECORDS = {rule["record"] for rule in rules() if "record" in rule} | {DISK}
# Names with the prefix of a metric that are none.
NO_METRICS = {
    "unioncore_exporter": "the exporter's role in the database",
    "unioncore_statistics": "postgres_exporter's role in the database",
    "unioncore_archiver": "the role of `archive --delete` in the database",
    "unioncore_new": "a database in an example",
    "unioncore_email_tokens": "CONTRIBUTING.md's example",
}
# The jobs that are none.
NO_JOBS = {"analyze": "CONTRIBUTING.md's example"}
TARGETS = set(re.findall(r"^([a-z][a-z-]*):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", ")"}


def variables(page: Page) -> set[str]:
    """What looks like an environment variable in the page's code, less what the page itself sets for its own use."""
    found: set[str] = set()
    for text in page.code():
        found |= set(re.findall(r"(?<![\w.])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b(?!\()", text))
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_variable_that_is_named_exists(page: Page) -> None:
    files = {f"{name}_FILE" for name in SETTINGS}
    for name in variables(page) - SETTINGS - files - set(FOREIGN) - COMPOSED:
        ours = re.match(r"(UNIONCORE|DATABASE|DB|S3|BACKUP|ARCHIVE|RETENTION)_", name)
        assert not ours, f"{page}: there is no setting {name}"
        # What is left must at least be foreign to this project: a pattern of SQL, an enum, a shell variable.
        assert name.startswith(FOREIGN_PREFIXES) or not re.search(rf"\${{?{name}\b", page.text), f"{page}: {name}"


def test_every_class_of_settings_is_on_the_page() -> None:
    for module in iter_modules([str(REPOSITORY / "scripts")], "scripts."):
        if module.name != "scripts.dev":
            import_module(module.name)
    kinds = {CommonSettings}
    while below := {kind for one in kinds for kind in one.__subclasses__()} - kinds:
        kinds |= below
    assert {variable_of(field) for kind in kinds for field in kind.model_fields.values()} == SETTINGS


def test_every_setting_is_on_its_page() -> None:
    (page,) = (page for page in PAGES if page.path.name == "configuration.md")
    assert variables(page) >= SETTINGS


def test_every_variable_of_docker_compose_is_on_its_page() -> None:
    (page,) = (page for page in PAGES if page.path.name == "docker.md")
    assert variables(page) | SETTINGS >= COMPOSED


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_metric_that_is_named_exists(page: Page) -> None:
    for text in page.code():
        for name in re.findall(r"(?<![\w:.^-])(unioncore_[a-z0-9_]*[a-z0-9])(?![\w:=.-]|\*)", text):
            assert name in FAMILIES | set(NO_METRICS), f"{page}: there is no metric {name}"
        for name in re.findall(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b", text):
            assert name in RECORDS, f"{page}: no rule records {name}"


def test_every_metric_is_on_its_page() -> None:
    (page,) = (page for page in PAGES if page.path.name == "metrics.md")
    assert {heading.strip("`") for heading in page.headings} >= FAMILIES


def calls(page: Page) -> Iterator[list[str]]:
    """Each call of one of the project's programs in the page's code, as words."""
    if page.path.name == "commands.md":
        # Made from the programs themselves.
        return
    for text in page.code():
        joined = text.replace("\\\n", " ")
        for line in joined.splitlines():
            for found in re.finditer(rf"(?<![\w/.-])(?<!-t )(?<!-u )(?:{'|'.join(PROGRAMS)})(?: [^`]*)?", line):
                yield _words(found[0])


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    words = []
    try:
        for word in lexer:
            if word in ENDS or set(word) <= set("|&;()<>"):
                break
            words.append(word)
    except ValueError:
        # A quote that goes on in the next line.
        pass
    return words


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_and_option_that_is_named_exists(page: Page) -> None:
    for words in calls(page):
        if words[1:] and words[1] in NO_JOBS:
            continue
        command: click.Command = PROGRAMS[words[0]]
        context = click.Context(command, info_name=words[0])
        for word in words[1:]:
            if isinstance(command, click.Group) and not word.startswith("-"):
                below = command.get_command(context, word)
                if below is not None:
                    command = below
                    continue
                assert command.invoke_without_command, f"{page}: there is no {' '.join(words)}"
            if word.startswith("-") and word != "-":
                known = {name for parameter in command.get_params(context) for name in parameter.opts}
                assert word.partition("=")[0] in known, f"{page}: {' '.join(words)} has no {word}"


def test_every_target_of_make_that_is_named_exists_and_every_one_is_named() -> None:
    named = {target for page in PAGES for text in page.code() for target in re.findall(r"\bmake ([a-z][a-z-]*)", text)}
    assert named == TARGETS
