"""How a log's steps follow each other: its usual stride, where lines are missing, and where a key falls silent."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.train_log_merge import Series

WINDOW = 5  # distances before and behind one that say what is usual there
MIN_LINES = 4  # fewer have no usual distance
_MAD = 1.4826
_CLOCK = 6  # whoever logs by the clock: so many robust standard deviations of the distances are usual


@dataclass(frozen=True)
class Gap:
    """Steps between which nothing was logged.

    Attributes:
        start, stop: the last step before it and the first one behind it, or the log's last.
        usual: the usual distance there, in steps.
    """

    start: int
    stop: int
    usual: float


def steps_of(series: Iterable[Series]) -> np.ndarray:
    """(N,) int64, every step of several series once, ascending."""
    every = [each.steps for each in series]
    return np.unique(np.concatenate(every)) if every else np.array([], dtype=np.int64)


def gaps(steps: np.ndarray, factor: float) -> list[Gap]:
    """Where lines are more than `factor` times their usual distance apart.

    What is usual is the longer of the medians of up to five distances before and behind: whoever changes to logging
    more seldom leaves no gap. Distances that differ anyway, as those of a log by the clock, have to stand out from
    that too.

    Args:
        steps: (N,) ascending.
        factor: how many usual distances are a gap.
    """
    if len(steps) < MIN_LINES:
        return []
    distances = np.diff(steps).astype(np.float64)
    # The last step of a run is logged whenever it comes, and says nothing of how far lines are apart.
    regular = distances[:-1] if distances[-1] < distances[-2] else distances
    usual = np.array([_usual_around(regular, i) for i in range(len(distances))])
    spread = _CLOCK * _MAD * np.median(np.abs(distances - np.median(distances)))
    missing = np.flatnonzero((distances > factor * usual) & (distances - usual > spread))
    return [Gap(int(steps[i]), int(steps[i + 1]), float(usual[i])) for i in missing]


def begins_after(steps: np.ndarray, factor: float) -> bool:
    """Whether a log begins further from step 0 than lines are apart: it lacks the run's beginning."""
    return len(steps) > 1 and bool(steps[0] > factor * np.median(np.diff(steps)[:WINDOW]))


def ends_before(steps: np.ndarray, end: int, factor: float) -> Gap | None:
    """The gap between the last line and the step at which a log should end; None where that is no gap."""
    usual = float(np.median(np.diff(steps)[-WINDOW:])) if len(steps) > 1 else float("nan")
    return Gap(int(steps[-1]), end, usual) if end - steps[-1] > factor * usual else None


def silences(series: Series, steps: np.ndarray, share: float) -> list[Gap]:
    """Where a key is not logged for more than a share of the log's steps although other keys are.

    A task that no example of a batch belongs to has no average of its own at that line: single ones mean nothing.

    Args:
        series: of the key.
        steps: (N,) of all lines.
        share: how much of the log's length is a silence.
    """
    if len(series.steps) < MIN_LINES:
        return []
    marks = np.append(series.steps, steps[-1])
    distances = np.diff(marks)
    usual = float(np.median(distances[:-1]))
    length = max(share * float(steps[-1] - steps[0]), 3 * usual)
    lines = np.searchsorted(steps, marks[1:]) - np.searchsorted(steps, marks[:-1], side="right")
    silent = np.flatnonzero((distances > length) & (lines > 0))
    return [Gap(int(marks[i]), int(marks[i + 1]), usual) for i in silent]


def _usual_around(distances: np.ndarray, i: int) -> float:
    sides = [distances[max(0, i - WINDOW) : i], distances[i + 1 : i + 1 + WINDOW]]
    return max(float(np.median(side)) for side in sides if len(side))
