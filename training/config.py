"""A stage's run as a typed config: a TOML file, a backbone's own settings, and overrides from the command line.

    read_config("tier-b", backbone="qwen3-8b", overrides=["steps.max_steps=500"])

Later ones win: the defaults here, the run's file, the backbone's file (its tables `[common]` and `[stage3]` or
`[stage4]`), the overrides. Ready files are in training/configs/; the field's settings are those of Qwen3-8B.
"""

import dataclasses
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import HarnessError
from harness.training_record import Schedule

CONFIGS = Path(__file__).parent / "configs"
BACKBONES = CONFIGS / "backbones"
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


_ADAPTER = TypeAdapter(RunConfig)
_WHOLE = ("shares", "start", "weights")  # tables that say everything about their matter: replaced, not added to


def read_config(name: str | Path, backbone: str = "", overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a run.

    Args:
        name: a file, or the name of one in training/configs.
        backbone: a file, or the name of one in training/configs/backbones; empty takes the run file's own.
        overrides: `key.of.it=value`, the value as TOML; what is no TOML is text.

    Raises:
        HarnessError: a file is missing or no TOML, or a key or value is none that a run has.
    """
    path = _find(name, CONFIGS)
    values, last = _read(path), _overrides(overrides)
    chosen = backbone or last.get("backbone") or values.get("backbone", "")
    if chosen and isinstance(chosen, str):
        values = _merged(values, _backbone(chosen, values.get("stage")))
        last["backbone"] = Path(chosen).name.removesuffix(".toml")  # `stem` would cut qwen3-0.6b
    return check_config(_merged(values, last), path)


def check_config(values: dict[str, Any], where: Path | str) -> RunConfig:
    """A config out of plain values.

    Raises:
        HarnessError: a key or value is none that a run has, or two contradict each other.
    """
    try:
        # By way of JSON: strictness then concerns values, and lets tables become dataclasses.
        config = _ADAPTER.validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise HarnessError(
            where, f"{key}: {first['msg']}", "a key of training/config.py", "Correct the file or the override."
        ) from None
    for found, expected in _contradictions(config):
        raise HarnessError(where, found, expected, "Correct the file or the override.")
    return config


def as_values(config: RunConfig) -> dict[str, Any]:
    """The config as plain values, as `check_config` takes them."""
    return dataclasses.asdict(config)


def _contradictions(config: RunConfig) -> list[tuple[str, str]]:
    """Found and expected, for what no type forbids."""
    mix, steps, stop = config.mix, config.steps, config.stop
    wrong = [
        (f"mix: the task {task!r}", f"one of {', '.join(MIX_TASKS)}")
        for table in (mix.shares, mix.start, mix.weights)
        for task in table
        if task not in MIX_TASKS
    ]
    if min([*mix.shares.values(), *mix.start.values(), *mix.weights.values()], default=0) < 0:
        wrong.append(("mix: a share or weight below 0", "0 or more"))
    if 0 in mix.weights.values():  # a step of such sequences alone would have no loss
        wrong.append(("mix.weights: a weight of 0", "a weight above 0, or no share for the task"))
    if not sum(mix.shares.values()) > 0:
        wrong.append(("mix.shares: no task", "at least one with a share above 0"))
    if (mix.ramp_steps > 0) != bool(mix.start):
        wrong.append(("mix: one of start and ramp_steps", "both, or neither"))
    if not (0 <= mix.prompt_dropout <= 1 and 0 <= mix.noise <= 1):
        wrong.append(("mix.prompt_dropout or mix.noise beyond 0 to 1", "a probability"))
    if min(config.batch.per_device, config.batch.accumulation, steps.log_every, steps.save_every) < 1:
        wrong.append(("batch.per_device, batch.accumulation, steps.log_every or steps.save_every below 1", "1 or more"))
    for name, every in (("eval_every", steps.eval_every), ("save_every", steps.save_every)):
        # So that a run neither ends nor resumes in the middle of what a line of the log averages.
        if every % max(1, steps.log_every):
            wrong.append((f"steps.{name} {every}", f"a multiple of steps.log_every {steps.log_every}"))
    if steps.max_steps < 0 or (steps.max_steps == 0 and not steps.epochs > 0):
        wrong.append((f"steps.max_steps {steps.max_steps} and steps.epochs {steps.epochs}", "one of them above 0"))
    if stop.on_plateau and (stop.window < 2 or steps.eval_every == 0):
        wrong.append(("stop.on_plateau without evaluations", "steps.eval_every above 0 and stop.window of 2 or more"))
    return wrong + [
        (f"{name} {value:g}", f"from {least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more")
        for name, value, least, most in _bounds(config)
        if not least <= value <= most
    ]


def _bounds(config: RunConfig) -> list[tuple[str, float, float, float]]:
    """Name, value, and the least and the most that it may be: what a run would else notice only at its first save."""
    optim, inf = config.optim, math.inf
    return [
        ("seed", config.seed, 0, inf),
        ("temperature", config.temperature, 0, inf),
        ("data.max_tokens", config.data.max_tokens, 2, inf),
        ("mix.ramp_steps", config.mix.ramp_steps, 0, inf),
        ("optim.lr_rows", optim.lr_rows, 0, inf),
        ("optim.lr_lora", optim.lr_lora, 0, inf),
        ("optim.warmup_steps", optim.warmup_steps, 0, inf),
        ("optim.floor", optim.floor, 0, 1),
        ("optim.clip", optim.clip, 0, inf),
        ("optim.weight_decay", optim.weight_decay, 0, inf),
        ("optim.beta1", optim.beta1, 0, 1),
        ("optim.beta2", optim.beta2, 0, 1),
        ("steps.eval_every", config.steps.eval_every, 0, inf),
        ("measure.examples", config.measure.examples, 2, inf),
        ("measure.texts", config.measure.texts, 0, inf),
        ("measure.batch_tokens", config.measure.batch_tokens, 1, inf),
        ("stop.near_zero_after", config.stop.near_zero_after, -1, inf),
        ("lora.rank", config.lora.rank, 1, inf),
        ("lora.dropout", config.lora.dropout, 0, 1),
    ]


def _find(name: str | Path, folder: Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    ready = folder / f"{path.name}.toml"
    # A name, not a path: `../x` must not reach out of the folder of ready files.
    if path.name == str(name) and ready.is_file():
        return ready
    names = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
    raise HarnessError(path, "no file", f"a TOML file, or one of {names}", "Correct the name.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise HarnessError(path, f"text that is not TOML ({error})", "a TOML file", "Correct the file.") from None


def _backbone(name: str, stage: object) -> dict[str, Any]:
    """The backbone's tables for a stage, `[common]` first."""
    path = _find(name, BACKBONES)
    tables = _read(path)
    if unknown := set(tables) - {"common", "stage3", "stage4"}:
        raise HarnessError(path, f"{sorted(unknown)[0]!r}", "[common], [stage3], [stage4]", "Correct the file.")
    if bare := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise HarnessError(path, f"{bare[0]} = {tables[bare[0]]!r}", f"a table [{bare[0]}]", "Correct the file.")
    return _merged(tables.get("common", {}), tables.get(f"stage{stage}", {}))


def _merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Tables laid over each other, the later ones on top."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key, {})
            if not isinstance(value, dict) or key in _WHOLE:
                merged[key] = value
            elif isinstance(below, dict):  # else the lower layer is wrong, and stays to be refused
                merged[key] = _merged(below, value)
    return merged


def _overrides(given: Sequence[str]) -> dict[str, Any]:
    """`key.of.it=value` as nested tables."""
    values: dict[str, Any] = {}
    for override in given:
        key, found, text = override.partition("=")
        if not found or not key:
            raise HarnessError(f"--set {override}", "no key=value", "e.g. steps.max_steps=500", "Correct the override.")
        *tables, name = key.strip().split(".")
        inner = values
        for table in tables:
            inner = inner.setdefault(table, {})
            if not isinstance(inner, dict):
                raise HarnessError(f"--set {override}", f"{table} set to {inner!r} before it", "one of the two",
                                   "Correct the overrides.")  # fmt: skip
        inner[name] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
