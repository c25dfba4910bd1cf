"""What losses are held against: uniform guessing over the token space, and the loss that the checkpoint has now."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.conditions import correct_items
from harness.examples import WRITE_TASKS, Example, Task
from harness.scorer import Scorer
from harness.token_space import TokenSpace
from harness.train_log import TrainLog
from harness.train_log_keys import task_loss_key


@dataclass(frozen=True)
class Uniform:
    """Losses of guessing uniformly, nats per token.

    Attributes:
        vocabulary: over all ids.
        ranges: write task to the loss over the ids whose turn it is: the image range, or one codebook; a task whose
            modality has no range is not there.
    """

    vocabulary: float
    ranges: dict[Task, float]


@dataclass(frozen=True)
class LoggedLoss:
    """What a log says of a task's loss at a checkpoint's step.

    Attributes:
        held_out: whether it is the mean over the first dev examples at that very step, and not an average of training.
    """

    task: Task
    key: str
    step: int
    value: float
    held_out: bool


@dataclass(frozen=True)
class MeasuredLoss:
    """A task's loss now.

    Attributes:
        value: mean over examples of their mean loss per label, nats per token.
        n: examples.
        source: which set they are from: `dev` or `golden`.
    """

    task: Task
    value: float
    n: int
    source: str


def uniform_losses(space: TokenSpace) -> Uniform:
    """The losses of uniform guessing in a token space; over unequal codebooks, the mean."""
    sizes = {task: [r.size for r in space.ranges_of("audio" if task == "t2a" else "image")] for task in WRITE_TASKS}
    ranges = {task: float(np.mean(np.log(each))) for task, each in sizes.items() if each}
    return Uniform(math.log(space.vocab_size_total), ranges)


def logged_loss(log: TrainLog, task: Task, step: int | None) -> LoggedLoss | None:
    """A task's loss at a checkpoint's step: that of dev examples, else the last training average; None without either.

    Args:
        log: the log up to that step.
        task: the task.
        step: the checkpoint's; None where it is unknown, and the log's last is taken.
    """
    at = log.last_step if step is None or not log.counted else step
    held_out = log.series.get(f"dev_loss_{task}")
    if held_out is not None and len(held_out.steps) and held_out.steps[-1] == at:
        return LoggedLoss(task, f"dev_loss_{task}", at, float(held_out.values[-1]), held_out=True)
    return training_loss(log, task)


def training_loss(log: TrainLog, task: Task) -> LoggedLoss | None:
    """The last training average of a task; None where none is logged."""
    key = task_loss_key(log.series, task)
    if key is None:
        return None
    series = log.series[key]
    return LoggedLoss(task, key, int(series.steps[-1]), float(series.values[-1]), held_out=False)


def measure_loss(
    task: Task, examples: Sequence[Example], source: str, score: Scorer, space: TokenSpace
) -> MeasuredLoss:
    """The loss of examples of a task as they are, own prompt and own media.

    Raises:
        EvidenceError: the scorer's canary disagrees.
    """
    modality = examples[0].modality if task in WRITE_TASKS else None
    losses = score(correct_items(examples, space), label=f"{task}: held-out loss", modality=modality).nll
    return MeasuredLoss(task, float(losses.mean()), len(losses), source)
