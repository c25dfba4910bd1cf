"""A checkpoint at a glance: what it is, what it points to, what its golden set expects, what moved. One JSON object."""

import dataclasses
from typing import Any

import numpy as np

from harness.bundle import INPUTS, Bundle
from harness.checkpoint import Checkpoint
from harness.errors import HarnessError
from harness.files import read_json
from harness.lengths import limits_of, summarise_tasks
from harness.tiers import describe_tier, tier_of
from harness.token_space import Modality, TokenSpace
from harness.training_record import RECORD_NAME, TrainingRecord, read_training_record

FORMAT = "bundle-inspect/1"
_LONGEST_LIST = 50  # entries of a list in what moved; a wholly different model would name every tensor


def inspect_bundle(checkpoint: Checkpoint, max_new: dict[Modality, int | None], *, weights: bool) -> dict[str, Any]:
    """Look at a checkpoint.

    Args:
        checkpoint: the opened checkpoint.
        max_new: modality to the limit that generation will be given; None where the checkpoint's own holds.
        weights: whether to read all weights: for the checkpoint's digest and for what moved.
    """
    bundle = checkpoint.bundle
    return {
        "format": FORMAT,
        "checkpoint": {
            "path": str(bundle.path),
            "form": bundle.form,
            "stage": _stage(bundle),
            "step": bundle.step,
            "sha256": checkpoint.sha256 if weights else None,
        },
        "token_space": _token_space(bundle.space),
        "decoding": bundle.decoding,
        "training": _training(bundle),
        "inputs": {name: _input(bundle, name) for name in INPUTS},
        "tasks": summarise_tasks(bundle, limits_of(bundle, max_new)),
        "what_moved": _what_moved(checkpoint) if weights else {"problem": "not read: --quick"},
    }


def _stage(bundle: Bundle) -> int | None:
    file = bundle.path / "bundle.json"
    declared = read_json(file) if file.is_file() else {}
    return declared.get("stage")


def _training(bundle: Bundle) -> dict[str, Any] | None:
    """What the run's own record says, and the same in a line; None where its trainer wrote none."""
    try:
        record = read_training_record(bundle.path)
    except HarnessError as error:
        return {"problem": str(error), "summary": f"{RECORD_NAME} cannot be used"}
    if record is None:
        return None
    shown = ("stage", "step", "max_steps", "train_rows", "sources", "effective_batch", "stopped")
    tier = tier_of(record.train_rows) if record.stage == 3 else None
    return {name: getattr(record, name) for name in shown} | {"tier": tier, "summary": _training_line(record)}


def _training_line(record: TrainingRecord) -> str:
    """Rows, tier, steps, effective batch, and why the run ended."""
    rows = describe_tier(record.train_rows) if record.stage == 3 else f"{record.train_rows:,} rows"
    ended = "still running" if record.stopped == "running" else f"stopped: {record.stopped.replace('_', ' ')}"
    steps = f"step {record.step:,} of {record.max_steps:,}"
    return f"{rows}, {steps}, {record.effective_batch:,} sequences a step, {ended}"


def _token_space(space: TokenSpace) -> dict[str, Any]:
    return {
        "sha256": space.sha256,
        "version": space.raw["version"],
        "created_utc": space.raw.get("created_utc"),
        "text_vocab_size": space.text_vocab_size,
        "vocab_size_total": space.vocab_size_total,
        "ranges": space.raw["ranges"],
        "special_tokens": space.special_tokens,
        "unknown_keys": list(space.unknown_keys),
    }


def _input(bundle: Bundle, name: str) -> dict[str, Any]:
    path = bundle.inputs.get(name)
    return {"path": str(path) if path else None, "found": bool(path and path.exists())}


def _what_moved(checkpoint: Checkpoint) -> dict[str, Any]:
    try:
        audit = checkpoint.parameters()
    except HarnessError as error:
        return {"problem": str(error)}
    changed = {"text_rows_changed": audit.text_rows_changed, "tensors_changed": audit.tensors_changed}
    return changed | _plain(audit)


def _plain(value: Any) -> Any:
    """A measurement's result as JSON has it, whatever fields it has; long lists cut, and said so."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        kept = [_plain(each) for each in list(value)[:_LONGEST_LIST]]
        return kept if len(kept) == len(value) else [*kept, f"and {len(value) - len(kept)} more"]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
