"""Differences of two checkpoints on the same examples: their intervals hold what they promise, and know of the pairing.

Expected values are of formulas written out here, of statsmodels, or of simulation with a known truth.
"""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from harness.comparison import (
    Difference,
    PairedLosses,
    mcnemar,
    paired_differences,
    resamples,
    unpaired_difference,
    win_rate_difference,
)
from harness.results import Measurement

LEVELS = (0.95, 0.999)
N = 256


def drawn(
    rng: np.random.Generator, n: int = N, better: float = 0.0, clusters: np.ndarray | None = None
) -> PairedLosses:
    """Examples that are hard for both; B's Δ is larger by `better`."""
    hard, gap = rng.normal(4, 1, n), rng.normal(0.5, 0.4, n)
    correct_a, correct_b = hard + rng.normal(0, 0.05, n), hard + rng.normal(0, 0.05, n)
    return PairedLosses(
        correct_a, correct_a + gap + rng.normal(0, 0.05, n),
        correct_b, correct_b + gap + better + rng.normal(0, 0.05, n),
        np.arange(n) if clusters is None else clusters,
    )  # fmt: skip


def of(losses: PairedLosses, levels: tuple[float, ...] = LEVELS) -> dict[str, Difference]:
    return paired_differences(losses, resamples(losses.n_clusters, np.random.default_rng(0)), levels)


def test_the_figures_are_the_plain_differences() -> None:
    losses = drawn(np.random.default_rng(1), better=0.1)
    gap_a, gap_b = losses.ablated_a - losses.correct_a, losses.ablated_b - losses.correct_b

    found = of(losses)

    assert found["delta"].value == pytest.approx(gap_b.mean() - gap_a.mean())
    assert found["loss"].value == pytest.approx(losses.correct_b.mean() - losses.correct_a.mean())
    pct = 100 * (gap_b.mean() / losses.correct_b.mean() - gap_a.mean() / losses.correct_a.mean())
    assert found["delta_pct"].value == pytest.approx(pct)


def test_a_checkpoint_does_not_differ_from_itself() -> None:
    one = drawn(np.random.default_rng(1))
    same = PairedLosses(one.correct_a, one.ablated_a, one.correct_a, one.ablated_a, one.clusters)

    for difference in of(same).values():
        assert difference.value == 0
        assert difference.intervals == ((0, 0), (0, 0))
    assert win_rate_difference(same, LEVELS).value == 0
    assert mcnemar(same) == 1


def test_the_other_way_round_is_the_negative() -> None:
    one = drawn(np.random.default_rng(2), better=0.05)
    back = PairedLosses(one.correct_b, one.ablated_b, one.correct_a, one.ablated_a, one.clusters)

    for there, again in ((of(one)["delta"], of(back)["delta"]),
                         (win_rate_difference(one, LEVELS), win_rate_difference(back, LEVELS))):  # fmt: skip
        assert again.value == pytest.approx(-there.value)
        assert again.intervals[0] == pytest.approx((-there.intervals[0][1], -there.intervals[0][0]), abs=1e-3)


def test_pairing_finds_what_two_intervals_beside_each_other_hide() -> None:
    losses = drawn(np.random.default_rng(3), better=0.03)
    gaps = [losses.ablated_a - losses.correct_a, losses.ablated_b - losses.correct_b]
    halves = [1.96 * gap.std(ddof=1) / np.sqrt(N) for gap in gaps]

    a, b = (
        Measurement(name="d", value=mean, unit="nats/token", n=N, low=mean - half, high=mean + half)
        for mean, half in zip([float(gap.mean()) for gap in gaps], halves, strict=True)
    )  # fmt: skip
    unpaired = unpaired_difference(a, b, LEVELS)

    assert unpaired is not None
    assert unpaired.intervals[0][0] < 0 < of(losses)["delta"].intervals[0][0]


@pytest.mark.parametrize("better", [0.0, 0.05])
def test_nineteen_of_twenty_paired_intervals_hold_the_truth(better: float) -> None:
    rng = np.random.default_rng(4)
    weights = resamples(100, rng)
    held = 0
    for _ in range(400):
        low, high = paired_differences(drawn(rng, 100, better), weights, (0.95,))["delta"].intervals[0]
        held += low <= better <= high

    assert 0.925 <= held / 400 <= 0.98  # a binomial of 400 at 0.95 leaves this range once in some hundred


