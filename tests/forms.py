"""The weights of a tiny bundle in the other two forms, and edits of what safetensors files hold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness.bundle import open_bundle
from harness.files import write_json
from harness.model import load_model
from tests.tiny import Tiny, write_space

Tensors = dict[str, torch.Tensor]
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def write_whole(tiny: Tiny, name: str = "merged", *, padding: int = 0) -> Path:
    """Form 2: rows and adapter merged into one model, its tables `padding` rows longer than the token space."""
    folder = tiny.root / name / "checkpoint_20"
    model = load_model(open_bundle(tiny.ckpt), device="cpu", dtype="float32")
    if padding:
        with torch.no_grad():
            model.resize_token_embeddings(tiny.space.vocab_size_total + padding, mean_resizing=False)
    model.save_pretrained(folder)
    return _as_bundle(tiny, folder)


def write_adapter_form(tiny: Tiny, name: str = "peft", *, trained_tokens: bool = False) -> Path:
    """Form 3: the same adapter with both tables in it, whole (modules_to_save) or as trained tokens."""
    folder = tiny.root / name / "checkpoint_20"
    rows, base = load_file(tiny.ckpt / "trainable_rows.safetensors"), load_file(tiny.base / "model.safetensors")
    tensors = load_file(tiny.ckpt / "adapter" / "adapter_model.safetensors")
    config: dict[str, Any] = json.loads((tiny.ckpt / "adapter" / "adapter_config.json").read_text())
    ids = list(range(tiny.space.text_vocab_size, tiny.space.vocab_size_total))
    for table, key, new in (("model.embed_tokens", EMBEDDING, "embeddings"), ("lm_head", HEAD, "lm_head")):
        if new not in rows:
            continue
        if trained_tokens:
            tensors[f"base_model.model.{table}.token_adapter.trainable_tokens_delta"] = rows[new]
        else:
            tensors[f"base_model.model.{table}.weight"] = torch.cat([base[key], rows[new]])
    if trained_tokens:
        config["trainable_token_indices"] = {"embed_tokens": ids} | ({"lm_head": ids} if "lm_head" in rows else {})
    else:
        config["modules_to_save"] = ["embed_tokens", "lm_head"]
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_json(folder / "adapter_config.json", config)
    return _as_bundle(tiny, folder)


def edit_tensors(file: Path, edit: Callable[[Tensors], Any]) -> None:
    """Save a safetensors file again with other contents; `edit` changes the dict in place."""
    before = file.read_bytes()
    tensors = load_file(file)
    edit(tensors)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    assert file.read_bytes() != before, f"the edit changed nothing in {file}"


def header_of(file: Path) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and its data."""
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_raw(file: Path, header: dict[str, Any] | bytes, data: bytes) -> None:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def edit_header(file: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the header of a safetensors file and leave its data as it is."""
    header, data = header_of(file)
    edit(header)
    write_raw(file, header, data)


def _as_bundle(tiny: Tiny, folder: Path) -> Path:
    write_space(folder, tiny.space)
    declared = json.loads((tiny.ckpt / "bundle.json").read_text())
    declared.pop("lora", None)
    write_json(folder / "bundle.json", declared)
    return folder
