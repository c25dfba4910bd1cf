"""Records of a log to series: lines of one step are merged, and steps that come again or go back are kept in mind."""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.train_log_keys import EPOCH, is_held_out, is_step, plain_key

MAX_VALUES = 8_000_000  # 128 MB of steps and values
MAX_KEYS = 256  # further ones are not read
MAX_STEP = 2**53
MAX_DISORDERS = 1_000  # kept; all of them are counted


@dataclass(frozen=True)
class Series:
    """What was logged under one key.

    Attributes:
        steps: (N,) int64, ascending, each once.
        values: (N,) float64, NaN and infinities as they were logged; of a step that was logged twice, the last.
    """

    steps: np.ndarray
    values: np.ndarray

    def up_to(self, step: int) -> "Series":
        """What was logged by a step."""
        kept = self.steps <= step
        return Series(self.steps[kept], self.values[kept])

    @property
    def finite(self) -> "Series":
        """The values that are numbers."""
        kept = np.isfinite(self.values)
        return self if kept.all() else Series(self.steps[kept], self.values[kept])


@dataclass(frozen=True)
class Disorder:
    """A step that came again, or went back.

    Attributes:
        step: the step.
        before: the step of the line before it; the same step where one came again.
        key: what was logged twice; empty for a step that went back.
    """

    step: int
    before: int
    key: str = ""


@dataclass
class Merger:
    """Takes records in the order of the file.

    Attributes:
        where: the file, for messages.
        counted: whether a record has said its step.
        n_records: records taken.
    """

    where: Path
    counted: bool = False
    n_records: int = 0
    _steps: "dict[str, array[int]]" = field(default_factory=dict)
    _values: "dict[str, array[float]]" = field(default_factory=dict)
    _backwards: list[Disorder] = field(default_factory=list)
    _n_backwards: int = 0
    _n_values: int = 0
    _last: int = -1
    _last_epoch: float = -1.0
    _offset: int = 0

    def add(self, record: Mapping[str, float]) -> None:
        """Take a record: keys as the file spells them, to numbers. One without a step counts while no other has one.

        Raises:
            HarnessError: the log holds too many figures.
        """
        found = {plain_key(key): value for key, value in record.items()}
        step = _step_of(found)
        values = {key: value for key, value in found.items() if not is_step(key) and key != EPOCH}
        if not values or (step is None and self.counted):
            return
        if step is not None and not self.counted:
            self._forget()  # what came before the first step was no line of training
            self.counted = True
        at = self.n_records + 1 if step is None else self._placed(step, found.get(EPOCH))
        self.n_records += 1
        for key, value in values.items():
            self._put(key, at, value)

    def merged(self) -> dict[str, Any]:
        """The fields of the log that come from its records."""
        series = {key: _series(self._steps[key], self._values[key]) for key in self._steps}
        again = [Disorder(step, step, key) for key in self._steps for step in _repeated(self._steps[key])]
        disorders = [*self._backwards, *again]
        steps = [each.steps for each in series.values()]
        return {
            "counted": self.counted,
            "steps": np.unique(np.concatenate(steps)),
            "series": series,
            "disorders": tuple(disorders[:MAX_DISORDERS]),
            "n_disorders": self._n_backwards + len(again),
            "n_records": self.n_records,
        }

    def _put(self, key: str, step: int, value: float) -> None:
        if key not in self._steps:
            if len(self._steps) >= MAX_KEYS:
                return
            self._steps[key], self._values[key] = array("q"), array("d")
        steps, values = self._steps[key], self._values[key]
        # Whoever evaluates once more after training logs held-out figures of the last step again.
        if is_held_out(key) and len(steps) and steps[-1] == step:
            values[-1] = value
            return
        self._n_values += 1
        if self._n_values > MAX_VALUES:
            found, fix = f"more than {MAX_VALUES} figures", "Log less often, or pass a part of it."
            raise HarnessError(self.where, found, "a training log", fix)
        steps.append(step)
        values.append(value)

    def _placed(self, step: int, epoch: float | None) -> int:
        """The step counted through all epochs; one that goes back is kept in mind."""
        whole = epoch is not None and float(epoch).is_integer()
        if whole and epoch is not None and epoch > self._last_epoch >= 0 and step + self._offset < self._last:
            self._offset = self._last + 1  # counted anew in every epoch
        placed = step + self._offset
        if placed < self._last:
            self._n_backwards += 1
            if len(self._backwards) < MAX_DISORDERS:
                self._backwards.append(Disorder(placed, self._last))
        self._last = placed
        if whole and epoch is not None:
            self._last_epoch = epoch
        return placed

    def _forget(self) -> None:
        self._steps.clear()
        self._values.clear()
        self.n_records = self._n_values = 0


def _step_of(record: Mapping[str, float]) -> int | None:
    """The step that a record says; None where it says none, or one that is no whole number."""
    said = [value for key, value in record.items() if is_step(key)]
    if not said or not math.isfinite(said[0]) or said[0] != int(said[0]) or not 0 <= said[0] < MAX_STEP:
        return None
    return int(said[0])


def _series(steps: "array[int]", values: "array[float]") -> Series:
    at = np.array(steps, dtype=np.int64)
    order = np.argsort(at, kind="stable")
    at, logged = at[order], np.array(values, dtype=np.float64)[order]
    last = np.append(at[1:] != at[:-1], True)
    return Series(at[last], logged[last])


def _repeated(steps: "array[int]") -> list[int]:
    at, counts = np.unique(np.array(steps, dtype=np.int64), return_counts=True)
    repeated: list[int] = at[counts > 1].tolist()
    return repeated