@pytest.mark.parametrize(("p_a", "p_b", "agreement"), [(0.7, 0.7, 0.8), (0.95, 0.9, 0.3), (0.99, 0.99, 0.9)], ids=str)
def test_nineteen_of_twenty_win_rate_intervals_hold_the_truth(p_a: float, p_b: float, agreement: float) -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(1_000):
        same = rng.random(N) < agreement  # whether both hang on one draw
        one, other = rng.random(N), rng.random(N)
        wins_a, wins_b = one < p_a, np.where(same, one, other) < p_b
        low, high = win_rate_difference(_wins(wins_a, wins_b), (0.95,)).intervals[0]
        held += low <= p_b - p_a <= high

    assert held / 1_000 >= 0.93


def _wins(wins_a: np.ndarray, wins_b: np.ndarray, clusters: np.ndarray | None = None) -> PairedLosses:
    zero = np.zeros(len(wins_a))
    clusters = np.arange(len(wins_a)) if clusters is None else clusters
    return PairedLosses(zero, np.where(wins_a, 1.0, -1.0), zero, np.where(wins_b, 1.0, -1.0), clusters)


def test_two_perfect_win_rates_are_not_known_to_be_equal() -> None:
    wins = np.ones(N, dtype=bool)

    low, high = win_rate_difference(_wins(wins, wins), (0.95,)).intervals[0]

    assert low == pytest.approx(-0.0148, abs=1e-4)  # Wilson's bound of 256 of 256
    assert high == pytest.approx(0.0148, abs=1e-4)


def test_examples_that_share_media_widen_the_intervals() -> None:
    rng = np.random.default_rng(6)
    half = drawn(rng, 128)
    fields = (half.correct_a, half.ablated_a, half.correct_b, half.ablated_b, half.clusters)
    twice = PairedLosses(*(np.tile(each, 2) for each in fields))

    assert of(twice)["delta"].intervals[0] == pytest.approx(of(half)["delta"].intervals[0])
    for one, other in zip(*(win_rate_difference(each, LEVELS).intervals for each in (twice, half)), strict=True):
        assert one == pytest.approx(other)


def test_one_independent_item_says_nothing() -> None:
    one = drawn(np.random.default_rng(7), 4, clusters=np.zeros(4, dtype=int))

    assert of(one)["delta"].intervals[0] == (-np.inf, np.inf)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (5, 0), (3, 4), (12, 4), (40, 90)], ids=str)
def test_mcnemar_is_statsmodels(only_a: int, only_b: int) -> None:
    both, neither = 20, 10
    wins_a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    wins_b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])

    expected = statsmodels_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue

    assert mcnemar(_wins(wins_a, wins_b)) == pytest.approx(expected)


def test_a_figure_without_an_interval_has_no_difference_of_one() -> None:
    known = Measurement(name="x", value=0.5, unit="share", n=9, low=0.4, high=0.6)

    for bad in (known.model_copy(update={"low": None}), known.model_copy(update={"value": float("nan")})):
        assert unpaired_difference(known, bad, LEVELS) is None
        assert unpaired_difference(bad, known, LEVELS) is None


def test_a_higher_level_is_a_wider_interval() -> None:
    losses = drawn(np.random.default_rng(8))
    known = Measurement(name="x", value=0.5, unit="share", n=9, low=0.4, high=0.6)

    for difference in (
        *of(losses).values(),
        win_rate_difference(losses, LEVELS),
        unpaired_difference(known, known, LEVELS),
    ):
        assert difference is not None
        narrow, wide = difference.intervals
        assert wide[0] < narrow[0] <= narrow[1] < wide[1]


def _cells(both: int, only_a: int, only_b: int, neither: int, clusters: int | None = None) -> PairedLosses:
    counts = [both, only_a, only_b, neither]
    wins_a, wins_b = np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)
    return _wins(wins_a, wins_b, None if clusters is None else np.arange(len(wins_a)) % clusters)


