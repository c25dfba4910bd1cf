"""Faults of the training log's lines, and of the trainer's record beside it (P1.5, S3.6)."""

import math
from typing import Any

from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.lines import (
    Line,
    edit_log,
    log_file,
    losses_in,
    on_log,
    stretch,
    training_lines,
    write_lines,
)  # fmt: skip
from harness.files import read_json, write_json
from harness.train_log_keys import is_step, kind_of
from harness.training_record import RECORD_NAME

GATES = ("S3.6", "P1.5")
CUT = "Cut it at the resumed step, and judge the one run"
BATCH = "look at the batch of that step"
DIVIDE = "a loss not divided by its accumulation steps"
ADAPTER = "lower the adapter's learning rate"


def _one_nan(lines: list[Line], copy: Copy) -> None:
    (line,) = stretch(training_lines(lines, copy), 0.6, 0.6)
    line[losses_in(line)[-1]] = math.nan


def _infinite_gradient(lines: list[Line], copy: Copy) -> None:
    (line,) = stretch(training_lines(lines, copy), 0.4, 0.4)
    line["grad_norm"] = math.inf


def _lose_a_stretch(lines: list[Line], copy: Copy) -> list[Line]:
    gone = {line["step"] for line in stretch(training_lines(lines, copy), 0.4, 0.7)}
    return [line for line in lines if line.get("step") not in gone]


def _lose_one_line(lines: list[Line], copy: Copy) -> list[Line]:
    (gone,) = stretch(training_lines(lines, copy), 0.5, 0.5)
    return [line for line in lines if line.get("step") != gone["step"]]


def _end_early(lines: list[Line], copy: Copy) -> list[Line]:
    last = stretch(training_lines(lines, copy), 0.6, 0.6)[0]["step"]
    return [line for line in lines if line.get("step", 0) <= last]


