"""Derangements over content: every place receives another's content, never its own, of like length where possible."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from harness.errors import ExampleError

# The assignment solver takes cubic time: 2,048 places take 0.7 s at worst.
MAX_MATCHED = 2048


def derangement(keys: Sequence[str], lengths: Sequence[int], rng: np.random.Generator, *, what: str) -> np.ndarray:
    """A random permutation in which no place receives content equal to its own.

    Up to 2,048 places it is one of those with the smallest sum of differences in length. Beyond that, contents are
    rotated without regard to length.

    Args:
        keys: (N,) equal for equal content.
        lengths: (N,) of the contents, in ids.
        rng: decides among the permutations that are equally good.
        what: what the contents are, for the message.

    Returns:
        (N,) int64: place i receives the content of place result[i].

    Raises:
        ExampleError: one content fills more than half the places, so that no derangement exists.
    """
    n = len(keys)
    largest = max(Counter(keys).values(), default=0)
    if n < 2 or 2 * largest > n:
        raise ExampleError(
            f"{n} {what}",
            f"{largest} with equal content",
            "at most half of them equal",
            "Use a more varied golden set.",
        )
    return _matched(keys, lengths, rng) if n <= MAX_MATCHED else _rotated(keys, largest, rng)


def _matched(keys: Sequence[str], lengths: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Minimise Σ |length_i - length_j| over all permutations that pair no equal contents."""
    n = len(keys)
    length = np.asarray(lengths, dtype=np.float64)
    cost = np.abs(length[:, None] - length[None, :])  # (N, N)
    # Of N ties at most half an id altogether: too little to outweigh a whole one.
    cost += rng.uniform(0, 0.5 / n, size=(n, n))
    _, group = np.unique(np.asarray(keys), return_inverse=True)
    cost[group[:, None] == group[None, :]] = np.inf
    _, result = linear_sum_assignment(cost)
    return np.asarray(result, dtype=np.int64)


def _rotated(keys: Sequence[str], largest: int, rng: np.random.Generator) -> np.ndarray:
    """Equal contents laid side by side, and the whole rotated by the size of the largest group.

    What arrives then always comes from another group, and such a rotation exists exactly when a derangement does.
    """
    group_rank = dict(zip(sorted(set(keys)), rng.permutation(len(set(keys))), strict=True))
    order = sorted(rng.permutation(len(keys)), key=lambda i: group_rank[keys[i]])
    result = np.empty(len(keys), dtype=np.int64)
    result[order] = np.roll(order, -largest)
    return result
