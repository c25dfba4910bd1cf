"""What the keys of a log stand for: the names that this project, the field, Hugging Face and usual loops give them."""

import re
from collections.abc import Collection
from typing import Literal

from harness.examples import TASKS, Task

# loss: of training. held_out: a loss of examples that are not trained on. norm, spread: mean and standard deviation of
# the rows' norms. rate: a learning rate. gradient: a gradient's norm. gap, win: of the ablations at evaluations.
Kind = Literal["loss", "held_out", "norm", "spread", "rate", "gradient", "gap", "win"]

EPOCH = "epoch"
_STEPS = ("step", "steps", "global_step", "train_step", "_step", "iter", "iteration", "it", "global_steps")
_EVALUATION = ("eval_", "val_", "valid_", "validation_", "dev_", "test_")
_OVERALL = ("loss_mean", "loss", "train_loss", "total_loss", "loss_avg", "avg_loss", "mean_loss", "lm_loss")
_TRAIN = re.compile(r"^(?:train|training)/")
_TASK = re.compile(r"(?:^|_)(a2t|i2t|t2a|t2i)(?:_|$)")


def plain_key(key: str) -> str:
    """The key without what says that it is of training: `train/loss` is `loss`; `eval/loss` becomes `eval_loss`."""
    return _TRAIN.sub("", key.strip().lower()).replace("/", "_")


def is_step(key: str) -> bool:
    """Whether a key says at which step a line was written."""
    return key in _STEPS


def is_held_out(key: str) -> bool:
    """Whether a key is of an evaluation."""
    return key.startswith(_EVALUATION)


def kind_of(key: str) -> Kind | None:
    """What a key stands for; None for one that nothing is known of."""
    if key.startswith("delta_"):
        return "gap"
    if key.startswith("win_"):
        return "win"
    if "norm" in key:
        return _kind_of_norm(key)
    if key in ("lr", "learning_rate") or key.startswith("lr_") or key.endswith("_lr"):
        return "rate"
    if not (re.search(r"(?:^|_)(?:loss|nll)(?:_|$)", key) or re.fullmatch(r"(?:a2t|i2t|t2a|t2i|text)(?:_avg)?", key)):
        return None
    return "held_out" if is_held_out(key) or key.startswith("text_loss") else "loss"


def _kind_of_norm(key: str) -> Kind | None:
    if key in ("grad_norm", "gradient_norm", "gnorm") or key.endswith("grad_norm"):
        return "gradient"
    return "spread" if key.endswith("_std") else "norm" if key.endswith(("_norm", "_norm_mean")) else None


def task_of(key: str) -> Task | None:
    """The task that a key is about; None where it names none."""
    found = _TASK.search(key)
    return next((task for task in TASKS if found and found[1] == task), None)


def task_loss_key(keys: Collection[str], task: Task) -> str | None:
    """The key of a task's training loss; None where none is logged."""
    names = (f"{task}_avg", f"{task}_loss", f"loss_{task}", f"{task}_loss_avg", f"loss_{task}_avg", task)
    return next((name for name in names if name in keys), None)


def overall_loss_key(keys: Collection[str]) -> str | None:
    """The key of the training loss over all tasks; None where none is logged."""
    return next((name for name in _OVERALL if name in keys), None)
