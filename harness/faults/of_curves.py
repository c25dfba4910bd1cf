"""Faults of the training log's curves: losses, norms, ablation gaps (P1.5, S3.6)."""

import math
from collections.abc import Callable

from harness.dynamics_losses import uniform_losses
from harness.examples import READ_TASKS, WRITE_TASKS, Task
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Edit, Fault
from harness.faults.lines import (
    Line,
    edit_log,
    losses_in,
    on_log,
    stretch,
    training_lines,
)  # fmt: skip
from harness.train_log_keys import kind_of, task_loss_key, task_of

GATES = ("S3.6", "P1.5")
CUT = "Cut it at the resumed step, and judge the one run"
BATCH = "look at the batch of that step"
DIVIDE = "a loss not divided by its accumulation steps"
ADAPTER = "lower the adapter's learning rate"


def _scale(keys: Callable[[Line], list[str]], first: float, last: float, factor: float) -> Edit:
    """Multiply figures of some training lines: from a share of the log to another one."""

    def change(lines: list[Line], copy: Copy) -> None:
        chosen = stretch(training_lines(lines, copy), first, last)
        if not any(keys(line) for line in chosen):
            raise NotApplicableError("the log has no such figures")
        for line in chosen:
            line.update({key: line[key] * factor for key in keys(line)})

    return on_log(change)


def _of_kind(*kinds: str) -> Callable[[Line], list[str]]:
    return lambda line: [key for key in line if kind_of(key) in kinds]


def _loss_of(task: Task) -> Callable[[Line], list[str]]:
    return lambda line: [key] if (key := task_loss_key(line, task)) else []


def _flatten(lines: list[Line], copy: Copy) -> None:
    """Nothing was learned: every loss stays where it began, but for noise."""
    first: dict[str, float] = {}
    for i, line in enumerate(training_lines(lines, copy)):
        for key in losses_in(line):
            line[key] = first.setdefault(key, line[key]) * (1 + 0.01 * math.sin(7 * i))


def _stick(lines: list[Line], copy: Copy) -> None:
    training = training_lines(lines, copy)
    for line in training[len(training) // 3 :]:
        line.update({key: training[len(training) // 3].get(key, line[key]) for key in losses_in(line)})
    if len(training) < 9:
        raise NotApplicableError("too few lines to tell a value that sticks")


def _near_uniform(lines: list[Line], copy: Copy) -> None:
    """Write losses fall to where guessing within the right range is, and no further."""
    uniform = uniform_losses(copy.bundle.space).ranges
    training = training_lines(lines, copy)
    for task in WRITE_TASKS:
        key = next((key for line in training if (key := task_loss_key(line, task))), None)
        if key is None or task not in uniform:
            continue
        held = [line for line in training if key in line]
        low = min(line[key] for line in held)
        for line in held:
            line[key] = line[key] - low + 0.97 * uniform[task]


def _gaps(change: Callable[[list[float]], list[float]]) -> Edit:
    """Change the ablation gaps of read tasks, key by key over the evaluations."""

    def of_lines(lines: list[Line], copy: Copy) -> None:
        step = copy.bundle.step
        lines = [line for line in lines if step is None or line.get("step", 0) <= step]
        keys = {key for line in lines for key in line if kind_of(key) == "gap" and task_of(key) in (None, *READ_TASKS)}
        if not keys:
            raise NotApplicableError("the log has no ablation gaps")
        for key in keys:
            held = [line for line in lines if key in line]
            for line, value in zip(held, change([line[key] for line in held]), strict=True):
                line[key] = value

    return on_log(of_lines)


def _shrink(values: list[float]) -> list[float]:
    return [*values[:-1], 0.6 * max(values)]


def _near_zero(values: list[float]) -> list[float]:
    return [0.01 * value for value in values]


def _dead_norms(lines: list[Line], copy: Copy) -> None:
    first: Line = {}
    training = training_lines(lines, copy)
    if not any(kind_of(key) == "norm" for line in training for key in line):
        raise NotApplicableError("the log has no norms")
    for line in training:
        line.update({key: first.setdefault(key, line[key]) for key in line if kind_of(key) == "norm"})


def _divide(copy: Copy) -> None:
    edit_log(copy, lambda lines: _divided(training_lines(lines, copy)))


def _divided(lines: list[Line]) -> None:
    for line in lines:
        line.update({key: line[key] / 8 for key in losses_in(line)})


FAULTS = (
    Fault("loss-spike", "One bad batch: every loss of one line is five times what it was.",
          GATES, "spike: ", BATCH, _scale(losses_in, 0.6, 0.6, 5), artifact="log", subtle=True),
    Fault("losses-risen", "Training diverged in its last third, and was not stopped.",
          GATES, "losses_risen is", "lower the rate", _scale(losses_in, 0.67, 1, 3), artifact="log"),
    Fault("losses-flat", "Gradients never reached the new rows: losses stay where they began.",
          GATES, "flat loss: ", "see that gradients reach", on_log(_flatten), artifact="log"),
    Fault("losses-stuck", "The logger wrote the same figure again and again.",
          GATES, "stuck loss: ", "logs every figure anew", on_log(_stick), artifact="log", source="domain.md row 38"),
    Fault("write-losses-near-uniform", "Media are guessed within their range, and no better.",
          ("P1.5",), "write loss near uniform: ", "labels supervise the media block", on_log(_near_uniform),
          artifact="log"),
    Fault("read-loss-gone", "The caption stands in the context of its own target: a leak.",
          ("P1.5",), "read loss gone: ", "a leak or a mask", _scale(_loss_of("i2t"), 0.5, 1, 1e-3), artifact="log",
          source="domain.md row 33"),
    Fault("read-loss-off-a-cliff", "Labels of one read task were masked from one step on.",
          ("P1.5",), "read loss falls off a cliff: ", "a leak or a mask", _scale(_loss_of("a2t"), 0.6, 1, 0.1),
          artifact="log", subtle=True),
    Fault("read-losses-risen", "The adapter forgets to read: the losses of a2t and i2t triple.",
          ("P1.5",), "risen loss: ", ADAPTER,
          _scale(lambda line: [k for t in READ_TASKS for k in _loss_of(t)(line)], 0.67, 1, 4), artifact="log"),
    Fault("losses-not-divided", "Logged losses are sums over eight accumulation steps.",
          GATES, "logged loss is not the loss now: ", DIVIDE, _scale(losses_in, 0, 1, 8), artifact="log",
          source="domain.md row 37", fix=_divide),
    Fault("norms-jump", "Rows were loaded from another run in the middle of this one.",
          GATES, "norm jump: ", BATCH, _scale(_of_kind("norm"), 0.5, 1, 3), artifact="log",
          source="domain.md row 11"),
    Fault("norms-dead", "Updates rounded to nothing: the rows' norms are the same on every line.",
          GATES, "dead norms: ", "float32 masters", on_log(_dead_norms), artifact="log", source="domain.md row 15"),
    Fault("gap-shrinks", "The last evaluation's ablation gap lies far below the largest one.",
          ("S3.6",), "gap shrinks: ", "it learns the captions and not the media", _gaps(_shrink), artifact="log",
          subtle=True),
    Fault("no-gap", "Losses fall, and the media make no difference.",
          ("S3.6",), "no gap: ", "do not just train longer", _gaps(_near_zero), artifact="log",
          source="domain.md row 41"),
)  # fmt: skip
