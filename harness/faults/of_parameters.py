"""Faults of what may not move, and of the adapter: text rows, frozen tensors, merges (P0.5, S3.3)."""

from typing import Any

from harness.bundle import ADAPTER_CONFIG, ADAPTER_FILE
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.weights import (
    Tensors,
    adapter_file,
    as_whole,
    edit_b,
    edit_rows,
    edit_tensors,
    edit_values,
    frozen_tensor,
    merge_adapter,
    new_rows_of,
    own_tables,
    parents_rows,
    remove,
    text_rows_of,
)
from harness.files import write_json
from harness.stored_model import TABLES, Table, read_stored_model
from harness.tensors import read_folder, to_float32

GATES = ("S3.3", "P0.5")


def _flip_one_bit(copy: Copy, table: Table) -> None:
    import torch

    as_whole(copy)
    rows = text_rows_of(copy, table)

    def flip(values: Any) -> None:
        bits = values[rows.n_rows // 2].view(torch.uint8)
        bits[0] ^= 1

    edit_rows(copy, rows, flip)


def _decay(copy: Copy) -> None:
    as_whole(copy)
    edit_rows(copy, text_rows_of(copy, "embed"), lambda rows: rows.mul_(0.99))


def _train_text_rows(copy: Copy) -> None:
    import torch

    as_whole(copy)
    rows = text_rows_of(copy, "embed")
    step = torch.randn(rows.n_rows, 1, generator=torch.Generator().manual_seed(0))

    def move(values: Any) -> None:
        values += (1e-3 * step * values.float().std()).to(values.dtype)

    edit_rows(copy, rows, move)


def _redraw(copy: Copy, table: Table) -> None:
    import torch

    as_whole(copy)

    def draw(values: Any) -> None:
        new = torch.randn(values.shape, generator=torch.Generator().manual_seed(0)) * values.float().std()
        values.copy_(new.to(values.dtype))

    edit_rows(copy, text_rows_of(copy, table), draw)


def _shift_table(copy: Copy) -> None:
    as_whole(copy)
    edit_rows(copy, text_rows_of(copy, "embed"), lambda values: values[:-1].copy_(values[1:].clone()))


def _through_bfloat16(copy: Copy) -> None:
    as_whole(copy)
    for tensor in read_stored_model(copy.ckpt).others.values():
        if tensor.dtype != "F32":
            raise NotApplicableError(f"frozen weights are stored as {tensor.dtype}")
        edit_values(copy, tensor, lambda values: values.copy_(values.bfloat16().float()))


def _stored_in_half(copy: Copy) -> None:
    as_whole(copy)
    tensor = frozen_tensor(copy, "proj")
    edit_tensors(copy, tensor.file, lambda t: t.update({tensor.name: t[tensor.name].half()}))


def _frozen_as_the_base_has_it(copy: Copy) -> None:
    """Frozen tensors and text rows saved again from the base, in its own type."""
    from safetensors.torch import load_file

    base: Tensors = {}
    for file in {tensor.file for tensor in read_folder(copy.input("base")).values()}:
        base |= load_file(file)
    own = read_stored_model(copy.ckpt)
    n_text = copy.bundle.space.text_vocab_size
    tables = [stored.name for table in TABLES if (stored := own.stored_table(table)) is not None]

    def restore(tensors: Tensors) -> None:
        for name in tensors.keys() & base.keys():
            if name in tables:
                tensors[name][:n_text] = base[name][:n_text]
            else:
                tensors[name] = base[name]

    for file in {tensor.file for tensor in read_folder(copy.ckpt).values()}:
        edit_tensors(copy, file, restore)


def _change_a_norm(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "norm")
    edit_values(copy, tensor, lambda values: values[:1].mul_(1.01))


def _nothing_moved(copy: Copy) -> None:
    for table in own_tables(copy):
        old = parents_rows(copy, table)
        edit_rows(copy, new_rows_of(copy, table), lambda values, old=old: values.copy_(old))  # type: ignore[misc]


def _adapter_in_stage_3(copy: Copy) -> None:
    import torch
    from safetensors.torch import save_file

    tensor = frozen_tensor(copy, "q_proj")
    module, (n_out, n_in) = tensor.name.removesuffix(".weight"), tensor.shape
    folder = copy.ckpt / "adapter"
    folder.mkdir()
    names = {side: f"base_model.model.{module}.lora_{side}.weight" for side in "AB"}
    save_file({names["A"]: torch.ones(1, n_in), names["B"]: torch.zeros(n_out, 1)}, folder / ADAPTER_FILE)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": [module]}
    write_json(folder / ADAPTER_CONFIG, config)
    copy.point(lora=folder)


def _take_the_adapter_away(copy: Copy) -> None:
    remove(copy.ckpt / "adapter")
    copy.point(lora=None)


def _lose_the_adapter(copy: Copy) -> None:
    adapter_file(copy)
    remove(copy.input("lora"))
    copy.point(lora=None)


def _merge_all_but_one(copy: Copy) -> None:
    merge_adapter(copy)
    from harness.lora import read_adapter

    name = read_adapter(copy.input("lora")).pairs[0].weight
    base = read_folder(copy.input("base"))[name]
    before = to_float32(base.raw(), base.dtype)

    def undo(values: Any) -> None:
        import torch

        values.copy_(torch.from_numpy(before.copy()).view(values.shape))

    edit_values(copy, read_folder(copy.ckpt)[name], undo)


def _merge_again(copy: Copy) -> None:
    """Once, in float32, with the adapter's own alpha and rank."""
    _frozen_as_the_base_has_it(copy)
    merge_adapter(copy)


OWN = "train the new rows as a parameter of their own"
FAULTS = (
    Fault("one-bit-of-a-text-row", "A hook that masks gradients missed one row once; one bit of one value moved.",
          GATES, "text_rows_changed is 1 rows", OWN, lambda copy: _flip_one_bit(copy, "embed"), "weights",
          subtle=True, fix=_frozen_as_the_base_has_it),
    Fault("one-bit-of-a-head-row", "The head was trainable as a whole, and a text token was a target once.",
          GATES, "text_rows_changed is 1 rows", OWN, lambda copy: _flip_one_bit(copy, "lm_head"), "weights",
          subtle=True, source="domain.md row 13"),
    Fault("text-rows-decayed", "AdamW's weight decay on a table whose gradients are masked.",
          GATES, "looks like weight decay", "set it to 0 for both tables", _decay, "weights",
          source="domain.md row 12"),
    Fault("text-rows-trained", "The mask was never applied: every text row took small steps.",
          GATES, "text_rows_changed", "the masking or hook is wrong", _train_text_rows, "weights",
          source="domain.md row 13"),
    Fault("embedding-drawn-anew", "A resize drew the whole table again.",
          GATES, "looks like re-initialised", "Copy the base's rows first", lambda copy: _redraw(copy, "embed"),
          "weights", source="domain.md row 6", fix=_frozen_as_the_base_has_it),
    Fault("head-drawn-anew", "A loader found no head, drew one, and it was saved.",
          GATES, "looks like re-initialised", "Copy the base's rows first", lambda copy: _redraw(copy, "lm_head"),
          "weights", source="domain.md row 6"),
    Fault("table-shifted-by-one", "A row was dropped below V_text, and all that follow moved up.",
          GATES, "looks like shifted table", "insert nothing before V_text", _shift_table, "weights",
          source="domain.md rows 1, 2"),
    Fault("frozen-weights-through-bfloat16", "The base was loaded in bfloat16 and saved in float32 again.",
          GATES, "looks like dtype round trip", "load and save the frozen weights in the type", _through_bfloat16,
          "weights", source="domain.md row 14", fix=_frozen_as_the_base_has_it),
    Fault("one-tensor-stored-in-half", "An export stored one weight in float16.",
          GATES, "frozen_tensors_changed is 1 tensors", "masking or hook is wrong", _stored_in_half, "weights",
          subtle=True, source="domain.md row 14"),
    Fault("base-changed-since-its-fingerprint", "Somebody saved the base again after the checkpoint was trained.",
          GATES, "frozen_tensors_changed is 1 tensors",
          "Restore the base that the checkpoint was trained over", _change_a_norm, "base", subtle=True),
    Fault("nothing-moved", "The optimiser was given no parameter of the rows: they are the parent's.",
          GATES, "modality_rows_moved is 0 rows", "gradients reach both tables", _nothing_moved, "weights",
          source="domain.md rows 15, 18"),
    Fault("an-adapter-in-stage-3", "Stage 3 trains rows alone, and an adapter was attached all the same.",
          ("S3.3",), "adapted_modules is 1 modules", "Save without it", _adapter_in_stage_3, "adapter",
          fix=_take_the_adapter_away),
    Fault("adapter-lost", "The adapter was not saved, and nothing points to it.",
          ("P0.5",), "adapted_modules is 0 modules", "another adapter was saved", _lose_the_adapter, "adapter"),
    Fault("adapter-without-effect", "B is still zero: the adapter was saved before it trained.",
          ("P0.5",), "all zeros in", "B is still zero",
          lambda copy: edit_b(copy, lambda b: b.zero_()), "adapter"),
    Fault("merged-in-bfloat16", "base + scale * B @ A, computed and rounded in bfloat16.",
          ("P0.5",), "merged and rounded in BF16", "merge once, in float32",
          lambda copy: merge_adapter(copy, dtype="bfloat16"), "weights", subtle=True, source="domain.md row 16",
          fix=_merge_again),
    Fault("merged-twice", "The adapter was merged into weights that it had been merged into.",
          ("P0.5",), "of which it holds 2 times", "merge once, in float32",
          lambda copy: merge_adapter(copy, scale=2.0), "weights", source="domain.md row 16", fix=_merge_again),
    Fault("one-module-not-merged", "A merge passed over one module.",
          ("P0.5",), "of which it holds 0 times", "merge once, in float32", _merge_all_but_one, "weights",
          subtle=True, fix=_merge_again),
)  # fmt: skip
