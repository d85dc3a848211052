"""The page at `/`."""

from html.parser import HTMLParser

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter import __version__
from exporter.assembly import assemble
from exporter.board import Outcome, Snapshot
from exporter.metrics import Family
from exporter.page import page
from exporter.settings import load
from scripts.embedded.postgres import EmbeddedPostgres

NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
SAMPLE = Family("unioncore_x", "x")(1.0)
VOID = {"meta", "link"}


class Reading(HTMLParser):
    """What a browser would make of it: the elements, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def snapshot(*, database_error: str | None = None, last_success: float | None = NOW, **outcomes: Outcome) -> Snapshot:
    succeeded = {} if last_success is None else dict.fromkeys(outcomes, last_success)
    return Snapshot(NOW, database_error, outcomes, succeeded)


def read(seen: Snapshot) -> Reading:
    return Reading(page(seen))


def test_a_healthy_exporter_shows_every_collector_and_where_to_go_on() -> None:
    shown = read(snapshot(users=Outcome([SAMPLE] * 6, 0.0042), dues=Outcome([SAMPLE] * 50)))
    assert shown.addresses == ["data:,", "metrics", "health/live", "health/ready"]
    assert f"version {__version__}" in shown.words
    assert "Database up it answered" in shown.words
    assert "Collectors ok all 2 have succeeded" in shown.words
    assert "just now 2026-09-21 14:13:20 UTC" in shown.words
    assert "4.2 ms" in shown.words
    assert "unchanged" in shown.words, "nothing was read for the dues: their count still held"


def test_a_collector_that_failed_says_why_and_the_title_says_how_many() -> None:
    shown = read(snapshot(users=Outcome([SAMPLE], 0.001), dues=Outcome(error="no table dues_payments")))
    assert "(1) UnionCore exporter" in shown.words
    assert "Collectors failing 1 of 2 have failed" in shown.words
    assert "failed" in shown.words
    assert "no table dues_payments" in shown.words


def test_a_database_that_is_down_says_why_once() -> None:
    down = Outcome(error="the database is down: it did not answer in time")
    shown = read(snapshot(database_error="it did not answer in time", users=down, members=down, dues=down))
    assert "Database down it did not answer in time" in shown.words
    assert shown.words.count("it did not answer in time") == 1
    assert shown.words.count("the database is down") == 3


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (0.4, "just now"),
        (-5, "just now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (86_400 * 3.5, "3 d ago"),
    ],
)
def test_the_last_success_is_told_in_words(ago: float, words: str) -> None:
    assert words in read(snapshot(last_success=NOW - ago, users=Outcome([SAMPLE]))).words


def test_a_collector_that_never_succeeded_says_so() -> None:
    assert "never" in read(snapshot(last_success=None, users=Outcome(error="no"))).words


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = page(snapshot(users=Outcome([SAMPLE])))
    assert "default-src 'none'" in html
    assert not {"script", "img", "iframe", "object"} & set(Reading(html).tags)
    assert "url(" not in html
    assert "@import" not in html


# HTML has no way to show these, and its parsers make others of them.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "</td></table><h1>", "<!-- ", "]]>"]
)


@given(name=TEXT, error=TEXT, database_error=TEXT)
def test_whatever_a_text_holds_it_is_shown_as_text(name: str, error: str, database_error: str) -> None:
    assume(not error.endswith(f": {database_error}"))
    shown = read(Snapshot(NOW, database_error, {name: Outcome(error=error)}, {}))
    plain = read(Snapshot(NOW, "x", {"users": Outcome(error="y")}, {}))
    assert shown.tags == plain.tags
    assert {name, error, database_error} <= set(shown.text)


async def test_the_password_is_not_on_the_page(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url("postgres", password="wrong-and-secret"))
    parts = assemble(load())
    html = page(await parts.scraper.scrape(5))
    await parts.close()
    assert "password authentication failed" in html
    assert "wrong-and-secret" not in html
