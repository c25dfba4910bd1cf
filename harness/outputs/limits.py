"""How far from real media towards an extreme a figure lies."""

from typing import Literal

import numpy as np

Side = Literal["high", "low"]


def spread(values: np.ndarray, tail: float) -> tuple[float, float, float]:
    """Lower quantile, median and upper quantile of the values (N,) that are numbers; NaN where none is.

    Of the two values that a quantile lies between, the outer one: no more than the tail lies beyond, however few there
    are.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan"), float("nan")
    low, high = np.quantile(known, tail, method="lower"), np.quantile(known, 1 - tail, method="higher")
    return float(low), float(np.median(known)), float(high)


def limit(real: np.ndarray, side: Side, extreme: float, way: float, tail: float) -> float:
    """The point `way` of the way from the edge of real media to an extreme.

    Args:
        real: (N,) a figure of real media.
        side: whether the extreme is the high or the low end of that figure.
        extreme: what the figure is in total collapse.
        way: 0 is the edge, 1 the extreme.
        tail: share of the real media that lie beyond their own edge.
    """
    low, _, high = spread(real, tail)
    # Real media may lie beyond what is called the extreme: then their own edge is the bound.
    return max(high, high + way * (extreme - high)) if side == "high" else min(low, low + way * (extreme - low))


def beyond(values: np.ndarray, side: Side, bound: float) -> np.ndarray:
    """Which values (N,) lie beyond the bound, (N,) bool; one that is no number does not."""
    return values > bound if side == "high" else values < bound


def entropy_share(written: np.ndarray, real: np.ndarray) -> float:
    """Lowest share of real media's entropy that is left in a codebook, 1 where there was none to lose; (K,) bits."""
    shares = np.divide(written, real, out=np.ones_like(real), where=real > 0)
    return float(shares.min())
