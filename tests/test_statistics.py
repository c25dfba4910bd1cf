"""Win rates and gaps: strictness, intervals, NaN."""

import numpy as np
import pytest
from scipy.stats import beta

from harness.statistics import mean_gap, proportion, win_rate


def test_a_tie_is_no_win() -> None:
    same = np.ones(10)

    assert win_rate("w", same, same).value == 0


def test_the_interval_is_clopper_and_pearsons() -> None:
    correct, ablated = np.zeros(256), np.r_[np.ones(192), -np.ones(64)]

    measured = win_rate("w", correct, ablated)

    assert measured.value == 0.75
    assert measured.low == pytest.approx(beta.ppf(0.025, 192, 65))
    assert measured.high == pytest.approx(beta.ppf(0.975, 193, 64))


@pytest.mark.parametrize("place", ["correct", "ablated"])
def test_one_nan_spoils_the_measurement(place: str) -> None:
    losses = {"correct": np.zeros(8), "ablated": np.ones(8)}
    losses[place][3] = np.nan

    assert np.isnan(win_rate("w", **losses).value or 0)
    assert np.isnan(mean_gap("g", **losses, rng=np.random.default_rng(0)).value or 0)


def test_nothing_measured_is_nan_not_zero() -> None:
    empty = np.empty(0)

    assert np.isnan(win_rate("w", empty, empty).value or 0)
    assert np.isnan(proportion("p", 0, 0).value or 0)


def test_the_gap_is_paired_and_reproducible() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(5, 3, size=400)
    correct, ablated = difficulty, difficulty + rng.normal(0.2, 0.1, size=400)

    first = mean_gap("g", correct, ablated, np.random.default_rng(7))
    again = mean_gap("g", correct, ablated, np.random.default_rng(7))

    assert first == again
    assert first.low is not None
    assert first.high is not None
    # Unpaired, the spread of difficulty (3) would drown a gap of 0.2; paired, its interval is about ±0.01.
    assert 0.18 < first.low < 0.2 < first.high < 0.22


def test_the_bootstrap_covers_the_true_gap_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        gaps = rng.normal(0.1, 1.0, size=128)
        measured = mean_gap("g", np.zeros(128), gaps, np.random.default_rng(trial))
        assert measured.low is not None
        assert measured.high is not None
        hits += measured.low <= 0.1 <= measured.high
    # 95 % of 200 is 190; a binomial leaves [178, 199] with probability under 1e-4.
    assert 178 <= hits <= 199
