"""The project's pages, as a reader and a shell see them: headings, links, and blocks of code.

A block's info string says what it is and, after a blank, what a test does with it; GitHub shows none of the latter:

- `sh run`: a shell runs it, and it ends with 0; `sh run ends=5`: with 5. A page's blocks are run one after the other in
  one shell. `sh run eventually`: again, until it does as the page says, for a moment.
- `text output`: what the `sh run` before it prints. `...` stands for anything.
- `promql`: Prometheus evaluates it. `sql`: PostgreSQL runs it, and what it did is rolled back.
- `python file=PATH`, `diff`: a worked example, which CONTRIBUTING.md's test writes or applies.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: The first word of its info string.
        words: The others.
        text: What is in it.
        line: The number of its first line in the page.
    """

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    def option(self, name: str) -> str | None:
        """The value of a `name=value` among its words."""
        values = [word.removeprefix(f"{name}=") for word in self.words if word.startswith(f"{name}=")]
        return values[0] if values else None


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _tokens(self) -> list[Token]:
        return _PARSER.parse(self.text)

    @cached_property
    def places(self) -> dict[int, str]:
        """The headings' texts by their line, in order."""
        pairs = zip(self._tokens, self._tokens[1:], strict=False)
        return {(at.map or [0])[0] + 1: inline.content for at, inline in pairs if at.type == "heading_open"}

    @property
    def headings(self) -> list[str]:
        """The headings' texts, in order."""
        return list(self.places.values())

    @cached_property
    def anchors(self) -> set[str]:
        """What a link into the page may name, as GitHub makes it of the headings."""
        seen: dict[str, int] = {}
        for heading in self.headings:
            plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
            anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            seen[anchor] = seen.get(anchor, -1) + 1
        return {name if not number else f"{name}-{number}" for name, last in seen.items() for number in range(last + 1)}

    @cached_property
    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        found = []
        for token in self._tokens:
            for child in token.children or ():
                target = child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
                if target:
                    found.append(str(target))
        return found

    @cached_property
    def blocks(self) -> list[Block]:
        """Its blocks of code, in order, also those in lists."""
        return [
            Block(*_words(token.info), token.content, (token.map or [0])[0] + 1)
            for token in self._tokens
            if token.type == "fence"
        ]

    @cached_property
    def spans(self) -> list[str]:
        """Its code within sentences and tables."""
        return [
            child.content for token in self._tokens for child in token.children or () if child.type == "code_inline"
        ]

    def code(self) -> Iterator[str]:
        """All that is set as code."""
        yield from self.spans
        yield from (block.text for block in self.blocks)

    def language(self, *names: str) -> list[Block]:
        """Its blocks in one of these languages."""
        return [block for block in self.blocks if block.language in names]


def _words(info: str) -> tuple[str, tuple[str, ...]]:
    language, *words = info.split() or [""]
    return language, tuple(words)


def pages(pattern: str = "**/*.md") -> list[Page]:
    """The pages of the repository: those at its root and those in docs/.

    Args:
        pattern: Only those in docs/ that match, and none at the root, if it is not left out.
    """
    found = sorted((REPOSITORY / "docs").glob(pattern))
    if pattern == "**/*.md":
        found = [*sorted(REPOSITORY.glob("*.md")), *found]
    return [Page(path) for path in found]


PAGES = pages()
RUNBOOKS = pages("runbooks/*.md")