def _append_a_resumed_run(lines: list[Line], copy: Copy) -> list[Line]:
    """The run stopped at two thirds, and was resumed at a third, into the same file."""
    training = training_lines(lines, copy)
    stop, start = training[2 * len(training) // 3]["step"], training[len(training) // 3]["step"]
    before = [line for line in lines if line.get("step", 0) <= stop]
    return [*before, *(line for line in lines if line.get("step", 0) > start)]


def _cut_at_the_resumed_step(lines: list[Line], _: Copy) -> list[Line]:
    back = next(i for i, line in enumerate(lines) if i and line["step"] < lines[i - 1]["step"])
    return [*(line for line in lines[:back] if line["step"] < lines[back]["step"]), *lines[back:]]


def _repeat_one_line(lines: list[Line], copy: Copy) -> list[Line]:
    (line,) = stretch(training_lines(lines, copy), 0.5, 0.5)
    at = lines.index(line)
    return [*lines[: at + 1], dict(line), *lines[at + 1 :]]


def _drop_gaps(lines: list[Line], _: Copy) -> None:
    for line in lines:
        for key in [key for key in line if kind_of(key) == "gap"]:
            del line[key]


def _forget_a_key(lines: list[Line], copy: Copy) -> None:
    training = training_lines(lines, copy)
    key = losses_in(training[-1])[-1]
    for line in training[len(training) // 2 :]:
        line.pop(key, None)


def _forget_steps(lines: list[Line], copy: Copy) -> list[Line]:
    return [{key: v for key, v in line.items() if not is_step(key)} for line in training_lines(lines, copy)]


def _earlier_dev_loss(lines: list[Line], copy: Copy) -> None:
    """The last evaluation is that of the one before: of another checkpoint."""
    held = [line for line in lines if any(key.startswith("dev_loss_") for key in line)]
    step = copy.bundle.step
    held = [line for line in held if step is None or line.get("step", 0) <= step]
    if len(held) < 3 or (step is not None and held[-1].get("step") != step):
        raise NotApplicableError("the log has no dev losses at the checkpoint's step")
    held[-1].update({key: value for key, value in held[1].items() if key.startswith("dev_loss_")})


def _record(copy: Copy) -> dict[str, Any]:
    file = copy.ckpt / RECORD_NAME
    if not file.is_file():
        raise NotApplicableError("the trainer left no training.json")
    said: dict[str, Any] = read_json(file)
    if not said.get("learning_rates"):
        raise NotApplicableError("training.json has no schedule of learning rates")
    return said


def _rates_without_schedule(copy: Copy) -> None:
    """The rate stays at its peak: the scheduler was never stepped."""
    peaks = {key: each["peak"] for key, each in _record(copy)["learning_rates"].items()}

    def stay(lines: list[Line]) -> None:
        for line in training_lines(lines, copy):
            line.update({key: peak for key, peak in peaks.items() if key in line})

    edit_log(copy, stay)


def _other_schedule(copy: Copy) -> None:
    said = _record(copy)
    for each in said["learning_rates"].values():
        each["peak"] *= 1.5
    write_json(copy.ckpt / RECORD_NAME, said)


def _broken_record(copy: Copy) -> None:
    write_json(copy.ckpt / RECORD_NAME, _record(copy) | {"step": -1})


def _one_rate(lines: list[Line], copy: Copy) -> None:
    (line,) = stretch(training_lines(lines, copy), 0.5, 0.5)
    rates = [key for key in line if kind_of(key) == "rate"]
    if not rates:
        raise NotApplicableError("the log has no learning rate")
    line[rates[0]] *= 4


def _empty(copy: Copy) -> None:
    write_lines(log_file(copy), [])


def _unnamed(copy: Copy) -> None:
    copy.input("train_log")
    copy.point(train_log=None)


def _find_again(copy: Copy) -> None:
    (file,) = copy.ckpt.glob("train_log*")
    copy.point(train_log=file)


FAULTS = (
    Fault("one-nan-in-the-log", "The loss of one step overflowed in half precision.",
          GATES, "no number: ", BATCH, on_log(_one_nan), artifact="log", subtle=True, source="domain.md row 38"),
    Fault("infinite-gradient", "The gradient of one step was infinite, and the optimiser skipped it.",
          GATES, "no number: grad_norm", BATCH, on_log(_infinite_gradient), artifact="log", subtle=True,
          source="domain.md row 9"),
    Fault("rates-without-schedule", "The scheduler was never stepped: the rate stays at its peak.",
          GATES, "rate off its schedule: ", "the scheduler is stepped once", _rates_without_schedule,
          artifact="log", source="domain.md row 38"),
    Fault("one-rate-off", "One line was logged with the rate of another parameter group.",
          GATES, "rates_off is 1 values", "the scheduler is stepped once", on_log(_one_rate), artifact="log",
          subtle=True),
    Fault("record-of-another-schedule", "training.json is that of a run with another peak rate.",
          GATES, "rate off its schedule: ", "training.json is this run's", _other_schedule, artifact="record"),
    Fault("record-broken", "training.json was edited by hand.",
          GATES, "training.json: found step", "it is optional", _broken_record, artifact="record", unmeasured=True),
    Fault("gaps-not-logged", "The run never evaluated its ablation gaps.",
          ("S3.6",), "delta_shuffle_<task>", "evaluate every few hundred steps", on_log(_drop_gaps), artifact="log",
          unmeasured=True),
    Fault("log-with-a-gap", "Lines of a third of the run were lost with a crashed node.",
          GATES, "gap: log at step", "lines were lost", on_log(_lose_a_stretch), artifact="log",
          source="domain.md row 38"),
    Fault("log-without-one-line", "One line was lost.",
          GATES, "gaps is 1 gaps", "lines were lost", on_log(_lose_one_line), artifact="log", subtle=True,
          source="domain.md row 38"),
    Fault("log-ends-early", "The checkpoint was moved on, and its log is that of an earlier one.",
          GATES, "log ends before the checkpoint: ", "lines were lost", on_log(_end_early), artifact="log"),
    Fault("log-of-two-runs", "A run was resumed from an earlier checkpoint, and went on writing into the same file.",
          GATES, "decreasing step: ", CUT, on_log(_append_a_resumed_run), artifact="log", source="domain.md row 38",
          fix=on_log(_cut_at_the_resumed_step)),
    Fault("log-with-a-line-twice", "Two processes logged one step.",
          GATES, "repeated step: ", CUT, on_log(_repeat_one_line), artifact="log", subtle=True),
    Fault("one-loss-not-logged-any-more", "A task fell out of the mix halfway.",
          GATES, "key not logged: ", "lines were lost", on_log(_forget_a_key), artifact="log", subtle=True),
    Fault("dev-loss-of-another-checkpoint", "The last evaluation is that of an earlier checkpoint.",
          GATES, "logged loss is not the loss now: dev_loss", "or other weights", on_log(_earlier_dev_loss),
          artifact="log", subtle=True, whole_run=True),
    Fault("log-without-steps", "The log is what the trainer printed, without steps.",
          GATES, "no step in any line", "Pass trainer_state.json", on_log(_forget_steps), artifact="log",
          unmeasured=True),
    Fault("log-empty", "The log was truncated when the disk was full.",
          GATES, "no line with a loss", "Pass the training log", _empty, artifact="log", unmeasured=True),
    Fault("log-not-named", "bundle.json names no training log.",
          GATES, "no 'train_log' in bundle.json", "pass --train-log", _unnamed, artifact="bundle.json",
          unmeasured=True, fix=_find_again),
)  # fmt: skip
