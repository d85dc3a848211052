"""A chunk's ids: what a manifest says of them is all that says which rows are archived."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.manifests import ManifestError
from scripts.archive import chunks

# Close together, so that there are runs; and as large as ids are.
IDS = st.lists(st.integers(0, 60) | st.integers(2**63 - 20, 2**63 - 1), min_size=1, unique=True).map(sorted)


@given(IDS)
def test_ids_are_read_as_they_were_written(ids: list[int]) -> None:
    text = chunks.render_ids(ids)
    runs = list(chunks.parse_ids(text))
    assert [number for first, last in runs for number in range(first, last + 1)] == ids
    assert all(a[1] + 1 < b[0] for a, b in pairwise(runs)), "runs that touch are one"


@given(IDS.filter(lambda ids: len(ids) > 1), st.data())
def test_ids_that_do_not_ascend_are_not_written(ids: list[int], data: st.DataObject) -> None:
    swapped = st.permutations(ids).filter(lambda some: some != ids)
    repeated = st.sampled_from(ids).map(lambda again: [*ids, again])
    with pytest.raises(ValueError, match="do not ascend"):
        chunks.render_ids(data.draw(swapped | repeated))


@pytest.mark.parametrize("text", ["", "1-", "2-1", "1,1", "3,2", "1-3,3", "-1", "1 ", "\u0661"])
def test_what_are_no_ascending_ids_is_not_read(text: str) -> None:
    with pytest.raises(ManifestError, match="no ascending ids"):
        list(chunks.parse_ids(text))
