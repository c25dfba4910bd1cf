"""Figures of a curve, to the digit: how many lines make a level, what is usual, which z-score is how rare."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.dynamics import HUGE, MAX_SCORE, dips, jumps, levels, longest_equal, noise, positive, score, scores, spikes
from harness.train_log_merge import Series
from tests.curves import curve

MEDIAN_ERROR = math.sqrt(math.pi / 2)  # of a median over that of a mean, normal noise


# ---------------------------------------------------------------------- noise, scores


def test_noise_is_the_robust_deviation_of_a_single_line() -> None:
    values = np.exp(np.random.default_rng(1).normal(size=301))

    differences = stats.median_abs_deviation(np.diff(np.log(values)), scale="normal")
    assert noise(values, 0.02) == pytest.approx(differences / math.sqrt(2), rel=1e-4)
    assert noise(values, 5.0) == 5.0
    assert noise(values[:1], 0.02) == 0.02


def test_noise_is_around_the_trend_and_not_around_none() -> None:
    assert noise(np.exp(np.arange(9.0)), 0.01) == 0.01


@pytest.mark.parametrize("n", [4, 12, 1000])
@pytest.mark.parametrize("ratio", [0.5, 3.0, 6.0])
def test_a_score_is_as_rare_as_the_ratio(n: int, ratio: float) -> None:
    assert score(ratio, n) == pytest.approx(stats.norm.isf(stats.t.sf(ratio, n - 2)), rel=1e-9)


def test_scores_have_bounds() -> None:
    assert scores(np.array([-3.0, 0.0]), 20).tolist() == [0.0, 0.0]
    assert score(1e9, 10_000) == MAX_SCORE == 37
    # Of fewer than three lines nothing is known but what one degree of freedom allows.
    assert score(6.0, 1) == score(6.0, 2) == score(6.0, 3) == pytest.approx(stats.norm.isf(stats.t.sf(6.0, 1)))


def test_what_a_loss_can_be() -> None:
    kept = positive(curve([0.0, 5e-324, math.nextafter(HUGE, 0), HUGE, math.nan, -1.0]))

    assert kept.values.tolist() == [5e-324, math.nextafter(HUGE, 0)]
    assert kept.steps.tolist() == [2, 3]
    assert HUGE == 1e300


# ---------------------------------------------------------------------- levels


@pytest.mark.parametrize(
    ("n", "floor", "width"),
    [
        pytest.param(40, 0.02, 5, id="five-lines"),
        pytest.param(59, 0.02, 5, id="still-five"),
        pytest.param(100, 0.02, 10, id="a-tenth-of-all"),
        pytest.param(8, 0.02, 2, id="a-quarter-at-most"),
        pytest.param(3, 0.02, 1, id="one-at-least"),
        pytest.param(200, 0.2, 26, id="more-of-noisy-ones"),
        pytest.param(60, 0.2, 15, id="a-quarter-of-noisy-ones"),
    ],
)
def test_the_end_is_the_median_of_so_many_lines(n: int, floor: float, width: int) -> None:
    values = np.linspace(9, 8, n) ** 2

    found = levels(curve(values), floor)

    assert found.end == np.median(values[-width:])
    assert found.best == found.end
    assert found.best_step == n


def test_the_best_is_of_lines_in_a_row_counted_from_the_end() -> None:
    values = np.full(40, 4.0)
    values[15:20] = [3.0, 2.0, 2.0, 2.0, 1.0]
    values[25] = 0.1  # one line alone is no level

    found = levels(curve(values), 0.02)

    assert (found.best, found.best_step, found.end) == (2.0, 20, 4.0)
    assert found.rise == 1.0
    sigma = MEDIAN_ERROR * noise(values, 0.02)
    assert found.rise_score == pytest.approx(score(math.log(2) / (sigma * math.sqrt(2 / 5)), 40), rel=1e-3)


def test_a_rise_within_the_noise_is_no_clear_one() -> None:
    values = np.full(40, 1.0)
    values[:35] *= 0.98

    found = levels(curve(values), 0.05)

    sigma = MEDIAN_ERROR * 0.05
    assert 0 < found.rise_score < 2
    assert found.rise_score == pytest.approx(score(-math.log(0.98) / (sigma * math.sqrt(2 / 5)), 40), rel=1e-3)


def test_the_start_is_of_so_many_lines_that_the_fall_is_clearest() -> None:
    at_once, late = np.full(40, 1.0), np.full(40, 1.0)
    at_once[:5], late[:10] = 2.0, 2.0

    of_five, of_ten = levels(curve(at_once), 0.02), levels(curve(late), 0.02)

    assert (of_five.start, of_ten.start, of_five.end) == (2.0, 2.0, 1.0)
    assert of_five.fall == of_ten.fall == 0.5
    sigma = MEDIAN_ERROR * 0.02
    assert of_five.fall_error == pytest.approx(sigma * math.sqrt(1 / 5 + 1 / 5), rel=1e-3)
    assert of_ten.fall_error == pytest.approx(sigma * math.sqrt(1 / 10 + 1 / 5), rel=1e-3)
    assert of_ten.fall_score == pytest.approx(math.log(2) / of_ten.fall_error, rel=1e-9)
    assert levels(curve(late / 10), 0.02).fall_error == pytest.approx(of_ten.fall_error)


def test_the_start_is_of_a_quarter_of_the_lines_at_most() -> None:
    values = np.full(40, 1.0)
    values[:30] = 2.0

    assert levels(curve(values), 0.02).fall_error == pytest.approx(
        MEDIAN_ERROR * 0.02 * math.sqrt(1 / 10 + 1 / 5), rel=1e-3
    )


def test_of_many_lines_the_start_may_be_a_quarter() -> None:
    values = np.full(160, 1.0)
    values[:40] = 2.0

    # 5, 10, 20 and 40 lines are tried.
    error = MEDIAN_ERROR * 0.02 * math.sqrt(1 / 40 + 1 / 16)
    assert levels(curve(values), 0.02).fall_error == pytest.approx(error, rel=1e-3)


def test_a_slow_fall_in_noise_is_told_by_the_order_of_its_lines() -> None:
    rng = np.random.default_rng(2)
    values = np.round(np.exp(0.5 * rng.normal(size=60) - np.linspace(0, 1, 60)), 1) + 0.1  # with ties

    expected = -stats.spearmanr(np.arange(60), values).statistic * math.sqrt(59)
    found = levels(curve(values), 3.0)  # so much noise that start and end say little

    assert found.fall_score == pytest.approx(expected, rel=1e-9)
    assert levels(curve(np.full(60, 2.0)), 3.0).fall_score == 0
    assert levels(curve([3.0, 2.0]), 3.0).fall_score < 0.5
    assert levels(curve([2.0, 3.0]), 3.0).fall_score == 0
    two_levels = np.repeat([2.0, 1.0], [30, 10])
    expected = -stats.spearmanr(np.arange(40), two_levels).statistic * math.sqrt(39)
    assert levels(curve(two_levels), 3.0).fall_score == pytest.approx(expected)
    assert levels(curve([3.0, 2.0, 1.0]), 300.0).fall_score == pytest.approx(math.sqrt(2))


# ---------------------------------------------------------------------- lines that stand out


def standing_out(logs: list[float]) -> np.ndarray:
    return spikes(np.exp(np.array(logs)), 1.0)


def as_score(above: float, n: int) -> float:
    """Of a line so many times the noise above a median of five."""
    return score(above / math.sqrt(1 + math.pi / 2 / 5), n)


def test_a_line_is_held_against_the_higher_side() -> None:
    higher_before = [3.0] * 6 + [6.0] + [0.0] * 6

    assert standing_out(higher_before)[6] == pytest.approx(as_score(3.0, 13), rel=1e-3)
    assert standing_out([0.0] * 6 + [6.0] + [2.0] * 6)[6] == pytest.approx(as_score(4.0, 13), rel=1e-3)
    assert standing_out([0.0] * 4 + [6.0] + [2.0] * 8)[4] == pytest.approx(as_score(4.0, 13), rel=1e-3)
    assert standing_out([0.0] * 8 + [4.0, 3.0])[8] == pytest.approx(as_score(1.0, 10), rel=1e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_the_neighbours_are_five(turned: bool) -> None:
    side = [0.0, 4.0, 4.0, 4.0, 0.0, 0.0]  # the median of the nearest five is 4, of four or six it is 2
    logs = [*side, 7.0, *([0.0] * 6)]

    found = standing_out(logs[::-1] if turned else logs)

    assert found[6] == pytest.approx(as_score(3.0, 13), rel=1e-3)


def test_the_first_line_has_no_score_and_the_last_is_held_against_those_before() -> None:
    assert standing_out([9.0] + [0.0] * 8)[0] == 0
    assert standing_out([0.0] * 8 + [4.0])[8] == pytest.approx(as_score(4.0, 9), rel=1e-3)
    assert standing_out([0.0, 4.0] + [0.0] * 8)[1] == pytest.approx(as_score(4.0, 10), rel=1e-3)


def test_a_dip_is_a_spike_turned_over() -> None:
    logs = np.array([0.0] * 6 + [-5.0] + [0.0] * 6)

    assert dips(np.exp(logs), 1.0)[6] == pytest.approx(as_score(5.0, 13), rel=1e-3)
    assert spikes(np.exp(logs), 1.0).max() == 0


def at_equal_distances(logs: list[float]) -> Series:
    """Steps whose logarithms are (nearly) equally far apart."""
    steps = np.round(1000 * np.exp(np.arange(len(logs)))).astype(np.int64)
    return Series(steps, np.exp(np.array(logs)))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_jump_is_measured_in_noise(sign: int) -> None:
    found = jumps(at_equal_distances([0.0] * 6 + [sign * 0.5] * 6), 0.1)

    assert len(found) == 11
    assert found[5] == pytest.approx(sign * score(5.0, 12), rel=1e-9)
    assert np.delete(found, 5).tolist() == [0.0] * 10


def test_a_jump_stands_out_from_the_usual_growth() -> None:
    logs = [0.2 * i + 0.5 * (i >= 6) for i in range(12)]

    found = jumps(at_equal_distances(logs), 0.1)

    assert found[5] == pytest.approx(score(5.0, 12), rel=1e-2)
    assert np.abs(np.delete(found, 5)).max() < 0.1


def test_growth_that_sets_in_and_goes_on_is_no_jump() -> None:
    growing = [*([0.0] * 4), *(0.2 * i for i in range(1, 10))]
    assert np.abs(jumps(at_equal_distances(growing), 0.05)).max() < 0.1
    late = [*([0.0] * 12), *(0.2 * i for i in range(1, 6))]
    assert np.abs(jumps(at_equal_distances(late), 0.05)).max() < 0.1


def test_lines_that_come_more_seldom_may_change_by_more() -> None:
    steps = np.array([8, 9, 10, 11, 12, 13, 14, 28, 56, 112])

    assert np.abs(jumps(Series(steps, np.exp(0.1 * np.log1p(steps))), 0.001)).max() < 0.1


def test_the_first_change_has_no_score() -> None:
    assert jumps(at_equal_distances([0.0] + [2.0] * 8), 0.1).tolist() == [0.0] * 8
    assert jumps(at_equal_distances([0.0, 0.0] + [2.0] * 8), 0.1)[1] == pytest.approx(score(20.0, 10))


def test_twice_the_distance_may_change_by_twice_as_much() -> None:
    steps = np.array([10, 100, 1_000, 10_000, 1_000_000, 10_000_000, 100_000_000])
    growing = Series(steps, np.log1p(steps))
    straight = Series(steps, np.exp(0.1 * np.log1p(steps)))

    assert np.abs(jumps(straight, 0.01)).max() < 1e-6
    assert np.abs(jumps(growing, 0.5)).max() < 1


def test_steps_too_large_to_be_told_apart_have_figures() -> None:
    steps = 2**53 + np.arange(6)

    assert np.isfinite(jumps(Series(steps, np.exp(np.arange(6.0))), 0.1)).all()


@pytest.mark.parametrize(
    ("values", "run"),
    [([1.0, 2, 2, 3, 3], (1, 2)), ([4.0, 4, 4], (0, 3)), ([1.0, 2, 3, 3], (2, 2)), ([5.0], (0, 1))],
)
def test_the_longest_run_is_the_first_of_its_length(values: list[float], run: tuple[int, int]) -> None:
    assert longest_equal(np.array(values)) == run
