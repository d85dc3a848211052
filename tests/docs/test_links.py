"""Every link leads somewhere, and every page is led to."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, REPOSITORY, RUNBOOKS, Page
from tests.prometheus.shipped import alerts

SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Escalation", "False positives"]
ROUTINE = [
    "Steps",
    "How to verify",
    "Troubleshooting",
    "Rollback",
    "Whom to call",
]
CLOCKS = {
    "critical": "**critical · P1 · respond within 15 minutes, at any hour**",
    "high": "**high · P2 · respond within 1 hour, at any hour**",
    "medium": "**medium · P3 · respond within 4 hours**",
    "low": "**low · P4 · respond on the next business day**",
    "none": "**never told to a person**",
}
ALERTS = alerts()
ABOUT_ALERTS = {page.path.stem: page for page in RUNBOOKS if page.path.stem.startswith("UnionCore")}


def local(page: Page) -> Iterator[tuple[str, Path, str]]:
    """The page's links into the repository: as written, the file, and the anchor."""
    for link in page.links:
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield link, (page.path.parent / path).resolve() if path else page.path, anchor


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Page) -> None:
    for link, path, anchor in local(page):
        assert path.exists(), f"{page}: {link}"
        assert path.is_relative_to(REPOSITORY), f"{page}: {link}"
        if anchor and path.suffix == ".md":
            assert anchor in Page(path).anchors, f"{page}: {link}: {sorted(Page(path).anchors)}"


def test_every_page_is_found_from_the_readme() -> None:
    found = {REPOSITORY / "README.md"}
    new = list(found)
    while new:
        linked = {path for _, path, _ in local(Page(new.pop())) if path.suffix == ".md"} - found
        found |= linked
        new += linked
    assert {page.path for page in PAGES} - found == set()


def test_every_picture_is_shown_somewhere() -> None:
    shown = {path for page in PAGES for _, path, _ in local(page)}
    assert set((REPOSITORY / "docs" / "images").iterdir()) <= shown


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(ABOUT_ALERTS) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


def test_the_index_names_every_alert_and_every_routine() -> None:
    (index,) = (page for page in RUNBOOKS if page.path.stem == "README")
    assert {path.name for _, path, _ in local(index)} >= {page.path.name for page in RUNBOOKS} - {"README.md"}


@pytest.mark.parametrize("name", ABOUT_ALERTS)
def test_an_alerts_page_has_everything_in_order(name: str) -> None:
    page, rule = ABOUT_ALERTS[name], ALERTS[name]
    assert page.headings == [name, *SECTIONS]
    service = rule["labels"]["service"]
    dashboard = rule["annotations"]["dashboard_url"].rpartition("/")[2]
    head = f"{CLOCKS[rule['labels']['severity']]} · service `{service}` · dashboard `{dashboard}`"
    assert page.text.splitlines()[2] == head
    assert page.language("promql", "sh", "sql"), "nothing to copy"


@pytest.mark.parametrize(
    "page", [page for page in RUNBOOKS if page.path.stem not in {"README", *ABOUT_ALERTS}], ids=str
)
def test_a_routines_page_has_everything_in_order(page: Page) -> None:
    sections = [heading for heading in page.headings if heading in ROUTINE]
    assert sections == ROUTINE
    for word in ("Purpose", "Frequency", "Takes", "Needs"):
        assert f"| {word} |" in page.text, word
