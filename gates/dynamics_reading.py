"""A training log by itself: what `gates inspect --log` says of it, by the rules of P1.5 or S3.6."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gates.dynamics import FINDINGS, show
from gates.gate import Accept
from gates.stage3.test_s36_dynamics import S36, judge_stage3_log
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.test_p15_dynamics import P15, judge_stage4_log
from gates.stage4.thresholds import Stage4Thresholds
from harness.dynamics_losses import Uniform, uniform_losses
from harness.examples import WRITE_TASKS
from harness.token_space import TokenSpace
from harness.train_log import TrainLog, read_train_log
from harness.train_log_keys import kind_of, task_loss_key
from harness.training_record import TrainingRecord

FORMAT = "log-inspect/1"


@dataclass(frozen=True)
class Beside:
    """What is known beside the log.

    Attributes:
        space: the token space; without it no loss is held against uniform guessing.
        record: what the trainer says of the run.
        stage: 3 or 4; None to take 4 where the log has a write loss.
        step: the checkpoint's; lines behind it are not looked at.
    """

    space: TokenSpace | None = None
    record: TrainingRecord | None = None
    stage: int | None = None
    step: int | None = None


def read_log(path: Path, beside: Beside) -> dict[str, Any]:
    """The JSON object about a training log.

    Raises:
        HarnessError: it cannot be read as one.
    """
    whole = read_train_log(path)
    log = whole.up_to(beside.step)
    writes = any(task_loss_key(log.series, task) for task in WRITE_TASKS)
    is_stage4 = writes if beside.stage is None else beside.stage == 4
    uniform = uniform_losses(beside.space) if beside.space else None
    if is_stage4:
        accept = Accept(P15)
        unmeasured = judge_stage4_log(accept, log, uniform, beside.record, beside.step, Stage4Thresholds())
    else:
        accept = Accept(S36)
        unmeasured = judge_stage3_log(accept, log, beside.record, beside.step, Stage3Thresholds())
    show(accept)
    return {
        "format": FORMAT,
        "log": _file(log, whole),
        "judged_as": accept.criterion.id,
        "healthy": not accept.failures,
        "reasons": accept.failures,
        "findings": accept.details.get(FINDINGS, []),
        "not_judged": [*(str(each) for each in unmeasured), *accept.unclear],
        "notes": accept.details.get("notes", []),
        "uniform": _uniform(uniform),
        "figures": _figures(log),
    }


def _file(log: TrainLog, whole: TrainLog) -> dict[str, Any]:
    return {
        "path": str(log.where),
        "format": log.format,
        "records": log.n_records,
        "unreadable": log.n_unreadable,
        "has_steps": log.counted,
        "first_step": int(log.steps[0]),
        "last_step": log.last_step,
        "steps_not_looked_at": int(len(whole.steps) - len(log.steps)),
    }


def _uniform(uniform: Uniform | None) -> dict[str, float] | None:
    return {"vocabulary": uniform.vocabulary} | {str(t): v for t, v in uniform.ranges.items()} if uniform else None


def _figures(log: TrainLog) -> dict[str, dict[str, float | int | None]]:
    """Of every key that something is known of: its first, last, lowest and highest value."""
    figures: dict[str, dict[str, float | int | None]] = {}
    for key, series in log.series.items():
        finite = series.finite.values
        if kind_of(key) and len(series.steps):
            low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
            figures[key] = {
                "n": len(series.steps),
                "first_step": int(series.steps[0]),
                "first": _or_none(series.values[0]),
                "last_step": int(series.steps[-1]),
                "last": _or_none(series.values[-1]),
                "min": low,
                "max": high,
            }
    return figures


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
