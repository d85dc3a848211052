"""Definitions are comparable before and after a restore, and otherwise as PostgreSQL has written them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.backup.definitions import comparable, hidden, same

WORDS = st.sampled_from(
    ["ARRAY", "(", ")", "[", "]", "[]", ",", ", ", "'", "''", '"', "::", "::text", "::character varying(20)", "\n", "a"]
)


@pytest.mark.parametrize(
    ("written", "read_again"),
    [
        ("(v = ANY ((ARRAY['a'::v, 'b'::v])::text[]))", "(v = ANY (ARRAY[('a'::v)::text, ('b'::v)::text]))"),
        ("((ARRAY[1])::text[])", "(ARRAY[(1)::text])"),
        ("(ARRAY['it''s ] (, ' , f(1, 2)])::n(9,2)[]", "ARRAY[('it''s ] (, ')::n(9,2), (f(1, 2))::n(9,2)]"),
        ('(ARRAY["a, b"])::"Odd names"."a type"[]', 'ARRAY[("a, b")::"Odd names"."a type"]'),
        ("(ARRAY[ARRAY[a, b], ARRAY[c]])::text[]", "ARRAY[ARRAY[(a)::text, (b)::text], ARRAY[(c)::text]]"),
        ("(ARRAY[now()])::timestamp(3) without time zone[]", "ARRAY[(now())::timestamp(3) without time zone]"),
        # As it writes expressions of statistics: without brackets where they are not needed.
        ("v = ANY (ARRAY['a'::v, 'b'::v(20)]::text[])", "v = ANY (ARRAY['a'::v::text, 'b'::v(20)::text])"),
        ("ARRAY[a, f(b, 1), (a || 'b'), a || 'c']::text[]",
         "ARRAY[a::text, f(b, 1)::text, (a || 'b')::text, (a || 'c')::text]"),
        ("ARRAY[ARRAY[a], ARRAY['b'::v]]::text[]", "ARRAY[ARRAY[a::text], ARRAY['b'::v::text]]"),
        ("(ARRAY[(ARRAY[a])::text[]])::x[]", "ARRAY[(ARRAY[(a)::text])::x]"),
    ],
)  # fmt: skip
def test_an_array_that_is_cast_is_one_whose_elements_are(written: str, read_again: str) -> None:
    assert comparable(written) == read_again
    for kept in (written, comparable(written), hidden(comparable(written))):
        assert same(kept, read_again)
    assert not same(written, read_again + " ")


@pytest.mark.parametrize(
    "text",
    [
        "(ARRAY[a, b])::text",
        "ARRAY[]::text[]",
        "(ARRAY[a])::text = ANY (b[])",
        "'(ARRAY[a])::text[]'",
        "(ARRAY[a]) ::text[]",
        "(ARRAY[a] || b)::text[]",
        "(x ARRAY[a])::text[]",
    ],
)
def test_all_else_is_left_as_it_is(text: str) -> None:
    assert comparable(text) == text


@given(st.lists(WORDS, max_size=30).map("".join))
@example("begin x := 'don''t (ARRAY[1])::text[] -- don't\nend")
def test_what_is_comparable_is_so_once_and_for_all(text: str) -> None:
    once = comparable(text)
    assert once.startswith("sha256:") or comparable(once) == once


@given(st.lists(WORDS, max_size=30).map("".join).filter(lambda text: "]" not in text))
def test_a_text_without_an_array_is_not_touched(text: str) -> None:
    assert comparable(text) == text or len(text) > 160


def test_a_definition_may_be_nested_as_deep_as_it_likes() -> None:
    assert comparable("(" * 5000 + ")" * 5000).startswith("sha256:")
