"""A stage's run as typed plain data: what every key of a config means.

training/config_files.py reads one from a TOML file, a backbone's settings and overrides from the command line.
"""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict

from harness.training_record import Schedule

# What the mix may hold: the four tasks, plain text, and the media's own ids to be copied or restored.
MIX_TASKS = (
    "a2t", "i2t", "t2a", "t2i", "text", "copy_audio", "copy_image", "denoise_audio", "denoise_image",
)  # fmt: skip
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class DataConfig:
    """Where the run's data lies. What is left empty is taken from the parent's bundle.json.

    Attributes:
        parent: the checkpoint that training begins at: the surgery's for stage 3, stage 3's for stage 4. A folder of
            `checkpoint_<step>` stands for the last of them.
        train: JSONL of training examples in the field's format.
        dev: examples to measure on.
        text: JSONL of plain text to replay: `input_ids` or `text` a line, and optionally `labels`.
        text_eval: plain text to measure on.
        max_tokens: longer examples are dropped and counted; a target is never cut.
    """

    __pydantic_config__ = _STRICT

    parent: str = ""
    train: str = ""
    dev: str = ""
    text: str = ""
    text_eval: str = ""
    max_tokens: int = 2048


@dataclass(frozen=True)
class MixConfig:
    """Which sequences a step holds, and how much each counts.

    Attributes:
        shares: task -> its share of the sequences, in any unit; tasks as in MIX_TASKS.
        start: shares at the first step, from which `shares` are reached linearly; empty for none.
        ramp_steps: after how many steps they are reached.
        weights: task -> weight of a sequence's loss; 1 where it is silent.
        prompt_dropout: probability that a write example is trained on an empty prompt, which later allows
            classifier-free guidance and makes the loss of an empty prompt an honest figure.
        noise: of the `denoise` tasks, the share of ids that are replaced by others of the range whose turn it is.
    """

    __pydantic_config__ = _STRICT

    shares: dict[str, float] = field(default_factory=lambda: {"a2t": 1.0, "i2t": 1.0})
    start: dict[str, float] = field(default_factory=dict)
    ramp_steps: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    prompt_dropout: float = 0.1
    noise: float = 0.3


@dataclass(frozen=True)
class BatchConfig:
    """Sequences a step: per_device x accumulation x processes.

    Attributes:
        group_by_length: put sequences of like length into one forward; the step's sequences stay the same.
    """

    __pydantic_config__ = _STRICT

    per_device: int = 1
    accumulation: int = 16
    group_by_length: bool = True


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its rates.

    Attributes:
        lr_rows: peak rate of the new embedding rows, and of the head's.
        lr_lora: of the adapter, stage 4.
        schedule: constant, or down to `floor` times the peak by a cosine or a line.
        warmup_steps: linear, from one step's share.
        clip: largest norm of the gradient; 0 does not clip.
        weight_decay: AdamW's, on new rows and adapter. Text rows are no parameters and cannot decay.
        name: a transformers optimiser (`adamw_torch`, `adafactor`, `adamw_bnb_8bit`, …).
    """

    __pydantic_config__ = _STRICT

    lr_rows: float = 1e-3
    lr_lora: float = 5e-5
    schedule: Schedule = "constant"
    warmup_steps: int = 20
    floor: float = 0.0
    clip: float = 1.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    name: str = "adamw_torch"


@dataclass(frozen=True)
class StepsConfig:
    """How long, and how often what.

    Attributes:
        max_steps: optimiser steps; 0 takes `epochs`.
        epochs: passes over the training set where max_steps is 0.
        log_every, eval_every, save_every: steps; eval_every 0 measures nothing.
    """

    __pydantic_config__ = _STRICT

    max_steps: int = 0
    epochs: float = 1.0
    log_every: int = 50
    eval_every: int = 100
    save_every: int = 500


@dataclass(frozen=True)
class MeasureConfig:
    """What is measured while training, by the scorer that judges checkpoints.

    Attributes:
        examples: of each task, the first ones of the dev set.
        texts: plain texts, the first ones; 0 takes all.
        batch_tokens: padded tokens of a batch.
    """

    __pydantic_config__ = _STRICT

    examples: int = 128
    texts: int = 0
    batch_tokens: int = 8192


@dataclass(frozen=True)
class StopConfig:
    """When a run ends before its last step; training/plateau.py states the rule.

    Attributes:
        on_plateau: whether to end when the gap has stopped growing and text is clean.
        window: evaluations that the growth is measured over.
        min_steps: no plateau before this step.
        max_growth: share of the gap that it may provably still grow by over the window and count as stopped.
        near_zero_nats: a gap whose upper end is below this counts as none, nats per token.
        near_zero_after: the step from which a gap near zero ends the run; 0 takes half of the steps planned, but no
            less than one pass over the training set and no more than all of them; -1 never.
        max_text_rise_pct: text perplexity above the base's that is still clean.
    """

    __pydantic_config__ = _STRICT

    on_plateau: bool = True
    window: int = 4
    min_steps: int = 0
    max_growth: float = 0.1
    near_zero_nats: float = 0.02
    near_zero_after: int = 0
    max_text_rise_pct: float = 1.0


@dataclass(frozen=True)
class LoraConfig:
    """Stage 4's adapter, on all seven projections of a block unless `targets` says otherwise."""

    __pydantic_config__ = _STRICT

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


@dataclass(frozen=True)
class PrecisionConfig:
    """Types of the weights.

    Attributes:
        base: of the frozen backbone and of the text rows.
        trained: of new rows and adapter. bfloat16 rounds small updates away; float32 keeps them.
        activation_checkpointing: compute activations again in the backward pass instead of keeping them.
    """

    __pydantic_config__ = _STRICT

    base: Literal["float32", "bfloat16", "float16"] = "float32"
    trained: Literal["float32", "bfloat16"] = "float32"
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class RunConfig:
    """One stage of training.

    Attributes:
        stage: 3 trains new rows alone; 4 the rows and a LoRA adapter.
        out: the run's folder: checkpoint_<step>, train_log.jsonl, evals/.
        backbone: whose settings are in force; the backbone itself is the parent's base.
        train_head: whether the head's new rows train too, where the head has rows of its own.
        trackers: as transformers' `report_to`: wandb, tensorboard, mlflow, …
        temperature: what the checkpoint is to be sampled at; 0 is greedy.
        seed: of the order of the data, prompt dropout, noise and the adapter's first values.
    """

    __pydantic_config__ = _STRICT

    stage: Literal[3, 4]
    out: str = "runs/train"
    backbone: str = ""
    train_head: bool = True
    data: DataConfig = DataConfig()
    mix: MixConfig = MixConfig()
    batch: BatchConfig = BatchConfig()
    optim: OptimConfig = OptimConfig()
    steps: StepsConfig = StepsConfig()
    measure: MeasureConfig = MeasureConfig()
    stop: StopConfig = StopConfig()
    lora: LoraConfig = LoraConfig()
    precision: PrecisionConfig = PrecisionConfig()
    trackers: list[str] = field(default_factory=list)
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class SurgeryConfig:
    """How the new rows begin.

    Attributes:
        noise: share of the text rows' standard deviation that the new rows scatter by around their mean.
        untie_new_rows: over a tied backbone, give the new head rows a table of their own.
        seed: of the noise.
        dtype: what the base is run in, for its text loss; the new rows are float32 in any case.
    """

    noise: float = 0.02
    untie_new_rows: bool = False
    seed: int = 0
    dtype: str = "float32"
