"""Figures of a training curve: its levels, its noise, and how far single lines stand out. Nothing here judges.

Losses and norms are positive and change by shares, so that everything is measured on their logarithms. Noise is robust:
1.4826 times the median absolute deviation, which is the standard deviation where noise is normal (Rousseeuw and Croux
1993, Alternatives to the median absolute deviation, JASA 88, 1273-1283).
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import ndtri, stdtr

from harness.train_log_merge import Series

_FEW = 5  # lines that make a level
_PRECISION = 0.05  # to which a level should be known, a share, where there are lines enough
WINDOW = 5  # lines before and behind one that are its neighbours
HUGE = 1e300  # beyond it sums of float64 overflow: no figure of training
MAX_SCORE = 37.0  # where the tail of the normal distribution is the smallest positive float64
_MAD = 1.4826
_MEDIAN_ERROR = 1.2533  # standard error of a median over that of a mean, normal noise: sqrt(pi / 2)


@dataclass(frozen=True)
class Levels:
    """Where a curve began, where it is, and how low it was. Medians over some lines, so that none of them decides.

    Attributes:
        start: the level of the first lines: of so many that what followed is clearest; a quarter of all at most.
        end: the level of the last lines: five, more of noisy ones, a tenth of all at least and a quarter at most.
        best: the lowest level of so many lines in a row, the end's among them.
        best_step: the step at which those end.
        fall_error: standard error of the fall, a share.
        fall_score: how clear the fall is, in standard errors: of that from start to end, or of Spearman's rank
            correlation over all lines, whichever is larger.
        rise_score: how far the end lies above the best, as a z-score.
    """

    start: float
    end: float
    best: float
    best_step: int
    fall_error: float
    fall_score: float
    rise_score: float

    @property
    def fall(self) -> float:
        """How much of the start is gone, a share; negative where the curve rose."""
        return 1 - self.end / self.start

    @property
    def rise(self) -> float:
        """How far the end lies above the best, a share of it."""
        return self.end / self.best - 1


def positive(series: Series) -> Series:
    """The values that a loss or a norm can have."""
    with np.errstate(invalid="ignore"):
        kept = (series.values > 0) & (series.values < HUGE)
    return Series(series.steps[kept], series.values[kept])


def noise(values: np.ndarray, floor: float) -> float:
    """The noise of single lines, as a share: that of the differences from line to line, so that no trend counts.

    Args:
        values: (N,) positive.
        floor: noise that is taken for granted: a curve that was smoothed has hardly any of its own.
    """
    return max(floor, _spread(np.diff(np.log(values))) / np.sqrt(2))


def levels(curve: Series, floor: float) -> Levels:
    """The levels of a curve of at least one value; `floor` as of `noise`."""
    values, n = curve.values, len(curve.values)
    sigma = _MEDIAN_ERROR * noise(values, floor)
    most = max(1, n // 4)
    width = max(min(max(_FEW, int(np.ceil((sigma / _PRECISION) ** 2))), most), n // 10)
    end = float(np.median(values[-width:]))
    # Counted from the end, so that the last of them is the end's own.
    stops = np.arange(n, width - 1, -width)
    medians = np.array([np.median(values[stop - width : stop]) for stop in stops])
    lowest = int(medians.argmin())
    start, error = _start(values, end, sigma, width, most)
    return Levels(
        start=start,
        end=end,
        best=float(medians[lowest]),
        best_step=int(curve.steps[stops[lowest] - 1]),
        fall_error=error,
        fall_score=max(float((np.log(start) - np.log(end)) / error), _falling(values)),
        rise_score=score((np.log(end) - np.log(medians[lowest])) / (sigma * np.sqrt(2 / width)), n),
    )


def spikes(values: np.ndarray, floor: float) -> np.ndarray:
    """How far every line stands above the lines before it and above those behind it, (N,) robust z-scores.

    A line is held against the higher of two medians, of up to five lines before and behind it: however steeply a loss
    falls, its lines do not stand out. The first line has none before it, and no score; the last is held against those
    before it.

    Args:
        values: (N,) positive.
        floor: as of `noise`.
    """
    return _standing_out(np.log(values), noise(values, floor))


def dips(values: np.ndarray, floor: float) -> np.ndarray:
    """How far every line lies below its neighbours; as `spikes`."""
    return _standing_out(-np.log(values), noise(values, floor))


def jumps(curve: Series, floor: float) -> np.ndarray:
    """How much more a curve changes from one line to the next than it does around there, (N-1,) signed z-scores.

    What is usual is a rate per logarithm of the step: learning curves are nearly straight in it, and a head that grows
    by a sixth from step 50 to 100 and by a hundredth from 1950 to 2000 grows smoothly. The first change, which is
    often the largest, has none before it, and no score.

    Args:
        curve: positive values.
        floor: as of `noise`.
    """
    changes = np.diff(np.log(curve.values))
    # Steps that are as large as float64 can count have no distance.
    lengths = np.maximum(np.diff(np.log1p(curve.steps.astype(np.float64))), 1e-12)
    rates = np.abs(changes) / lengths
    before, behind = _medians_before(rates), _medians_before(rates[::-1])[::-1]
    usual = np.nan_to_num(np.fmax(before, behind)) * lengths
    beyond = (np.abs(changes) - usual) / max(floor, _spread(changes))
    beyond[:1] = 0.0
    return np.sign(changes) * scores(beyond, len(curve.values))


def longest_equal(values: np.ndarray) -> tuple[int, int]:
    """The longest run of one value: (its first index, its length); (0, 0) for no values."""
    if not len(values):
        return 0, 0
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    lengths = np.diff(np.append(starts, len(values)))
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])


def scores(ratios: np.ndarray, n: int) -> np.ndarray:
    """Ratios to a noise that was estimated from n lines, as z-scores: what is as rare under a normal distribution.

    Of four lines anything may stand out; a ratio follows Student's distribution of n - 2 degrees of freedom.
    """
    tail = stdtr(max(1, n - 2), -np.maximum(ratios, 0.0))
    return np.minimum(-ndtri(tail), MAX_SCORE)


def score(ratio: float, n: int) -> float:
    """One ratio as a z-score, as `scores`."""
    return float(scores(np.array([ratio]), n)[0])


def _standing_out(logs: np.ndarray, sigma: float) -> np.ndarray:
    """(N,) z-scores of lines above the higher of the medians on both sides."""
    before, behind = _medians_before(logs), _medians_before(logs[::-1])[::-1]
    behind[-1:] = -np.inf
    above = logs - np.fmax(before, behind)
    above[:1] = 0.0
    return scores(above / (sigma * np.sqrt(1 + _MEDIAN_ERROR**2 / WINDOW)), len(logs))


def _spread(differences: np.ndarray) -> float:
    """Robust standard deviation."""
    if not len(differences):
        return 0.0
    return float(_MAD * np.median(np.abs(differences - np.median(differences))))


def _start(values: np.ndarray, end: float, sigma: float, width: int, most: int) -> tuple[float, float]:
    """The level of the first lines and the error of the fall from it to the end.

    Of five lines, or twice as many, and so on: a loss that fell within a dozen lines of hundreds has not stood still.
    """
    few = min(_FEW, most)
    counts = [few * 2**i for i in range((most // few).bit_length())]
    errors = [float(sigma * np.sqrt(1 / count + 1 / width)) for count in counts]
    starts = [float(np.median(values[:count])) for count in counts]
    clearest = int(np.argmax([(np.log(s) - np.log(end)) / error for s, error in zip(starts, errors, strict=True)]))
    return starts[clearest], errors[clearest]


def _falling(values: np.ndarray) -> float:
    """Spearman's rank correlation with the order of the lines, negated, in standard errors of no correlation."""
    n = len(values)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    if n < 3 or len(counts) < 2:
        return 0.0
    return float(-np.corrcoef(np.arange(n), ranks)[0, 1] * np.sqrt(n - 1))


def _medians_before(values: np.ndarray) -> np.ndarray:
    """(N,) the median of up to WINDOW values before each; NaN for the first."""
    if not len(values):
        return values.copy()
    padded = np.concatenate([np.full(WINDOW, np.nan), values[:-1]])
    windows = sliding_window_view(padded, WINDOW)
    medians = np.full(len(values), np.nan)
    medians[1:] = np.nanmedian(windows[1:], axis=1)
    return medians
