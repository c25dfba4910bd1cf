"""How far from real media an output may lie: edges, limits on the way to an extreme, and the entropy that is left."""

import math
from typing import Any

import numpy as np
import pytest

from harness.outputs.limits import beyond, entropy_share, limit, spread

NAN = math.nan


def test_the_spread_leaves_no_more_than_the_tail_outside() -> None:
    values = np.r_[np.arange(10.0), NAN, np.inf]

    assert spread(values, 0.1) == (0.0, 4.5, 9.0)
    assert spread(values, 0.25) == (2.0, 4.5, 7.0)
    assert all(math.isnan(each) for each in spread(np.array([NAN]), 0.1))


@pytest.mark.parametrize(
    ("side", "extreme", "way", "at"),
    [("high", 20.0, 0.5, 14.5), ("high", 20.0, 0.0, 9.0), ("high", 20.0, 1.0, 20.0), ("high", 5.0, 0.5, 9.0),
     ("low", -10.0, 0.5, -5.0), ("low", -10.0, 0.25, -2.5), ("low", 5.0, 0.5, 0.0)],
)  # fmt: skip
def test_a_limit_lies_on_the_way_to_the_extreme(side: Any, extreme: float, way: float, at: float) -> None:
    assert limit(np.arange(10.0), side, extreme, way, 0.0) == at


def test_what_lies_at_the_limit_does_not_lie_beyond_it() -> None:
    values = np.array([1.0, 2.0, 3.0, NAN])

    assert beyond(values, "high", 2.0).tolist() == [False, False, True, False]
    assert beyond(values, "low", 2.0).tolist() == [True, False, False, False]


def test_the_codebook_that_lost_most_decides() -> None:
    assert entropy_share(np.array([2.0, 1.0]), np.array([4.0, 4.0])) == 0.25
    assert entropy_share(np.array([0.0, 3.0]), np.array([0.0, 4.0])) == 0.75
    assert entropy_share(np.array([5.0, 0.0]), np.array([0.0, 0.0])) == 1.0
    assert entropy_share(np.array([0.1, 4.0]), np.array([0.5, 4.0])) == 0.2
