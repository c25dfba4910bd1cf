"""A run's config out of a TOML file, a backbone's own settings, and overrides from the command line.

    read_config("tier-b", backbone="qwen3-8b", overrides=["steps.max_steps=500"])

Later ones win: the defaults of training/config.py, the run's file, the backbone's file (its tables `[common]` and
`[stage3]` or `[stage4]`), the overrides. Ready files are in training/configs/; those of Qwen3-8B are the field's.
"""

import dataclasses
import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import HarnessError
from training.config import MIX_TASKS, RunConfig

CONFIGS = Path(__file__).parent / "configs"
BACKBONES = CONFIGS / "backbones"
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
        if whole := set(tables) & set(_WHOLE):
            raise HarnessError(f"--set {override}", f"one entry of {min(whole)}", f"{'.'.join(tables)}={{ … }}",
                               "Give the whole table: it replaces the file's.")  # fmt: skip
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
