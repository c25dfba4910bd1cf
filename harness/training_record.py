"""What a trainer says of its own run: `training.json` beside a checkpoint's weights. Optional: the field has none."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import BundleError
from harness.files import read_json

RECORD_NAME = "training.json"
RECORD_FORMAT: Literal["training-record/1"] = "training-record/1"
Stopped = Literal["running", "steps", "plateau", "near_zero"]
Schedule = Literal["constant", "cosine", "linear"]


class LearningRates(BaseModel):
    """How the learning rate was to go: up to its peak in `warmup_steps`, then as `schedule` says.

    The rate at a step counted from 1 is `peak * share(step)`; `cosine` and `linear` end at `floor * peak` after
    `max_steps`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    schedule: Schedule
    peak: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    max_steps: int = Field(gt=0)
    floor: float = Field(default=0.0, ge=0, le=1)


class TrainingRecord(BaseModel):
    """training.json at the border.

    Attributes:
        stage: 3 or 4.
        step: optimiser steps so far.
        train_rows: examples in the training set, and by source.
        effective_batch: sequences an optimiser step: per device x accumulation x processes.
        max_steps: after how many steps the run was to end.
        stopped: why it ended; `running` for a checkpoint on the way.
        learning_rates: by name of the logged key (`lr`, `lr_lora`).
        log_every, eval_every: steps between two lines of the log, and between two evaluations (0: none).
        config: the resolved config of the run, as its own trainer reads it.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["training-record/1"] = RECORD_FORMAT
    stage: Literal[3, 4]
    step: int = Field(ge=0)
    train_rows: int = Field(ge=0)
    sources: dict[str, int] = {}
    effective_batch: int = Field(gt=0)
    max_steps: int = Field(gt=0)
    stopped: Stopped = "running"
    learning_rates: dict[str, LearningRates] = {}
    log_every: int = Field(default=0, ge=0)
    eval_every: int = Field(default=0, ge=0)
    config: dict[str, Any] = {}


def read_training_record(checkpoint: Path) -> TrainingRecord | None:
    """The record of a checkpoint's run; None where its trainer wrote none.

    Raises:
        BundleError: the file is there and is no such record.
    """
    path = checkpoint / RECORD_NAME
    if not path.is_file():
        return None
    try:
        return TrainingRecord.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            path,
            f"{'.'.join(map(str, first['loc'])) or 'the object'}: {first['msg']}",
            f"a {RECORD_FORMAT} object",
            "Write it again, or delete it: it is optional.",
        ) from None