def _newcombe(both: float, only_a: float, only_b: float, neither: float) -> tuple[float, float]:
    """Method 10 as the paper writes it, with Wilson's intervals of statsmodels."""
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (l_a, u_a), (l_b, u_b) = (proportion_confint(p * n, n, 0.05, method="wilson") for p in (p_a, p_b))
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = both * neither - only_a * only_b
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = cross / math.sqrt(margins) if margins else 0.0
    below = math.sqrt((p_b - l_b) ** 2 - 2 * phi * (p_b - l_b) * (u_a - p_a) + (u_a - p_a) ** 2)
    above = math.sqrt((u_b - p_b) ** 2 - 2 * phi * (u_b - p_b) * (p_a - l_a) + (p_a - l_a) ** 2)
    return p_b - p_a - below, p_b - p_a + above


@pytest.mark.parametrize(
    "cells",
    [(20, 5, 3, 10), (40, 2, 9, 30), (3, 12, 10, 2), (0, 1, 1, 0), (10, 2, 0, 0), (10, 0, 4, 0), (0, 3, 0, 9),
     (0, 0, 2, 7), (6, 3, 3, 2), (2, 1, 0, 1), (1, 0, 0, 1)],
    ids=str,
)  # fmt: skip
def test_the_win_rate_interval_is_newcombes_tenth(cells: tuple[int, int, int, int]) -> None:
    found = win_rate_difference(_cells(*cells), (0.95,))

    assert found.value == pytest.approx((cells[2] - cells[1]) / sum(cells))
    assert found.intervals[0] == pytest.approx(_newcombe(*cells), abs=1e-9)


def test_the_win_rate_interval_counts_media() -> None:
    found = win_rate_difference(_cells(20, 6, 4, 10, clusters=10), (0.95,))

    assert found.intervals[0] == pytest.approx(_newcombe(5, 1.5, 1, 2.5), abs=1e-9)


def test_a_small_negative_correlation_is_not_corrected_away() -> None:
    found = win_rate_difference(_cells(4, 3, 3, 2, clusters=3), (0.95,))

    assert found.intervals[0] == pytest.approx(_newcombe(1, 0.75, 0.75, 0.5), abs=1e-9)


def test_a_tie_is_no_win_to_either() -> None:
    one, two = np.ones(6), np.full(6, 2.0)
    ties_a, ties_b = PairedLosses(one, one, one, two, np.arange(6)), PairedLosses(one, two, one, one, np.arange(6))

    assert win_rate_difference(ties_a, (0.95,)).value == 1
    assert win_rate_difference(ties_b, (0.95,)).value == -1
    assert mcnemar(ties_a) == mcnemar(ties_b) == pytest.approx(2 * 0.5**6)


def test_the_same_number_of_wins_either_way_is_no_difference_at_all() -> None:
    assert mcnemar(_cells(5, 3, 3, 5)) == mcnemar(_cells(5, 1, 0, 5)) == mcnemar(_cells(5, 0, 0, 5)) == 1


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_percentiles_are_those_of_so_few_items(n: int) -> None:
    losses = drawn(np.random.default_rng(11), n)
    weights = resamples(n, np.random.default_rng(12))
    change = (losses.ablated_b - losses.correct_b) - (losses.ablated_a - losses.correct_a)

    low, high = paired_differences(losses, weights, (0.9,))["delta"].intervals[0]

    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.95, n - 1))
    assert (low, high) == pytest.approx(tuple(np.quantile(weights @ change / n, [tail, 1 - tail])))
    assert weights.shape == (10_000, n)
    assert (weights.sum(1) == n).all()


def test_figures_known_by_their_intervals_alone_have_a_difference_that_is_not_symmetric() -> None:
    a = Measurement(name="x", value=0.5, unit="share", n=9, low=0.4, high=0.65)
    b = Measurement(name="x", value=0.7, unit="share", n=9, low=0.5, high=0.75)

    found = unpaired_difference(a, b, LEVELS)

    assert found is not None
    assert found.value == pytest.approx(0.2)
    for level, interval in zip(LEVELS, found.intervals, strict=True):
        stretch = stats.norm.ppf((1 + level) / 2) / stats.norm.ppf(0.975)
        below, above = stretch * math.hypot(0.2, 0.15), stretch * math.hypot(0.05, 0.1)
        assert interval == pytest.approx((0.2 - below, 0.2 + above))
