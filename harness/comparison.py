"""How two checkpoints differ on the same examples: differences B minus A, with intervals that know of the pairing.

An example that is hard for one checkpoint is hard for the next, so that most of the spread of their losses cancels: a
paired interval of the difference is several times narrower than two intervals beside each other suggest.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtr, ndtri, stdtrit

from harness.results import Measurement

RESAMPLES = 10_000
Interval = tuple[float, float]
_UNKNOWN = (-math.inf, math.inf)


@dataclass(frozen=True)
class PairedLosses:
    """One condition's losses under two checkpoints, (N,) nats per token each, in the order of the examples.

    Attributes:
        correct_a, ablated_a: of checkpoint A; `correct` is under the example's own prompt or media.
        correct_b, ablated_b: of checkpoint B.
        clusters: (N,) keys; examples with one key share media and are no independent items.
    """

    correct_a: np.ndarray
    ablated_a: np.ndarray
    correct_b: np.ndarray
    ablated_b: np.ndarray
    clusters: np.ndarray

    @property
    def n_clusters(self) -> int:
        """How many independent items there are."""
        return len(np.unique(self.clusters))


@dataclass(frozen=True)
class Difference:
    """B minus A, with an interval for each confidence level that was asked for."""

    value: float
    intervals: tuple[Interval, ...]


def resamples(n: int, rng: np.random.Generator) -> np.ndarray:
    """(R, n) how often each of n items is drawn in each of R resamples; one serves many figures of the same items."""
    drawn = rng.integers(0, n, (RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float64)


def paired_differences(losses: PairedLosses, weights: np.ndarray, levels: tuple[float, ...]) -> dict[str, Difference]:
    """Differences of the own loss (`loss`), of Δ (`delta`) and of Δ in percent of the own loss (`delta_pct`).

    Args:
        losses: all finite.
        weights: `resamples` of as many items as there are clusters.
        levels: confidence levels.

    Intervals: percentile bootstrap over clusters, expanded as in `harness.statistics.bootstrap_ratio`.
    """
    gap_a, gap_b = losses.ablated_a - losses.correct_a, losses.ablated_b - losses.correct_b
    columns = np.stack([np.ones(len(gap_a)), losses.correct_a, losses.correct_b, gap_a, gap_b], axis=1)
    _, inverse = np.unique(losses.clusters, return_inverse=True)
    sums = np.zeros((losses.n_clusters, columns.shape[1]))
    np.add.at(sums, inverse, columns)
    whole, drawn = _figures(sums.sum(0)[None]), _figures(weights @ sums)
    return {
        name: Difference(float(whole[name][0]), tuple(_percentiles(drawn[name], len(sums), each) for each in levels))
        for name in whole
    }


def _figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Differences of means and of ratios, from sums (R, 5) of: ones, own loss of A and B, gap of A and B."""
    n, own_a, own_b, gap_a, gap_b = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pct = 100 * (gap_b / own_b - gap_a / own_a)
    return {"loss": (own_b - own_a) / n, "delta": (gap_b - gap_a) / n, "delta_pct": pct}


def _percentiles(drawn: np.ndarray, n: int, level: float) -> Interval:
    if n < 2 or not np.isfinite(drawn).all():
        return _UNKNOWN
    tail = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def win_rate_difference(losses: PairedLosses, levels: tuple[float, ...]) -> Difference:
    """The difference of win rates, with the paired score interval; where examples share media, on so many fewer.

    Source of the interval: Newcombe 1998, Improved confidence intervals for the difference between binomial proportions
    based on paired data, Statistics in Medicine 17(22), 2635-2650, method 10. A bootstrap would call the difference of
    two perfect win rates exactly 0.
    """
    wins_a, wins_b = losses.correct_a < losses.ablated_a, losses.correct_b < losses.ablated_b
    share = losses.n_clusters / len(wins_a)
    both, only_a, only_b = ((wins_a & wins_b).sum(), (wins_a & ~wins_b).sum(), (~wins_a & wins_b).sum())
    cells = np.array([both, only_a, only_b, len(wins_a) - both - only_a - only_b]) * share
    value = float(wins_b.mean() - wins_a.mean())
    return Difference(value, tuple(_newcombe(cells, level) for level in levels))


def _newcombe(cells: np.ndarray, level: float) -> Interval:
    both, only_a, only_b, neither = (float(each) for each in cells)
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = _wilson(p_a, n, level), _wilson(p_b, n, level)
    phi = _correlation(both, only_a, only_b, neither)
    below = _combined(p_b - low_b, high_a - p_a, phi)
    above = _combined(high_b - p_b, p_a - low_a, phi)
    return p_b - p_a - below, p_b - p_a + above


def _combined(one: float, other: float, phi: float) -> float:
    """√(x² - 2φxy + y²)"""
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _correlation(both: float, only_a: float, only_b: float, neither: float) -> float:
    """Phi of the two by two table, with Newcombe's continuity correction; 0 where a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins <= 0:
        return 0.0
    product = both * neither - only_a * only_b
    corrected = max(product - (both + only_a + only_b + neither) / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(margins)


def _wilson(share: float, n: float, level: float) -> Interval:
    """The score interval of Wilson 1927 for a share of n items."""
    z = float(ndtri((1 + level) / 2))
    centre, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mcnemar(losses: PairedLosses) -> float:
    """p of the exact test that both checkpoints win on equally many examples: McNemar 1947, binomial, two-sided."""
    wins_a, wins_b = losses.correct_a < losses.ablated_a, losses.correct_b < losses.ablated_b
    only_a, only_b = int((wins_a & ~wins_b).sum()), int((~wins_a & wins_b).sum())
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def unpaired_difference(a: Measurement, b: Measurement, levels: tuple[float, ...]) -> Difference | None:
    """The difference of two figures known only by their 95 % intervals; None where one has no interval.

    Too wide where both rest on the same examples, never too narrow there. Source: Zou and Donner 2008, Construction of
    confidence limits about effect measures, Statistics in Medicine 27(10), 1693-1702 (MOVER); for other levels the
    intervals are stretched as a normal distribution's.
    """
    known = (a.value, a.low, a.high, b.value, b.low, b.high)
    if any(each is None or not math.isfinite(each) for each in known):
        return None
    value_a, low_a, high_a, value_b, low_b, high_b = (float(each) for each in known if each is not None)
    difference, intervals = value_b - value_a, []
    for level in levels:
        stretch = float(ndtri((1 + level) / 2) / ndtri(0.975))
        below = stretch * math.hypot(value_b - low_b, high_a - value_a)
        above = stretch * math.hypot(high_b - value_b, value_a - low_a)
        intervals.append((difference - below, difference + above))
    return Difference(difference, tuple(intervals))
