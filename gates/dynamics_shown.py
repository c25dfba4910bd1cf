"""What is shown of a training log beside the judgement: first and last figures, uniform guessing, the curves."""

from typing import Any

import numpy as np

from gates.gate import Accept
from harness.dynamics_losses import Uniform
from harness.results import Measurement
from harness.train_log import TrainLog
from harness.train_log_keys import kind_of
from harness.train_log_merge import Series

MAX_POINTS = 400  # of a curve
MAX_CURVES = 40
_UNITS = {"loss": "nats/token", "held_out": "nats/token", "gap": "nats/token", "win": "share"}


def show_log(accept: Accept, log: TrainLog, uniform: Uniform | None) -> None:
    """First and last figures of every key that something is known of, and their curves."""
    known = {key: each for key, each in log.series.items() if kind_of(key) and len(each.steps)}
    for key, each in known.items():
        if kind_of(key) in ("loss", "norm"):
            for name, at in (("first", 0), ("last", -1)):
                unit = _UNITS.get(kind_of(key) or "", "")
                value = float(each.values[at])
                accept.report(Measurement(name=f"{key}_{name}", value=value, unit=unit, n=len(each.steps)))
    rows: list[list[str | float | None]] = []
    for key, each in known.items():
        ends = [int(each.steps[0]), float(each.values[0]), int(each.steps[-1]), float(each.values[-1])]
        rows.append([key, len(each.steps), *ends])
    note = f"{log.n_records} records, {log.format}, steps {log.steps[0]} to {log.last_step}." + _references(uniform)
    columns = ["key", "lines", "first step", "first", "last step", "last"]
    accept.table("The training log", columns, rows, note=note)
    if uniform is not None:
        accept.details["uniform"] = {"vocabulary": uniform.vocabulary, **uniform.ranges}
    accept.details["curves"] = {key: points(each) for key, each in list(known.items())[:MAX_CURVES]}


def points(series: Series) -> dict[str, list[Any]]:
    """A curve's points, at most MAX_POINTS: {"steps": […], "values": […]}; null where no number was logged.

    Of a longer one, the lowest and the highest of every stretch: a spike is not lost.
    """
    kept = np.arange(len(series.steps))
    if len(kept) > MAX_POINTS:
        stretches = np.array_split(kept, MAX_POINTS // 2)
        numbers = np.nan_to_num(series.values, nan=np.inf)
        kept = np.unique([[s[numbers[s].argmin()], s[numbers[s].argmax()]] for s in stretches])
    values = [float(value) if np.isfinite(value) else None for value in series.values[kept]]
    return {"steps": series.steps[kept].tolist(), "values": values}


def _references(uniform: Uniform | None) -> str:
    if uniform is None:
        return ""
    ranges = ", ".join(f"{task} {value:.3f} over its range" for task, value in uniform.ranges.items())
    return f" Uniform guessing costs {uniform.vocabulary:.3f} nats/token over the vocabulary; {ranges}."
