"""Logged learning rates: against the schedule that the run's own record declares, and for themselves."""

import math

import numpy as np

from harness.train_log_merge import Series
from harness.training_record import LearningRates

MIN_LINES_OF_A_PEAK = 8  # of fewer, one that is higher than both beside it may be the end of a warm-up


def expected_rates(declared: LearningRates, steps: np.ndarray) -> np.ndarray:
    """The rate that a schedule has at steps counted from 1, (N,)."""
    done = steps.astype(np.float64) - 1  # steps before this one
    course = np.minimum((done - declared.warmup_steps) / max(1, declared.max_steps - declared.warmup_steps), 1)
    falling = {
        "constant": np.ones_like(course),
        "linear": 1 - course,
        "cosine": 0.5 * (1 + np.cos(math.pi * course)),
    }[declared.schedule]
    share = falling if declared.schedule == "constant" else declared.floor + (1 - declared.floor) * falling
    warming = (done + 1) / max(1, declared.warmup_steps)
    return declared.peak * np.where(done < declared.warmup_steps, warming, share)


def longest_zero(values: np.ndarray) -> tuple[int, int]:
    """The longest stretch of lines whose rate is 0: (its first index, its length); (0, 0) where none is."""
    edges = np.diff(np.concatenate([[0], (values == 0).astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return 0, 0
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int((stops - starts)[longest])


def rate_jumps(rates: Series, factor: float) -> np.ndarray:
    """(M,) indices of lines whose rate no usual schedule explains.

    Either it is more than `factor` times both neighbours', or, once rates had stopped to rise, more than `factor` times
    all before. Warm-up, decay by steps, and restarts that come back to an earlier rate are no jumps.
    """
    values = rates.values
    jumps = np.zeros(len(values), dtype=bool)
    if len(values) >= MIN_LINES_OF_A_PEAK:
        jumps[1:-1] = values[1:-1] > factor * np.maximum(values[:-2], values[2:])
    highest = np.maximum.accumulate(values)[1:-1]  # before each line from the third on
    settled = np.maximum.accumulate(values[1:-1] <= values[:-2])
    jumps[2:] |= settled & (values[2:] > factor * highest) & (values[2:] > 0)
    return np.flatnonzero(jumps)
