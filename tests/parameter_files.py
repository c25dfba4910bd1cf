"""Whole checkpoints, fingerprints and adapters on disk, to be damaged by the parameter tests."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from harness.files import write_json
from harness.fingerprint import FINGERPRINT_FORMAT, fingerprint
from tests.forms import EMBEDDING as EMBED
from tests.forms import HEAD, Tensors
from tests.tiny import TEXT, Tiny, edit_json, write_space

NORM = "model.layers.0.input_layernorm.weight"
PROJECTION = "model.layers.0.self_attn.q_proj.weight"
Defect = Callable[[Tensors], None]


def write_whole(tiny: Tiny, stage: int, *, base: bool = True, lora: bool = False) -> Path:
    """A whole model: the base's tensors with the trained rows of tiny's checkpoint appended to both tables."""
    folder = tiny.root / "whole" / f"checkpoint_{stage}0"
    folder.mkdir(parents=True)
    tensors = load_file(tiny.base / "model.safetensors")
    rows = load_file(tiny.ckpt / "trainable_rows.safetensors")
    tensors[EMBED] = torch.cat([tensors[EMBED][:TEXT], rows["embeddings"]])
    if HEAD in tensors:
        tensors[HEAD] = torch.cat([tensors[HEAD][:TEXT], rows["lm_head"]])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tiny.base / "config.json", folder / "config.json")
    edit_json(folder / "config.json", vocab_size=tiny.space.vocab_size_total)
    write_space(folder, tiny.space)
    bundle = {"format": "checkpoint-bundle/1", "stage": stage, "parent": "../../stage3/checkpoint_10"}
    bundle |= {"golden": "../../golden", "shards": "../../shards"}
    bundle |= {"base": "../../base"} if base else {"base_fingerprint": "base_fingerprint.json"}
    bundle |= {"lora": "../../stage4/checkpoint_20/adapter"} if lora else {}
    write_json(folder / "bundle.json", bundle)
    if not base:
        write_fingerprint(tiny, folder)
    return folder


def stage3_rows(tiny: Tiny) -> Path:
    """Tiny's checkpoint as stage 3 leaves it: no adapter."""
    shutil.rmtree(tiny.ckpt / "adapter", ignore_errors=True)
    bundle = json.loads((tiny.ckpt / "bundle.json").read_text())
    bundle.pop("lora", None)
    write_json(tiny.ckpt / "bundle.json", bundle | {"stage": 3})
    return tiny.ckpt


def write_fingerprint(tiny: Tiny, folder: Path) -> None:
    """base_fingerprint.json, as the vocabulary surgery writes it."""
    reference = fingerprint(tiny.base, TEXT)
    stored = {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in reference.stored.items()}
    obj = {"format": FINGERPRINT_FORMAT, "tensors": reference.tensors, "text_rows": reference.text_rows}
    write_json(folder / "base_fingerprint.json", obj | {"text_vocab_size": TEXT, "stored": stored})


def merge_adapter(tiny: Tiny, tensors: Tensors, *, scale: float = 2.0, dtype: torch.dtype = torch.float32) -> None:
    """Add scale * B @ A to the adapted weights; tiny's adapter has r 2, alpha 4, so that 2 is right."""
    adapter = load_file(tiny.ckpt / "adapter" / "adapter_model.safetensors")
    for name, b in adapter.items():
        if "lora_B" in name:
            a = adapter[name.replace("lora_B", "lora_A")]
            weight = name.removeprefix("base_model.model.").replace(".lora_B", "")
            merged = tensors[weight].to(dtype) + (scale * (b.to(dtype) @ a.to(dtype)))
            tensors[weight] = merged.float()


# ---------------------------------------------------------------------- defects of a whole model


def flip_bit(name: str, row: int) -> Defect:
    """One bit of one value."""

    def edit(tensors: Tensors) -> None:
        tensors[name].view(torch.int32)[row, 3] ^= 1

    return edit


def decay(name: str, factor: float = 0.99) -> Defect:
    """AdamW's decay of rows whose gradient is masked."""

    def edit(tensors: Tensors) -> None:
        tensors[name][:TEXT] *= factor

    return edit


def round_trip(name: str, dtype: torch.dtype) -> Defect:
    """Through a narrower type and back."""

    def edit(tensors: Tensors) -> None:
        tensors[name][:TEXT] = tensors[name][:TEXT].to(dtype).float()

    return edit


def shift(name: str, by: int) -> Defect:
    """Row i becomes row i + by."""

    def edit(tensors: Tensors) -> None:
        tensors[name][: TEXT - by] = tensors[name][by:TEXT].clone()

    return edit


def redraw(name: str) -> Defect:
    """Text rows drawn anew."""

    def edit(tensors: Tensors) -> None:
        tensors[name][:TEXT] = 0.02 * torch.randn(TEXT, 32, generator=torch.Generator().manual_seed(9))

    return edit


def nudge(name: str, rows: slice, size: float) -> Defect:
    """Small steps on some rows."""

    def edit(tensors: Tensors) -> None:
        noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(8))
        tensors[name][rows] += size * noise[rows]

    return edit


def put(name: str, index: tuple[int, ...], value: float) -> Defect:
    """One value."""

    def edit(tensors: Tensors) -> None:
        tensors[name][index] = value

    return edit


def drop(name: str) -> Defect:
    """A tensor less."""

    def edit(tensors: Tensors) -> None:
        del tensors[name]

    return edit


def add(name: str) -> Defect:
    """A tensor more."""

    def edit(tensors: Tensors) -> None:
        tensors[name] = torch.ones(4, 4)

    return edit


def cast(name: str, dtype: torch.dtype) -> Defect:
    """A tensor in another type."""

    def edit(tensors: Tensors) -> None:
        tensors[name] = tensors[name].to(dtype)

    return edit


def reshape(name: str) -> Defect:
    """A tensor in another shape of as many values."""

    def edit(tensors: Tensors) -> None:
        tensors[name] = tensors[name].reshape(2, -1)

    return edit
