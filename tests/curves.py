"""Curves and logs made up in memory, for tests of what is measured and judged of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.train_log import TrainLog
from harness.train_log_merge import Disorder, Series


def curve(values: Sequence[float] | np.ndarray, *, first: int = 1, stride: int = 1) -> Series:
    """Values at steps first, first + stride, …"""
    return Series(first + stride * np.arange(len(values), dtype=np.int64), np.asarray(values, dtype=np.float64))


def log_of(
    series: dict[str, Series],
    *,
    counted: bool = True,
    disorders: tuple[Disorder, ...] = (),
    n_disorders: int | None = None,
    n_unreadable: int = 0,
) -> TrainLog:
    """A log that holds these series."""
    steps = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(each.steps for each in series.values())]))
    return TrainLog(
        where=Path("train_log.jsonl"),
        format="jsonl",
        counted=counted,
        steps=steps,
        series=series,
        disorders=disorders,
        n_disorders=len(disorders) if n_disorders is None else n_disorders,
        n_records=len(steps),
        n_unreadable=n_unreadable,
    )
