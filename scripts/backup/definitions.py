"""Definitions of objects as PostgreSQL writes them, made comparable with what it writes after a restore."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_LONG = 160  # characters; a definition that is longer is kept as its hash
_HASH = "sha256:"
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[^'"()\[\],]+|.""", re.DOTALL)
_ENDS = {"(": ")", "[": "]"}
# What the name of a type is made of, but for its length.
_TYPE = re.compile(r"""[\w .]*|"(?:[^"]|"")*\"""")
_BARE = re.compile(r"(?:^|\W)ARRAY$")
# What is cast without brackets: a literal, a name, a call, what has brackets; each with casts of its own.
_SIMPLE = re.compile(
    r"""(?:'(?:[^']|'')*'|[\w.]*(?:\(.*\))?)(?:::(?:[\w .]+|"(?:[^"]|"")*\")+(?:\([\d,]+\))?(?:\[\])*)*""", re.DOTALL
)

_Element = str | list["_Element"]


class _Group(NamedTuple):
    """What stands in brackets.

    Attributes:
        text: All of it, with the brackets.
        elements: Of square brackets, what stands between the commas; a list for an array in an array.
        array: If it is `(ARRAY[...])` and nothing more, the elements of that.
    """

    text: str
    elements: list[_Element] | None = None
    array: list[_Element] | None = None


_Part = str | _Group


def comparable(definition: str) -> str:
    """Return what is kept of a definition, and compared.

    PostgreSQL casts an array of varchar to text[] as a whole where it reads `varchar_column IN ('a', 'b')`, and writes
    that as `(ARRAY['a'::character varying, ...])::text[]`; read again, it is an array of which each element is cast. So
    a restore changes the words, and nothing else. What is returned has the words that it has come to. Expressions of
    statistics it writes without the brackets that are not needed (`pg_get_statisticsobjdef`).

    Args:
        definition: As one of PostgreSQL's functions has written it.

    Returns:
        The definition, or if it is long its hash.
    """
    stack: list[tuple[str, list[_Part]]] = [("", [])]
    for token in _TOKEN.findall(definition):
        opening, parts = stack[-1]
        if token in _ENDS:
            stack.append((token, []))
        elif token == _ENDS.get(opening):
            stack.pop()
            stack[-1][1].append(_closed(opening, parts))
        else:
            parts.append(token)
    # Brackets without an end are words like others.
    return verbatim("".join(f"{opening}{_text(parts)}" for opening, parts in stack))


def verbatim(definition: str) -> str:
    """Return what is kept of a definition whose words PostgreSQL never changes, such as the body of a function."""
    return definition if len(definition) <= _LONG else hidden(definition)


def same(kept: str, definition: str) -> bool:
    """Say whether something was kept of this very definition.

    Manifests have kept it by `comparable`, `verbatim`, or `hidden`; which of these, differs by kind and by version.

    Args:
        kept: That which was kept.
        definition: As one of PostgreSQL's functions has written it.
    """
    if kept in (definition, hidden(definition)):
        return True
    words = comparable(definition)
    return comparable(kept) in (words, hidden(words))


def hidden(definition: str) -> str:
    """Return the hash that is kept in place of a definition, whether that is kept itself or its hash."""
    return definition if definition.startswith(_HASH) else f"{_HASH}{hashlib.sha256(definition.encode()).hexdigest()}"


def _closed(opening: str, parts: Sequence[_Part]) -> _Group:
    text = f"{opening}{_text(parts)}{_ENDS[opening]}"
    match opening, parts:
        case "[", _:
            return _Group(text, elements=list(_elements(parts)))
        case _, ["ARRAY", _Group(elements=list(elements))]:
            return _Group(text, array=elements)
    return _Group(text)


def _elements(parts: Sequence[_Part]) -> Iterator[_Element]:
    commas = [at for at, part in enumerate(parts) if part == ","]
    for start, end in zip([0, *(at + 1 for at in commas)], [*commas, len(parts)], strict=True):
        match [part for part in parts[start:end] if part != " "]:
            case [str(word), _Group(elements=list(elements))] if word.strip() == "ARRAY":
                yield elements
            case _:
                yield _text(parts[start:end]).strip()


def _text(parts: Sequence[_Part]) -> str:
    words, at = [], 0
    while at < len(parts):
        part = parts[at]
        at += 1
        if isinstance(part, _Group) and part.array and (cast := _cast(parts, at)):
            kind, at = cast
            words.append(_each(part.array, kind))
        elif (
            isinstance(part, _Group)
            and part.elements
            and part.elements != [""]
            and words
            and _BARE.search(words[-1])
            and (cast := _cast(parts, at))
        ):
            kind, at = cast
            words.append(_each(part.elements, kind, bare=True).removeprefix("ARRAY"))
        else:
            words.append(part if isinstance(part, str) else part.text)
    return "".join(words)


def _cast(parts: Sequence[_Part], at: int) -> tuple[str, int] | None:
    """Return the type of the elements, and the end, of the `::type[]` that stands at a place, if one does."""
    if not parts[at:] or not str(parts[at]).startswith("::"):
        return None
    kind = ""
    for end, part in enumerate((str(parts[at]).removeprefix("::"), *parts[at + 1 :]), at + 1):
        match part:
            case _Group(text="[]"):
                return kind, end
            case _Group(elements=None):
                kind += part.text
            case str() if _TYPE.fullmatch(part):
                kind += part
            case _:
                return None
    return None


def _each(elements: Sequence[_Element], kind: str, *, bare: bool = False) -> str:
    """Return an array of which each element is cast; bare: without the brackets that are not needed."""
    cast = (
        _each(one, kind, bare=bare)
        if isinstance(one, list)
        else f"{one}::{kind}"
        if bare and _SIMPLE.fullmatch(one)
        else f"({one})::{kind}"
        for one in elements
    )
    return f"ARRAY[{', '.join(cast)}]"
