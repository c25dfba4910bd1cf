"""Win rates and mean gaps of paired losses, with their intervals. Items are examples, never tokens.

Examples that share media are no independent items: they make a cluster, and intervals are those of the clusters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import betaincinv, ndtr, stdtrit

from harness.results import Measurement

CONFIDENCE_LEVEL = 0.95
BOOTSTRAP_RESAMPLES = 5_000
_resamples: ContextVar[int] = ContextVar("_resamples", default=BOOTSTRAP_RESAMPLES)
_UNKNOWN = (-np.inf, np.inf)  # the interval of what one independent item says about a mean


class Draws(Protocol):
    """Whoever has a generator for every purpose, such as a checkpoint, or a simulated one."""

    def rng(self, *purpose: str) -> np.random.Generator:
        """The generator for one purpose."""


@contextmanager
def resamples(n: int) -> Iterator[None]:
    """Take n resamples for every bootstrap meanwhile. For simulations, which judge thousands of times; no gate does."""
    token = _resamples.set(n)
    try:
        yield
    finally:
        _resamples.reset(token)


@dataclass(frozen=True)
class Paired:
    """The same examples under two conditions.

    Attributes:
        correct, ablated: (N,) losses, nats per token.
        clusters: (N,) keys; examples with one key share media and are no independent items.
        sources: (N,) where each example comes from.
    """

    correct: np.ndarray
    ablated: np.ndarray
    clusters: np.ndarray
    sources: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """(N,) ablated minus correct, nats per token."""
        return np.asarray(self.ablated, dtype=np.float64) - np.asarray(self.correct, dtype=np.float64)

    @property
    def measured(self) -> bool:
        """Whether there is an example, and every loss is a number."""
        return bool(len(self.correct) and np.isfinite(self.correct).all() and np.isfinite(self.ablated).all())

    @property
    def win_share(self) -> float:
        """Share of examples whose own condition has strictly the lower loss; NaN where a loss is none."""
        return float((self.correct < self.ablated).mean()) if self.measured else float("nan")

    @property
    def mean_gap(self) -> float:
        """Mean gap, nats per token; NaN where a loss is none."""
        return float(self.gaps.mean()) if self.measured else float("nan")

    def where(self, chosen: np.ndarray) -> "Paired":
        """The chosen examples alone; (N,) bool, or (M,) int."""
        return Paired(self.correct[chosen], self.ablated[chosen], self.clusters[chosen], self.sources[chosen])

    def by_source(self) -> "dict[str, Paired]":
        """The examples of every source alone, in the order of the sources' names."""
        return {str(source): self.where(self.sources == source) for source in np.unique(self.sources)}


def win_rate(name: str, paired: Paired, level: float = CONFIDENCE_LEVEL) -> Measurement:
    """Share of examples whose own condition has strictly the lower loss, with an exact binomial interval.

    Args:
        name: name of the measurement.
        paired: the losses. A NaN on either side makes the rate NaN.
        level: confidence level of the interval.

    Source of the interval: Clopper and Pearson 1934, on the effective number of examples where some share media.
    """
    n = len(paired.gaps)
    if not paired.measured:
        return Measurement(name=name, value=float("nan"), unit="share", n=n)
    share = paired.win_share
    effective = effective_n(paired.correct < paired.ablated, paired.clusters, level)
    low, high = exact_interval(share, effective, level)
    return Measurement(name=name, value=share, unit="share", n=n, low=low, high=high)


def mean_gap(name: str, paired: Paired, rng: np.random.Generator, level: float = CONFIDENCE_LEVEL) -> Measurement:
    """Mean of ablated minus correct loss, with a paired bootstrap interval.

    Args:
        name: name of the measurement.
        paired: the losses. A NaN on either side makes the gap NaN.
        rng: draws the resamples.
        level: confidence level of the interval.
    """
    return mean(name, paired.gaps, paired.clusters, "nats/token", rng, level)


def mean(
    name: str,
    values: np.ndarray,
    clusters: np.ndarray,
    unit: str,
    rng: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
) -> Measurement:
    """The mean of values (N,) of examples in clusters (N,), with a bootstrap interval; NaN where a value is none."""
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        return Measurement(name=name, value=float("nan"), unit=unit, n=n)
    low, high = bootstrap_ratio(values, np.ones(n), clusters, rng, level)
    return Measurement(name=name, value=float(values.mean()), unit=unit, n=n, low=low, high=high)


