"""Derangements over content, as close in length as a derangement can be."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import derangement as module
from harness.derangement import derangement
from harness.errors import ExampleError

# Content and its length: contents of one letter are equal, as are those of one word in two places.
contents = st.lists(st.sampled_from(["a", "b", "cc", "dd", "eee", "ffffffff"]), min_size=2, max_size=40)
few_contents = st.lists(st.sampled_from(["a", "b", "cc", "dddd", "eeeeeeeee"]), min_size=2, max_size=6)


def _deranged(keys: list[str], seed: int = 0) -> np.ndarray:
    return derangement(keys, [len(key) for key in keys], np.random.default_rng(seed), what="prompts")


def _mismatch(keys: list[str], order: tuple[int, ...] | np.ndarray) -> int:
    return sum(abs(len(keys[i]) - len(keys[j])) for i, j in enumerate(order))


@pytest.mark.parametrize("max_matched", [module.MAX_MATCHED, 1], ids=["matched in length", "rotated"])
@given(keys=contents, seed=st.integers(0, 5))
def test_any_multiset_that_allows_a_derangement_gets_one(max_matched: int, keys: list[str], seed: int) -> None:
    assume(2 * max(Counter(keys).values()) <= len(keys))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_MATCHED", max_matched)
        result = _deranged(keys, seed)

    assert sorted(result) == list(range(len(keys)))
    assert all(keys[i] != keys[j] for i, j in enumerate(result))


@given(st.lists(st.sampled_from(["a", "bb"]), max_size=20))
def test_any_other_multiset_is_an_error_that_says_so(keys: list[str]) -> None:
    assume(len(keys) < 2 or 2 * max(Counter(keys).values()) > len(keys))

    with pytest.raises(ExampleError, match="with equal content; expected at most half of them equal"):
        _deranged(keys)


@given(few_contents, st.integers(0, 5))
def test_no_derangement_is_closer_in_length(keys: list[str], seed: int) -> None:
    assume(2 * max(Counter(keys).values()) <= len(keys))
    possible = (
        order for order in permutations(range(len(keys))) if all(keys[i] != keys[j] for i, j in enumerate(order))
    )

    assert _mismatch(keys, _deranged(keys, seed)) == min(_mismatch(keys, order) for order in possible)


@pytest.mark.parametrize("seed", range(5))
def test_chance_never_outweighs_a_length(seed: int) -> None:
    """Of lengths that all differ by one, neighbours change places: any other derangement is two ids further away."""
    n = 128

    result = derangement([str(i) for i in range(n)], range(n), np.random.default_rng(seed), what="prompts")

    assert np.abs(result - np.arange(n)).sum() == n


@given(contents, st.integers(0, 5))
def test_the_seed_decides(keys: list[str], seed: int) -> None:
    assume(2 * max(Counter(keys).values()) <= len(keys))

    assert _deranged(keys, seed).tolist() == _deranged(keys, seed).tolist()


def test_ties_are_broken_at_random() -> None:
    keys = [f"{i:02}" for i in range(50)]

    first, second = _deranged(keys, seed=1), _deranged(keys, seed=2)

    # Of two random permutations of 50, as many as 10 places agree with a probability of 1e-7.
    assert (first == second).sum() < 10


def test_too_many_for_the_solver_are_rotated() -> None:
    keys = [str(i % 1500) for i in range(module.MAX_MATCHED + 1)]

    result = _deranged(keys)

    assert sorted(result) == list(range(len(keys)))
    assert all(keys[i] != keys[j] for i, j in enumerate(result))
