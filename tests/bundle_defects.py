"""Defects of bundles, written into the bytes of files: the table that P0.0 is held against."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from harness.faults.weights import reshard
from tests.forms import EMBEDDING, HEAD, edit_header, edit_tensors, header_of, write_raw
from tests.tiny import Tiny, edit_json

ROWS = "trainable_rows.safetensors"
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
LORA_OF_LAYER_7 = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def rows_of(tiny: Tiny) -> Path:
    """Form 1's new rows."""
    return tiny.ckpt / ROWS


def base_of(tiny: Tiny) -> Path:
    """The base's weights."""
    return tiny.base / "model.safetensors"


def merged_of(tiny: Tiny) -> Path:
    """Form 2's weights."""
    return tiny.root / "merged" / "checkpoint_20" / "model.safetensors"


def peft_of(tiny: Tiny) -> Path:
    """Form 3's weights."""
    return tiny.root / "peft" / "checkpoint_20" / "adapter_model.safetensors"


def adapter_of(tiny: Tiny) -> Path:
    """The adapter over form 1's rows."""
    return tiny.ckpt / "adapter" / "adapter_model.safetensors"


def put(value: float, name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """An edit that makes the last value of a tensor another one."""

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[-1] = value

    return edit


def write_pickle(path: Path) -> None:
    """A pickle at this place."""
    path.write_bytes(pickle.dumps({"a": 1}))


def _outside(tiny: Tiny) -> None:
    reshard(tiny.base)
    index = tiny.base / "model.safetensors.index.json"
    shutil.copy(tiny.base / "model-00001-of-00003.safetensors", tiny.root / "model-00001-of-00003.safetensors")
    edit_json(
        index, weight_map=json.loads(index.read_text())["weight_map"] | {HEAD: "../model-00001-of-00003.safetensors"}
    )


def _twice(tiny: Tiny) -> None:
    reshard(tiny.base)
    one, other = (tiny.base / f"model-0000{i}-of-00003.safetensors" for i in (1, 2))
    name = next(iter(load_file(one)))
    edit_tensors(other, lambda t: t.update({name: load_file(one)[name]}))


def _deep_json(tiny: Tiny) -> None:
    (tiny.ckpt / "trainable_rows.json").write_text('{"row_start": ' + "[" * 100_000 + "]" * 100_000 + "}")


def _rank(tiny: Tiny) -> None:
    edit_json(peft_config_of(tiny), r=3)


def _no_rows_of_the_head(tiny: Tiny) -> None:
    edit_json(peft_of(tiny).parent / "adapter_config.json", modules_to_save=["embed_tokens"])
    edit_tensors(peft_of(tiny), lambda t: t.pop(f"base_model.model.{HEAD}"))


def config_of(tiny: Tiny) -> Path:
    """The config of the whole model."""
    return merged_of(tiny).parent / "config.json"


def peft_config_of(tiny: Tiny) -> Path:
    """The config of the adapter over rows."""
    return tiny.ckpt / "adapter" / "adapter_config.json"


# id -> (form that is judged, how it is broken, what the gate says)
DEFECTS: dict[str, tuple[str, Callable[[Tiny], object], tuple[str, ...]]] = {
    "pickle-of-rows-only": (
        "rows", lambda t: (rows_of(t).unlink(), write_pickle(t.ckpt / "trainable_rows.pt")),
        ("trainable_rows.pt", "a pickle", "gates init"),
    ),
    "pickle-beside-the-weights": (
        "rows", lambda t: write_pickle(t.ckpt / "training_args.bin"),
        ("training_args.bin", "pickle"),
    ),
    "pickle-in-the-base": (
        "rows", lambda t: write_pickle(t.base / "pytorch_model.bin"),
        ("pytorch_model.bin", "gates init"),
    ),
    "pickle-in-the-adapter": ("rows", lambda t: write_pickle(t.ckpt / "adapter" / "old.TH"), ("old.TH", "pickle")),
    "remote-code": (
        "whole", lambda t: edit_json(config_of(t), auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
        ("auto_map", "modeling_x.X"),
    ),
    "code-by-name-in-the-adapter": (
        "rows", lambda t: edit_json(peft_config_of(t), megatron_config={"a": 1}, megatron_core="x"),
        ("megatron_config", "imports the module"),
    ),
    "truncated": (
        "rows", lambda t: base_of(t).write_bytes(base_of(t).read_bytes()[:-100]), ("model.safetensors", "cut short"),
    ),
    "header-longer-than-the-file": (
        "rows", lambda t: rows_of(t).write_bytes(b"\xff" * 7 + b"\x7f" + b"{}"), (ROWS, "a header inside the file"),
    ),
    "overlapping-tensors": (
        "rows",
        lambda t: edit_header(rows_of(t), lambda h: h["lm_head"].update(data_offsets=h["embeddings"]["data_offsets"])),
        (ROWS, "overlaps another tensor"),
    ),
    "gap-between-tensors": (
        "whole", lambda t: write_raw(merged_of(t), header_of(merged_of(t))[0], header_of(merged_of(t))[1] + b"\0" * 64),
        ("longer than its tensors",),
    ),
    "name-twice-in-a-header": (
        "rows", lambda t: write_raw(rows_of(t), b'{"a":{},"a":{}}', b""), ("a key twice",),
    ),
    "index-points-outside": ("rows", _outside, ("model.safetensors.index.json", "a file outside the folder")),
    "tensor-in-two-shards": ("rows", _twice, ("holds too", "each once")),
    "index-names-a-missing-tensor": (
        "rows",
        lambda t: (reshard(t.base), edit_tensors(t.base / "model-00002-of-00003.safetensors", lambda x: x.popitem())),
        ("not where it says",),
    ),
    "json-nested-without-end": ("rows", _deep_json, ("trainable_rows.json", "nested too deeply")),
    "bundle-json-with-an-unknown-key": (
        "rows", lambda t: edit_json(t.ckpt / "bundle.json", bsae="x"), ("bundle.json", "bsae"),
    ),
    "bundle-json-with-an-impossible-path": (
        "rows", lambda t: edit_json(t.ckpt / "bundle.json", lora="a" * 1000), ("bundle.json", "a file system can hold"),
    ),
    "trained-tokens-that-are-no-list": (
        "rows", lambda t: edit_json(peft_config_of(t), trainable_token_indices=3),
        ("adapter_config.json", "does not fit"),
    ),
    "trained-tokens-below-the-new-rows": (
        "adapter",
        lambda t: edit_json(peft_of(t).parent / "adapter_config.json", trainable_token_indices=[3, 50]),
        ("the first 3", "text rows are the base's"),
    ),
    "config-of-no-known-model": (
        "rows", lambda t: edit_json(t.base / "config.json", model_type="x7"),
        ("builds no model",),
    ),
    "config-with-a-million-layers": (
        "whole", lambda t: edit_json(config_of(t), num_hidden_layers=10**6), ("num_hidden_layers 1000000",),
    ),
    "missing-tensor": ("rows", lambda t: edit_tensors(base_of(t), lambda x: x.pop(Q_PROJ)), (Q_PROJ, "found nothing")),
    "missing-head-of-an-untied-model": (
        "whole", lambda t: edit_tensors(merged_of(t), lambda x: x.pop(HEAD)), (HEAD, "found nothing"),
    ),
    "unexpected-tensor": (
        "whole", lambda t: edit_tensors(merged_of(t), lambda x: x.update(extra=torch.ones(2))), ("extra", "drop it"),
    ),
    "weights-left-over-beside-the-index": (
        "rows",
        lambda t: (shutil.copy(base_of(t), t.root / "old"), reshard(t.base), shutil.copy(t.root / "old", base_of(t))),
        ("model.safetensors", "no part of the model"),
    ),
    "empty-tensor": (
        "rows", lambda t: edit_tensors(base_of(t), lambda x: x.update({Q_PROJ: torch.empty(0, 32)})),
        (Q_PROJ, "shape [0, 32]", "at least one value"),
    ),
    "transposed-tensor": (
        "whole",
        lambda t: edit_tensors(merged_of(t), lambda x: x.update({k: v.T for k, v in x.items() if "0.mlp.down" in k})),
        ("mlp.down_proj.weight", "as config.json says"),
    ),
    "weights-stored-as-integers": (
        "whole", lambda t: edit_tensors(merged_of(t), lambda x: x.update({Q_PROJ: x[Q_PROJ].int()})), (Q_PROJ, "I32"),
    ),
    "nan-in-the-last-new-row": (
        "rows", lambda t: edit_tensors(rows_of(t), put(float("nan"), "lm_head")),
        ("NaN", "row 71"),
    ),
    "infinity-in-the-base": (
        "rows", lambda t: edit_tensors(base_of(t), put(-float("inf"), Q_PROJ)),
        (Q_PROJ, "infinite"),
    ),
    "nan-in-the-adapter": (
        "rows", lambda t: edit_tensors(adapter_of(t), put(float("nan"), LORA.format("A"))),
        ("NaN",),
    ),
    "nan-in-bfloat16": (
        "whole",
        lambda t: (
            edit_tensors(merged_of(t), put(float("nan"), HEAD)),
            edit_tensors(merged_of(t), lambda x: x.update({HEAD: x[HEAD].bfloat16()})),
        ),
        (HEAD, "1 values that are NaN"),
    ),
    "tied-but-different-head": (
        "whole", lambda t: edit_json(config_of(t), tie_word_embeddings=True), ("values that differ", "ties the two"),
    ),
    "rows-of-another-token-space": (
        "rows", lambda t: edit_json(t.ckpt / "trainable_rows.json", row_start=49), ("rows 49 to 120", "rows 48 to 120"),
    ),
    "fewer-rows-than-declared": (
        "rows", lambda t: edit_tensors(rows_of(t), lambda x: x.update(lm_head=x["lm_head"][:-1])),
        ("[71, 32]", "[72, 32]"),
    ),
    "rows-wider-than-the-base": (
        "rows", lambda t: edit_tensors(rows_of(t), lambda x: x.update({k: torch.ones(72, 40) for k in x})),
        ("[72, 40]",),
    ),
    "has-lm-head-but-has-not": (
        "rows", lambda t: edit_tensors(rows_of(t), lambda x: x.pop("lm_head")),
        ("has_lm_head True", "new rows of the head"),
    ),
    "tables-narrower-than-the-token-space": (
        "whole",
        lambda t: (
            edit_tensors(merged_of(t), lambda x: x.update({k: x[k][:119] for k in (EMBEDDING, HEAD)})),
            edit_json(config_of(t), vocab_size=119),
        ),
        ("119 rows", "at least 120"),
    ),
    "adapter-rank-not-as-configured": ("rows", _rank, ("lora_A", "[2, 32]", "[3, 32]", "correct r")),
    "adapter-without-its-b": (
        "rows", lambda t: edit_tensors(adapter_of(t), lambda x: x.pop(LORA.format("B"))), ("lora_B", "found nothing"),
    ),
    "adapter-key-without-a-module": (
        "rows",
        lambda t: edit_tensors(adapter_of(t), lambda x: x.update({LORA_OF_LAYER_7: torch.ones(2, 32)})),
        ("layers.7", "lands on a module"),
    ),
    "adapter-targets-not-as-configured": (
        "rows", lambda t: edit_json(peft_config_of(t), target_modules=["q_proj"]),
        ("down_proj.lora_A", "lands on a module"),
    ),
    "adapter-targets-nothing": (
        "rows", lambda t: edit_json(peft_config_of(t), target_modules=["qkv"]), ("does not fit its base",),
    ),
    "adapter-cut-short": (
        "rows", lambda t: adapter_of(t).write_bytes(adapter_of(t).read_bytes()[:50]),
        ("adapter_model.safetensors", "header"),
    ),
    "adapter-without-rows-of-the-head": (
        "adapter", _no_rows_of_the_head,
        ("no values for 72 rows, the first 48", "head"),
    ),
    "adapter-with-short-tables": (
        "adapter",
        lambda t: edit_tensors(peft_of(t), lambda x: x.update({k: v[:100] for k, v in x.items() if len(v) == 120})),
        ("no values for 20 rows, the first 100",),
    ),
}  # fmt: skip
