"""Win rates and mean gaps of paired losses, with 95 % intervals. Items are examples, never tokens."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.results import Measurement

CONFIDENCE_LEVEL = 0.95
BOOTSTRAP_RESAMPLES = 5_000


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


def win_rate(name: str, paired: Paired) -> Measurement:
    """Share of examples whose own condition has strictly the lower loss, with the exact binomial interval.

    Args:
        name: name of the measurement.
        paired: the losses. A NaN on either side makes the rate NaN.

    Source of the interval: Clopper and Pearson 1934.
    """
    n = len(paired.gaps)
    if n == 0 or not (np.isfinite(paired.correct).all() and np.isfinite(paired.ablated).all()):
        return Measurement(name=name, value=float("nan"), unit="share", n=n)
    wins = int((paired.correct < paired.ablated).sum())
    interval = stats.binomtest(wins, n).proportion_ci(CONFIDENCE_LEVEL, method="exact")
    return Measurement(name=name, value=wins / n, unit="share", n=n, low=float(interval.low), high=float(interval.high))


def mean_gap(name: str, paired: Paired, rng: np.random.Generator) -> Measurement:
    """Δ = mean(ablated - correct) in nats per token, with a paired bootstrap interval over examples.

    Args:
        name: name of the measurement.
        paired: the losses.
        rng: draws the resamples.
    """
    gaps = paired.gaps
    n = len(gaps)
    if n == 0 or not np.isfinite(gaps).all():
        return Measurement(name=name, value=float("nan"), unit="nats/token", n=n)
    low, high = _bootstrap_mean(gaps, rng)
    return Measurement(name=name, value=float(gaps.mean()), unit="nats/token", n=n, low=low, high=high)


def relative_gap(name: str, gap: Measurement, correct: np.ndarray) -> Measurement:
    """A gap in percent of the mean correct loss, (N,) nats per token; the interval is the gap's own, scaled."""
    scale = 100 / float(np.mean(correct))
    scaled = {key: None if (v := getattr(gap, key)) is None else v * scale for key in ("value", "low", "high")}
    return gap.model_copy(update={"name": name, "unit": "%", **scaled})


def proportion(name: str, hits: int, n: int, unit: str = "share", scale: float = 1.0) -> Measurement:
    """hits / n with its exact 95 % interval, times a scale (100 for a percentage). NaN when n is 0."""
    if n == 0:
        return Measurement(name=name, value=float("nan"), unit=unit, n=0)
    interval = stats.binomtest(hits, n).proportion_ci(CONFIDENCE_LEVEL, method="exact")
    low, high = float(interval.low) * scale, float(interval.high) * scale
    return Measurement(name=name, value=scale * hits / n, unit=unit, n=n, low=low, high=high)


def _bootstrap_mean(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        confidence_level=CONFIDENCE_LEVEL,
        method="percentile",
        vectorized=True,
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
