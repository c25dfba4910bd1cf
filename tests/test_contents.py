"""Look-up by content equals brute force, with colliding hashes too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contents import ContentIndex, Segments, distinct

# Few ids and short sequences, so that equal, permuted, prefixed and empty ones are common.
IDS = st.lists(st.integers(0, 3), max_size=5)
BIG = st.lists(st.integers(0, 2**32 - 1), max_size=4)
SEQUENCES = st.lists(st.one_of(IDS, BIG), max_size=30)


def _segments(sequences: list[list[int]]) -> Segments:
    ends = np.cumsum([len(ids) for ids in sequences], dtype=np.int64)
    flat = np.array([i for ids in sequences for i in ids], dtype=np.uint32)
    return Segments(flat, ends - np.diff(ends, prepend=0), ends, np.arange(len(sequences)))


@pytest.mark.parametrize("weights", [None, np.ones(8, dtype=np.uint64)], ids=["random", "colliding"])
@given(known=SEQUENCES, asked=SEQUENCES)
@settings(deadline=None)
def test_look_up_equals_brute_force(weights: np.ndarray | None, known: list[list[int]], asked: list[list[int]]) -> None:
    contents, numbers = distinct([np.array(ids, dtype=np.int64) for ids in known])
    asked = asked + known[: len(asked)]

    found = ContentIndex(contents, weights).find(_segments(asked))

    by_content = {tuple(content.tolist()): number for number, content in enumerate(contents)}
    assert found.tolist() == [by_content.get(tuple(ids), -1) for ids in asked]
    assert numbers.tolist() == [by_content[tuple(ids)] for ids in known]
