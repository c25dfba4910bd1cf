"""Changes of weights and settings that harm nothing: every gate must say what it says without them."""

from typing import Any

from harness.bundle import ADAPTER_CONFIG, ROWS_FILE
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Harmless
from harness.faults.weights import (
    Tensors,
    adapter_file,
    as_whole,
    edit_b,
    edit_rows,
    edit_tensors,
    head_rows_of,
    merge_adapter,
    reshard,
)
from harness.files import read_json, write_json, write_text
from harness.results import Stage
from harness.tensors import read_folder

STAGE_4: tuple[Stage, ...] = ("stage4",)


def _save_rows_again(copy: Copy) -> None:
    """The same tensors in another order, with other metadata."""
    from safetensors.torch import load_file, save_file

    if copy.bundle.form != "rows":
        raise NotApplicableError("the checkpoint is no rows over a base")
    file = copy.own(copy.ckpt / ROWS_FILE)
    save_file(load_file(file), file, metadata={"format": "pt", "saved_by": "another version"})


def _shard_the_base(copy: Copy) -> None:
    folder = copy.input("base")
    if not (folder / "model.safetensors").is_file() or len(read_folder(folder)) < 2:
        raise NotApplicableError("the base is sharded already")
    reshard(folder, 2)


def _noise(copy: Copy) -> None:
    """As large as the rounding of bfloat16, on new rows."""
    import torch

    def edit(values: Any) -> None:
        values.copy_(values.to(torch.bfloat16).to(values.dtype))

    edit_rows(copy, head_rows_of(copy), edit)


def _adapter_names_another_base(copy: Copy) -> None:
    config = adapter_file(copy).parent / ADAPTER_CONFIG
    copy.edit_json(config, base_model_name_or_path="/another/machine/base")


def _adapter_elsewhere(copy: Copy) -> None:
    folder = adapter_file(copy).parent
    other = copy.root / "adapter_of_this_step"
    folder.rename(other)
    copy.point(lora=other)


def _adapter_in_another_order(copy: Copy) -> None:
    def edit(tensors: Tensors) -> None:
        for name in sorted(tensors, reverse=True):
            tensors[name] = tensors.pop(name)

    file = adapter_file(copy)
    edit_tensors(copy, file, edit)
    copy.own(file).write_bytes(_with_metadata(file.read_bytes()))


def _with_metadata(raw: bytes) -> bytes:
    """The same safetensors file with its header padded: other bytes, the same tensors."""
    length = int.from_bytes(raw[:8], "little")
    return (length + 8).to_bytes(8, "little") + raw[8 : 8 + length] + b" " * 8 + raw[8 + length :]


def _notes(copy: Copy) -> None:
    write_text(copy.ckpt / "README.txt", "Trained on a Tuesday.\n")


def _twice_the_alpha_half_the_b(copy: Copy) -> None:
    config = adapter_file(copy).parent / ADAPTER_CONFIG
    said = read_json(config)
    if said.get("alpha_pattern"):
        raise NotApplicableError("the adapter has an alpha for each module")
    write_json(config, said | {"lora_alpha": 2 * said["lora_alpha"]})

    edit_b(copy, lambda b: b.mul_(0.5))


HARMLESS = (
    Harmless("the-same-as-a-whole-model", "Rows and base saved as one model, the adapter still beside it.", as_whole,
             "weights"),
    Harmless("merged-in-float32", "The adapter merged once, in float32.", merge_adapter, "weights", STAGE_4),
    Harmless("rows-saved-again", "The same rows with other metadata.", _save_rows_again, "weights"),
    Harmless("base-in-two-shards", "The same base as two files and an index.", _shard_the_base, "base"),
    Harmless("noise-below-bfloat16", "New rows rounded to bfloat16: what serving does anyway.", _noise, "weights"),
    Harmless("adapter-names-another-path", "The adapter's config names its base by a path of the machine that "
             "trained.", _adapter_names_another_base, "adapter", STAGE_4),
    Harmless("adapter-in-a-folder-of-its-own", "The adapter lies beside the checkpoint, and bundle.json says where.",
             _adapter_elsewhere, "adapter", STAGE_4),
    Harmless("adapter-saved-in-another-order", "The same adapter, its header written by another version.",
             _adapter_in_another_order, "adapter", STAGE_4),
    Harmless("twice-the-alpha-half-the-b", "The same product of scale and B, split another way.",
             _twice_the_alpha_half_the_b, "adapter", STAGE_4),
    Harmless("a-note-beside-the-weights", "A text file that nobody asked for.", _notes, "weights"),
)  # fmt: skip
