"""A training log as numbers: `train_log.jsonl`, Hugging Face's `trainer_state.json`, and text logs.

A log is somebody else's file. It is read in bounded memory, nothing in it is evaluated, and what was logged as NaN
stays NaN: what that means is not judged here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

import numpy as np

from harness.errors import HarnessError
from harness.train_log_json import from_json_lines, from_trainer_state, is_json_record, is_whole_json
from harness.train_log_merge import Disorder, Merger, Series
from harness.train_log_text import from_text

Format = Literal["jsonl", "trainer_state", "text"]
MAX_LINE_BYTES = 2**20  # a record takes some hundred bytes; what is longer is skipped, and counted
HEAD_LINES = 20  # of these one must be a JSON object, or the log is text
_BLOCK = 2**16


@dataclass(frozen=True)
class TrainLog:
    """What a log says.

    Attributes:
        where: the file.
        format: how it is written.
        counted: whether its lines say at which step they were written. Where they do not, a line's number among the
            records, from 1, takes the step's place, and nothing can be said about gaps and order.
        steps: (N,) int64, every step of the log once, ascending.
        series: key to its values, in the order in which the file first names them.
        disorders: steps that came again or went back, in the order of the file; the first of them.
        n_disorders: how many there are.
        n_records: lines that hold figures.
        n_unreadable: lines that should have been read and could not: too long, or broken JSON.
    """

    where: Path
    format: Format
    counted: bool
    steps: np.ndarray
    series: dict[str, Series]
    disorders: tuple[Disorder, ...]
    n_disorders: int
    n_records: int
    n_unreadable: int

    @property
    def last_step(self) -> int:
        """The step of the last line."""
        return int(self.steps[-1])

    def up_to(self, step: int | None) -> "TrainLog":
        """The log as it was when a checkpoint of that step was written; the whole log for None, or without steps.

        Raises:
            HarnessError: nothing was logged by then.
        """
        if step is None or not self.counted or self.last_step <= step:
            return self
        series = {key: each.up_to(step) for key, each in self.series.items()}
        steps = self.steps[self.steps <= step]
        if not len(steps):
            found = f"no line up to step {step}: the first is of step {self.steps[0]}"
            raise HarnessError(self.where, found, f"the log of the run up to step {step}", "Pass --train-log.")
        kept = tuple(d for d in self.disorders if min(d.step, d.before) <= step)
        return replace(
            self,
            steps=steps,
            series={key: each for key, each in series.items() if len(each.steps)},
            disorders=kept,
            n_disorders=len(kept) if self.n_disorders == len(self.disorders) else self.n_disorders,
        )


def read_train_log(path: Path) -> TrainLog:
    """Read a training log, whatever its format.

    Raises:
        HarnessError: it cannot be read, holds no figure at all, or holds more than `MAX_VALUES` of them.
    """
    fix = "Pass the training log with --train-log."
    if path.exists() and not path.is_file():
        raise HarnessError(path, "a folder or a device", "a training log", fix)
    try:
        with path.open("rb") as file:
            merger, format_, unreadable = _read(file, path)
    except OSError as error:
        raise HarnessError(path, error.strerror or "an unreadable file", "a training log", fix) from None
    if not merger.n_records:
        raise HarnessError(path, "no line with a loss or another figure of training", "a training log", fix)
    return TrainLog(where=path, format=format_, n_unreadable=unreadable, **merger.merged())


def _read(file: IO[bytes], path: Path) -> tuple[Merger, Format, int]:
    merger = Merger(path)
    lines = Lines(file)
    every = iter(lines)
    head = list(itertools.islice(every, HEAD_LINES))
    if is_whole_json(head, path):
        broken = from_trainer_state(path, merger)
        return merger, "trainer_state", broken
    every = itertools.chain(head, every)
    if any(is_json_record(line) for line in head):
        broken = from_json_lines(every, merger)
        return merger, "jsonl", broken + lines.too_long
    from_text(every, merger)
    return merger, "text", lines.too_long


class Lines:
    """The lines of a file, without empty ones; they end at newlines and, as progress bars write them, carriage returns.

    Attributes:
        too_long: lines that were skipped so far because they are longer than MAX_LINE_BYTES.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.too_long = 0

    def __iter__(self) -> Iterator[bytes]:
        rest, skipping = b"", False
        while block := self._file.read(_BLOCK):
            *whole, last = block.replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                if not skipping and (rest or line):
                    yield rest + line
                rest, skipping = b"", False
            rest = b"" if skipping else rest + last
            if len(rest) > MAX_LINE_BYTES:
                rest, skipping = b"", True
                self.too_long += 1
        if rest:
            yield rest
