"""Win rates and gaps: strictness, intervals with and without clusters, NaN. Oracles: scipy and statsmodels."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.statistics import (
    BOOTSTRAP_RESAMPLES,
    Paired,
    bootstrap_ratio,
    effective_n,
    exact_interval,
    mean_gap,
    proportion,
    relative_gap,
    resamples,
    win_rate,
)

TRIALS = 200
# 95 % of 200 trials is 190; a binomial leaves [178, 199] with probability under 1e-4. The seeds are fixed all the same.
COVERED = range(178, 201)


def paired(correct: np.ndarray, ablated: np.ndarray, clusters: np.ndarray | None = None) -> Paired:
    """Losses of examples that are all independent, unless clusters are given."""
    n = len(correct)
    return Paired(correct, ablated, np.arange(n) if clusters is None else clusters, np.full(n, "here"))


def ends(measured: object) -> tuple[float, float]:
    low, high = getattr(measured, "low", None), getattr(measured, "high", None)
    assert low is not None
    assert high is not None
    return low, high


def clustered_gaps(rng: np.random.Generator, n_clusters: int, mean: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Gaps that have much in common within a cluster, (N,), and their clusters, (N,), of 1 to 7 examples each."""
    clusters = np.repeat(np.arange(n_clusters), rng.integers(1, 8, size=n_clusters))
    return mean + rng.normal(0, 1, n_clusters)[clusters] + rng.normal(0, 0.5, len(clusters)), clusters


# ---------------------------------------------------------------- win rate


def test_a_tie_is_no_win() -> None:
    same = np.ones(10)

    assert win_rate("w", paired(same, same)).value == 0


@pytest.mark.parametrize("wins", [0, 1, 192, 255, 256])
def test_the_interval_is_clopper_and_pearsons(wins: int) -> None:
    n = 256
    measured = win_rate("w", paired(np.zeros(n), np.where(np.arange(n) < wins, 1.0, -1.0)))

    expected = stats.binomtest(wins, n).proportion_ci(0.95, method="exact")
    assert measured.value == wins / n
    assert ends(measured) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_another_level_makes_a_wider_interval() -> None:
    measured = win_rate("w", paired(np.zeros(100), np.r_[np.ones(70), -np.ones(30)]), level=1 - 0.05 / 3)

    expected = stats.binomtest(70, 100).proportion_ci(1 - 0.05 / 3, method="exact")
    assert ends(measured) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_copies_of_an_example_add_nothing() -> None:
    rng = np.random.default_rng(3)
    losses, clusters = rng.normal(0.3, 1, size=64), np.arange(64)
    once = win_rate("w", paired(np.zeros(64), losses))

    four_times = win_rate("w", paired(np.zeros(256), np.tile(losses, 4), np.tile(clusters, 4)))

    assert four_times.n == 256
    low, high = ends(once)
    # A little wider, by the degrees of freedom: what is known is what 64 examples tell.
    assert ends(four_times) == pytest.approx((low, high), abs=0.01)
    assert ends(four_times)[0] < low < high < ends(four_times)[1]


def test_the_effective_number_is_that_of_a_cluster_robust_regression() -> None:
    gaps, clusters = clustered_gaps(np.random.default_rng(4), 60)
    wins, n, g = gaps > 0, len(gaps), 60

    fit = sm.OLS(wins.astype(float), np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    share = wins.mean()
    freedom = (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, g - 1)) ** 2
    expected = share * (1 - share) / fit.bse[0] ** 2 * freedom

    assert effective_n(wins, clusters, 0.95) == pytest.approx(expected, rel=1e-9)
    assert expected < 0.6 * n
    beta = proportion_confint(share * expected, expected, 0.05, method="beta")
    assert ends(win_rate("w", paired(np.zeros(n), gaps, clusters))) == pytest.approx(beta, abs=1e-9)


@pytest.mark.parametrize("won", [True, False], ids=["all", "none"])
def test_where_all_or_none_win_the_clusters_count(won: bool) -> None:
    wins, clusters = np.full(120, won), np.repeat(np.arange(10), 12)

    assert effective_n(wins, clusters, 0.95) == 10
    assert exact_interval(float(won), 10, 0.95) == pytest.approx(
        stats.binomtest(10 * won, 10).proportion_ci(0.95, method="exact"), abs=1e-12
    )


