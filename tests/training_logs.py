"""Training logs made up: curves between the figures that the spec's section A names, written and broken."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gates.dynamics_reading import Beside, read_log
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import token_space_object

Rows = list[dict[str, Any]]
# spec/stage4-verification.md, section A: first and last, at steps 50 and 2000.
SPEC = {
    "t2i_avg": (12.817, 4.417),
    "t2a_avg": (9.811, 5.581),
    "a2t_avg": (2.099, 1.621),
    "i2t_avg": (1.501, 0.962),
    "head_norm_mean": (0.457, 1.164),
    "emb_norm_mean": (2.094, 2.172),
}
FIRST, LAST, STRIDE = 50, 2000, 50
LOSSES = ("t2i_avg", "t2a_avg", "a2t_avg", "i2t_avg")


def spec_rows(*, stride: int = STRIDE, noise: float = 0.0, seed: int = 0) -> Rows:
    """Curves that are straight in the logarithm of the step, as learning curves nearly are.

    Args:
        stride: steps between lines.
        noise: of single losses, a share.
        seed: of that noise.
    """
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for step in range(FIRST, LAST + 1, stride):
        x = math.log(step / FIRST) / math.log(LAST / FIRST)
        row: dict[str, Any] = {"step": step}
        for key, (first, last) in SPEC.items():
            spread = math.exp(noise * rng.normal()) if key in LOSSES else 1.0
            row[key] = first ** (1 - x) * last**x * spread
        row["loss_mean"] = sum(row[key] for key in LOSSES) / len(LOSSES)
        rows.append(row)
    return rows


def in_bfloat16(value: float) -> float:
    """The nearest number of 8 significant bits."""
    exponent = math.floor(math.log2(value))
    return round(value / 2.0 ** (exponent - 7)) * 2.0 ** (exponent - 7)


def field_space() -> TokenSpace:
    """The first users' sizes: 164,021 ids, 8,192 image codes, four codebooks of 1,024."""
    sizes = {"TEXT": 151_669, "SPECIAL": 64, "IMAGE": 8_192} | {f"AUDIO_CB{k}": 1_024 for k in range(4)}
    ranges, start = {}, 0
    for name, size in sizes.items():
        ranges[name] = {"start": start, "end": start + size - 1, "size": size}
        start += size
    specials = {name: 151_669 + i for i, name in enumerate(token_space_object()["special_tokens"])}
    changes = {"text_vocab_size": 151_669, "ranges": ranges, "special_tokens": specials, "vocab_size_total": start}
    return parse_token_space(token_space_object(**changes))


def write_jsonl_log(path: Path, rows: Rows) -> Path:
    """One object a line; NaN as Python's json writes it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_text_log(path: Path, rows: Rows) -> Path:
    """`[train] key=value …` among warnings and progress bars, as the field's trainers leave it."""
    bars = "\r".join(
        f"Loading checkpoint shards: {20 * i:3}%|██        | {i}/5 [00:20<01:20, 20.03s/it]" for i in range(6)
    )
    lines = ["`torch_dtype` is deprecated! Use `dtype` instead!", bars]
    for row in rows:
        shown = (f"{key}={value}" if key in ("step", "epoch") else f"{key}={value:.4f}" for key, value in row.items())
        lines.append("[train] " + " ".join(shown))
        if row["step"] == 500:
            lines.append("/venv/peft/save_and_load.py:309: UserWarning: Setting `save_embedding_layers` to `True`")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_trainer_state(path: Path, rows: Rows) -> Path:
    """trainer_state.json of Hugging Face's Trainer, with its own names of the loss and the rate."""
    names = {"loss_mean": "loss", "lr": "learning_rate"}
    history = [
        {names.get(key, key): value for key, value in row.items()} | {"epoch": row["step"] / 1000} for row in rows
    ]
    ending = {"train_runtime": 1.0, "train_loss": 3.0, "total_flos": 0.0, "epoch": 2.0, "step": rows[-1]["step"]}
    path.write_text(json.dumps({"global_step": LAST, "log_history": [*history, ending]}, indent=2))
    return path


Break = Callable[[Rows], Rows | None]


def broken(rows: Rows, change: Break) -> Rows:
    """A copy of rows, changed in place or into what `change` returns."""
    copy = [dict(row) for row in rows]
    changed = change(copy)
    return copy if changed is None else changed


def judged(path: Path, rows: Rows, space: TokenSpace | None = None, **beside: Any) -> dict[str, Any]:
    """What `gates inspect --log` says of rows."""
    return read_log(write_jsonl_log(path / "train_log.jsonl", rows), Beside(space=space or field_space(), **beside))


def whats(seen: dict[str, Any]) -> set[str]:
    """The kinds of what was found."""
    return {finding["what"] for finding in seen["findings"]}