def relative_gap(name: str, paired: Paired, rng: np.random.Generator, level: float = CONFIDENCE_LEVEL) -> Measurement:
    """The mean gap in percent of the mean correct loss, with a paired bootstrap interval of that ratio.

    Args: as of `mean_gap`.
    """
    n = len(paired.gaps)
    if not paired.measured:
        return Measurement(name=name, value=float("nan"), unit="%", n=n)
    low, high = bootstrap_ratio(100 * paired.gaps, paired.correct, paired.clusters, rng, level)
    value = 100 * float(paired.gaps.sum() / paired.correct.sum())
    return Measurement(name=name, value=value, unit="%", n=n, low=low, high=high)


def proportion(name: str, hits: int, n: int, unit: str = "share", scale: float = 1.0) -> Measurement:
    """hits / n with its exact 95 % interval, times a scale (100 for a percentage). NaN when n is 0."""
    if n == 0:
        return Measurement(name=name, value=float("nan"), unit=unit, n=0)
    low, high = exact_interval(hits / n, n, CONFIDENCE_LEVEL)
    return Measurement(name=name, value=scale * hits / n, unit=unit, n=n, low=low * scale, high=high * scale)


def exact_interval(share: float, n: float, level: float) -> tuple[float, float]:
    """The interval of Clopper and Pearson 1934 for a share of n items; n need not be whole."""
    hits, misses, tail = share * n, (1 - share) * n, (1 - level) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, misses + 1, tail))
    high = 1.0 if misses <= 0 else float(betaincinv(hits + 1, misses, 1 - tail))
    return low, high


def effective_n(wins: np.ndarray, clusters: np.ndarray, level: float) -> float:
    """How many independent examples tell as much about a share as these do.

    p(1-p) over the variance of the share between clusters, times the squared ratio of the t quantiles of n-1 and
    clusters-1 degrees of freedom, never more than n; the number of clusters where all or none win, and nothing varies.

    Args:
        wins: (N,) bool.
        clusters: (N,) keys.
        level: confidence level that the interval is to have.

    Source: Korn and Graubard 1998, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 24(2), 193-201.
    """
    n, (sums, sizes) = len(wins), _by_cluster(wins.astype(np.float64), clusters)
    g, p = len(sums), wins.mean()
    if g == n or g == 1 or p in (0, 1):
        return float(g)
    variance = g / (g - 1) * ((sums - p * sizes) ** 2).sum() / n**2
    if variance == 0:
        return float(n)
    quantile = (1 + level) / 2
    return float(min(n, p * (1 - p) / variance * (stdtrit(n - 1, quantile) / stdtrit(g - 1, quantile)) ** 2))


def bootstrap_ratio(
    above: np.ndarray, below: np.ndarray, clusters: np.ndarray, rng: np.random.Generator, level: float
) -> tuple[float, float]:
    """The interval of sum(above) / sum(below) when clusters are drawn with replacement: percentile bootstrap, expanded.

    Args:
        above, below: (N,); with ones below, the ratio is a mean.
        clusters: (N,) keys; with a key for every value this is the plain bootstrap.
        rng: draws the resamples.
        level: confidence level.

    The plain percentile interval of few items is too narrow; its tails are taken at Φ(-√(g/(g-1)) t) instead, for g
    clusters: Hesterberg 2015, What teachers should know about the bootstrap, The American Statistician 69(4), 371-386.
    """
    above_sums, _ = _by_cluster(above, clusters)
    below_sums, _ = _by_cluster(below, clusters)
    g = len(above_sums)
    if g < 2:
        return _UNKNOWN
    drawn = rng.integers(0, g, (_resamples.get(), g))
    ratios = above_sums[drawn].sum(1) / below_sums[drawn].sum(1)
    tail = ndtr(-np.sqrt(g / (g - 1)) * stdtrit(g - 1, (1 + level) / 2))
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def _by_cluster(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and size of every cluster, (G,) each, in the order of their first examples.

    That order keeps clusters of one in the order of the examples, so that they give what unclustered ones would.
    """
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    return np.bincount(rank, weights=values), np.bincount(rank).astype(np.float64)