def test_one_cluster_is_one_example() -> None:
    low, high = ends(win_rate("w", paired(np.zeros(50), np.r_[np.ones(40), -np.ones(10)], np.zeros(50))))

    assert high - low > 0.7


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_clusters_never_make_more_of_the_examples(drawn: list[tuple[bool, int]]) -> None:
    wins, clusters = np.array([won for won, _ in drawn]), np.array([key for _, key in drawn])

    found = effective_n(wins, clusters, 0.95)

    assert 0 < found <= len(wins)
    low, high = exact_interval(wins.mean(), found, 0.95)
    assert 0 <= low <= wins.mean() <= high <= 1


def test_the_clustered_win_rate_covers_the_truth_and_the_plain_one_does_not() -> None:
    rng, truth = np.random.default_rng(5), stats.norm.cdf(0.1 / np.sqrt(1.25))
    clustered = plain = 0
    for _ in range(TRIALS):
        gaps, clusters = clustered_gaps(rng, 50)
        pair = paired(np.zeros(len(gaps)), gaps, clusters)
        low, high = ends(win_rate("w", pair))
        clustered += low <= truth <= high
        low, high = ends(win_rate("w", replace(pair, clusters=np.arange(len(gaps)))))
        plain += low <= truth <= high

    assert clustered in COVERED
    assert plain not in COVERED


def test_a_tie_is_no_win_to_the_clusters_either() -> None:
    rng = np.random.default_rng(9)
    clusters = np.repeat(np.arange(20), 5)
    gaps = rng.integers(-1, 2, size=100) + rng.integers(0, 2, size=20)[clusters]  # many are 0

    effective = effective_n(gaps > 0, clusters, 0.95)
    expected = exact_interval((gaps > 0).mean(), effective, 0.95)

    assert ends(win_rate("w", paired(np.zeros(100), gaps, clusters))) == pytest.approx(expected)
    assert effective != pytest.approx(effective_n(gaps >= 0, clusters, 0.95))


def test_clusters_that_all_win_equally_often_take_nothing_from_the_examples() -> None:
    wins, clusters = np.tile([True, False], 10), np.repeat(np.arange(10), 2)

    assert effective_n(wins, clusters, 0.95) == 20


@pytest.mark.parametrize("scale", [1, 100])
def test_a_proportion_has_the_exact_interval_in_its_own_unit(scale: int) -> None:
    measured = proportion("p", 7, 40, unit="u", scale=scale)

    expected = stats.binomtest(7, 40).proportion_ci(0.95, method="exact")
    assert (measured.value, measured.unit, measured.n) == (pytest.approx(scale * 7 / 40), "u", 40)
    assert ends(measured) == pytest.approx((scale * expected.low, scale * expected.high))


def test_a_proportion_of_nothing_is_no_number() -> None:
    measured = proportion("p", 0, 0)

    assert measured.value is not None
    assert np.isnan(measured.value)
    assert (measured.n, measured.low, measured.high) == (0, None, None)


# ---------------------------------------------------------------- gaps


def test_the_mean_gap_and_the_share_of_wins_of_pairs() -> None:
    pair = paired(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0]))

    assert (pair.mean_gap, pair.win_share) == (1.0, pytest.approx(2 / 3))
    for bad in (replace(pair, ablated=np.array([2.0, np.nan, 5.0])), pair.where(np.zeros(3, dtype=bool))):
        assert np.isnan(bad.mean_gap)
        assert np.isnan(bad.win_share)


def test_two_media_are_the_fewest_that_have_an_interval() -> None:
    rng = np.random.default_rng(0)
    gaps = np.array([1.0, 1.0, 3.0, 3.0])

    low, high = ends(mean_gap("g", paired(np.zeros(4), gaps, np.array([0, 0, 1, 1])), rng))
    assert (low, high) == (1.0, 3.0)
    assert ends(mean_gap("g", paired(np.zeros(4), gaps, np.zeros(4)), rng)) == (-np.inf, np.inf)


def test_the_gap_is_paired_and_reproducible() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(5, 3, size=400)
    pair = paired(difficulty, difficulty + rng.normal(0.2, 0.1, size=400))

    first = mean_gap("g", pair, np.random.default_rng(7))

    assert first == mean_gap("g", pair, np.random.default_rng(7))
    # Unpaired, the spread of difficulty (3) would drown a gap of 0.2; paired, its interval is about ±0.01.
    low, high = ends(first)
    assert 0.18 < low < 0.2 < high < 0.22


