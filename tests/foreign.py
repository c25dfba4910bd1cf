"""Checkpoints as other trainers leave them, made of the tiny one, and `gates init` run on them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from gates.cli import app
from tests.tiny import HIDDEN, Tiny

runner = CliRunner()


def field_checkpoint(tiny: Tiny) -> Path:
    """The tiny checkpoint as the field's trainer leaves one: rows pickled, adapter beside it, no bundle.json."""
    rows = load_file(tiny.ckpt / "trainable_rows.safetensors")
    declared = json.loads((tiny.ckpt / "trainable_rows.json").read_text())
    for name in ("trainable_rows.safetensors", "bundle.json", "token_space.sha256"):
        (tiny.ckpt / name).unlink()
    shutil.move(tiny.ckpt / "adapter", tiny.ckpt.parent / "lora_20")
    bounds = {name: declared[name] for name in ("row_start", "row_end", "base_llm")}
    torch.save(bounds | rows | {"dtype": "torch.float32"}, tiny.ckpt / "trainable_rows.pt")
    return tiny.ckpt


def whole_model(tiny: Tiny, *, tied: bool = False) -> Path:
    """A whole model of random weights with the tiny token space, in a folder whose name says nothing."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=tiny.space.vocab_size_total, hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, intermediate_size=48, tie_word_embeddings=tied,
    )  # fmt: skip
    ckpt = tiny.root / "merged" / "final_5"
    Qwen3ForCausalLM(config).save_pretrained(ckpt)
    for name in ("token_space.json", "token_space.sha256"):
        shutil.copyfile(tiny.ckpt / name, ckpt / name)
    return ckpt


def init(ckpt: Path, *args: str | Path | int) -> Any:
    """Run the command."""
    return runner.invoke(app, ["init", str(ckpt), *map(str, args)])


def bundle(ckpt: Path) -> dict[str, Any]:
    """The bundle.json that was written."""
    obj: dict[str, Any] = json.loads((ckpt / "bundle.json").read_text())
    return obj