def test_without_clusters_it_is_scipys_percentile_bootstrap() -> None:
    gaps = np.random.default_rng(8).normal(0.1, 1, size=30)

    measured = mean_gap("g", paired(np.zeros(30), gaps), np.random.default_rng(9))

    tail = stats.norm.cdf(-np.sqrt(30 / 29) * stats.t.ppf(0.975, 29))
    expected = stats.bootstrap(
        (gaps,), np.mean, n_resamples=BOOTSTRAP_RESAMPLES, confidence_level=1 - 2 * tail, method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    assert ends(measured) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_keys_of_their_own_change_nothing() -> None:
    gaps = np.random.default_rng(10).normal(0.1, 1, size=64)
    named = np.array([f"media {i * 7 % 64}" for i in range(64)])

    measured = mean_gap("g", paired(np.zeros(64), gaps, named), np.random.default_rng(0))

    assert measured == mean_gap("g", paired(np.zeros(64), gaps), np.random.default_rng(0))


@pytest.mark.parametrize("n_clusters", [12, 60, 200])
def test_the_clustered_interval_is_that_of_a_cluster_robust_regression(n_clusters: int) -> None:
    gaps, clusters = clustered_gaps(np.random.default_rng(n_clusters), n_clusters)

    fit = sm.OLS(gaps, np.ones(len(gaps))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int()[0]
    measured = mean_gap("g", paired(np.zeros(len(gaps)), gaps, clusters), np.random.default_rng(0))

    # 5000 resamples place an end to about 2 % of the width; the rest is the skew that the regression leaves out.
    assert ends(measured) == pytest.approx((low, high), abs=0.08 * (high - low))


@pytest.mark.parametrize("n_clusters", [8, 50])
def test_the_bootstrap_covers_the_true_gap_as_often_as_it_says(n_clusters: int) -> None:
    rng, hits = np.random.default_rng(2), 0
    for trial in range(TRIALS):
        gaps, clusters = clustered_gaps(rng, n_clusters)
        low, high = ends(mean_gap("g", paired(np.zeros(len(gaps)), gaps, clusters), np.random.default_rng(trial)))
        hits += low <= 0.1 <= high

    assert hits in COVERED


def test_the_gap_in_percent_is_a_ratio_with_an_interval_of_its_own() -> None:
    rng = np.random.default_rng(11)
    correct = rng.uniform(1, 3, size=500)
    pair = paired(correct, 1.1 * correct)

    measured = relative_gap("p", pair, rng)

    assert measured.unit == "%"
    # Every loss is 10 % higher: the gaps vary with the losses, their ratio does not.
    assert (measured.value, *ends(measured)) == pytest.approx((10, 10, 10))


def test_one_independent_example_says_nothing_about_a_mean() -> None:
    measured = mean_gap("g", paired(np.zeros(9), np.ones(9), np.zeros(9)), np.random.default_rng(0))

    assert measured.value == 1
    assert ends(measured) == (-np.inf, np.inf)


# ---------------------------------------------------------------- nothing and NaN


@pytest.mark.parametrize("place", ["correct", "ablated"])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_one_nan_spoils_the_measurement(place: str, spoilt: float) -> None:
    losses = {"correct": np.full(8, 0.5), "ablated": np.ones(8)}
    losses[place][3] = spoilt
    pair, rng = paired(**losses), np.random.default_rng(0)

    for measured in (win_rate("w", pair), mean_gap("g", pair, rng), relative_gap("p", pair, rng)):
        assert np.isnan(measured.value or 0)
        assert (measured.low, measured.high) == (None, None)


def test_nothing_measured_is_nan_not_zero() -> None:
    empty = paired(np.empty(0), np.empty(0))

    assert np.isnan(win_rate("w", empty).value or 0)
    assert np.isnan(mean_gap("g", empty, np.random.default_rng(0)).value or 0)
    assert np.isnan(proportion("p", 0, 0).value or 0)


def test_sources_are_told_apart_in_the_order_of_their_names() -> None:
    pair = replace(paired(np.zeros(4), np.arange(4.0)), sources=np.array(["b", "a", "b", "a"]))

    assert {name: each.ablated.tolist() for name, each in pair.by_source().items()} == {"a": [1, 3], "b": [0, 2]}
    assert list(pair.by_source()) == ["a", "b"]


def test_bootstraps_take_fewer_resamples_only_meanwhile() -> None:
    def draw() -> tuple[float, float]:
        values = np.arange(20.0)
        return bootstrap_ratio(values, np.ones(20), values, np.random.default_rng(0), 0.95)

    whole = draw()
    with resamples(50):
        few = draw()

    assert few != whole
    assert draw() == whole
