"""Editing stored weights in a copy, whatever form the checkpoint has, and giving a copy the form of a whole model."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.bundle import ADAPTER_FILE, ROWS_FILE, ROWS_JSON
from harness.faults.copies import Copy, NotApplicableError, clone_tree
from harness.files import read_json, write_json
from harness.new_rows import new_rows
from harness.stored_model import Table, read_stored_model
from harness.tensors import StoredTensor, read_folder, to_float32

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
_TABLE_OF: dict[Table, str] = {"embed": "embeddings", "lm_head": "lm_head"}


@dataclass(frozen=True)
class Rows:
    """Where some rows of a vocabulary table are stored.

    Attributes:
        file: the safetensors file.
        name: the tensor in it.
        first: row of that tensor at which they begin.
        n_rows: how many there are.
    """

    file: Path
    name: str
    first: int
    n_rows: int


def edit_tensors(copy: Copy, file: Path, edit: Callable[[Tensors], object]) -> None:
    """Save a safetensors file again with other contents; `edit` changes the dict in place. Metadata stay."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    copy.own(file)
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(file)
    edit(tensors)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file, metadata=metadata)


def edit_values(copy: Copy, tensor: StoredTensor, edit: Callable[[Any], object]) -> None:
    """Change a stored tensor's values and nothing else of its file; `edit` changes a torch tensor in place."""

    def one(tensors: Tensors) -> None:
        edit(tensors[tensor.name])

    edit_tensors(copy, tensor.file, one)


def edit_rows(copy: Copy, rows: Rows, edit: Callable[[Any], object]) -> None:
    """Change rows of a table in place; `edit` is given a view of them, (n_rows, d)."""

    def one(tensors: Tensors) -> None:
        edit(tensors[rows.name][rows.first : rows.first + rows.n_rows])

    edit_tensors(copy, rows.file, one)


def new_rows_of(copy: Copy, table: Table) -> Rows:
    """The new rows of a table; row 0 is the id `text_vocab_size`.

    Raises:
        NotApplicableError: the table has none of its own: the head is tied to the embedding.
    """
    spans = new_rows(copy.ckpt, copy.bundle.space)
    if table not in spans:
        raise NotApplicableError("the head is tied to the embedding")
    span = spans[table]
    return Rows(span.tensor.file, span.tensor.name, span.first, span.n_rows)


def parents_rows(copy: Copy, table: Table) -> "torch.Tensor":
    """The new rows of a table as the parent has them, (n_rows, d) float32.

    Raises:
        NotApplicableError: there is no parent, or it has no rows of that table.
    """
    import torch

    spans = new_rows(copy.input("parent"), copy.bundle.space)
    if table not in spans:
        raise NotApplicableError(f"the parent has no rows of the {table}")
    span = spans[table]
    return torch.from_numpy(to_float32(span.rows(0, span.n_rows), span.tensor.dtype).copy())


def own_tables(copy: Copy) -> list[Table]:
    """The tables that have new rows of their own."""
    return list(new_rows(copy.ckpt, copy.bundle.space))


def head_table(copy: Copy) -> Table:
    """The table that logits are made of: the head, or the embedding where the two are tied."""
    return "lm_head" if "lm_head" in own_tables(copy) else "embed"


def head_rows_of(copy: Copy) -> Rows:
    """The new rows that logits are made of: the head's, or the embedding's where the two are tied."""
    return new_rows_of(copy, head_table(copy))


def text_rows_of(copy: Copy, table: Table) -> Rows:
    """The frozen rows of a table: of the checkpoint where it is a whole model, else of its base.

    Raises:
        NotApplicableError: the table has no bytes of its own.
    """
    model = read_stored_model(copy.ckpt if copy.bundle.form == "whole" else copy.input("base"))
    stored = model.stored_table(table)
    if stored is None:
        raise NotApplicableError("the head is tied to the embedding")
    return Rows(stored.file, stored.name, 0, copy.bundle.space.text_vocab_size)


def frozen_tensor(copy: Copy, containing: str = "") -> StoredTensor:
    """A frozen tensor that is no vocabulary table, the first whose name holds a text.

    Of the checkpoint where it is a whole model, else of its base.

    Raises:
        NotApplicableError: there is none.
    """
    model = read_stored_model(copy.ckpt if copy.bundle.form == "whole" else copy.input("base"))
    found = [tensor for name, tensor in sorted(model.others.items()) if containing in name]
    if not found:
        raise NotApplicableError(f"the model has no tensor of a name with {containing!r}")
    return found[0]


def adapter_file(copy: Copy) -> Path:
    """The adapter's weights.

    Raises:
        NotApplicableError: the checkpoint has no adapter.
    """
    file = copy.input("lora") / ADAPTER_FILE
    if not file.is_file():
        raise NotApplicableError("the checkpoint has no adapter")
    return file


def edit_b(copy: Copy, edit: Callable[[Any], object]) -> None:
    """Change every B of the adapter; `edit` changes a torch tensor in place.

    Raises:
        NotApplicableError: the checkpoint has no adapter.
    """

    def each(tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                edit(tensor)

    edit_tensors(copy, adapter_file(copy), each)


def reshard(folder: Path, n_files: int = 3) -> None:
    """model.safetensors as several files and an index."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, weight_map = sorted(tensors), dict[str, str]()
    for i in range(n_files):
        file = f"model-{i + 1:05d}-of-{n_files:05d}.safetensors"
        save_file({name: tensors[name] for name in names[i::n_files]}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names[i::n_files], file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def as_whole(copy: Copy) -> None:
    """Turn rows over a base into the whole model that would be served; an adapter stays attached, and is not merged.

    The weights are the same, so that nothing but the form changes.

    Raises:
        NotApplicableError: the checkpoint has another form, or its rows are stored in another type than the base.
    """
    import torch
    from safetensors.torch import load_file

    bundle = copy.bundle
    if bundle.form == "whole":
        return
    if bundle.form != "rows":
        raise NotApplicableError("the checkpoint is an adapter that holds the vocabulary's tables")
    base, rows = copy.input("base"), load_file(copy.ckpt / ROWS_FILE)
    model, n_text = read_stored_model(base), bundle.space.text_vocab_size
    for file in {tensor.file for tensor in read_folder(base).values()}:
        clone_tree(file, copy.ckpt / file.name)
    if (base / "model.safetensors.index.json").is_file():
        clone_tree(base / "model.safetensors.index.json", copy.ckpt / "model.safetensors.index.json")
    for table, name in _TABLE_OF.items():
        stored = model.stored_table(table)
        if stored is None or name not in rows:
            continue

        def extend(tensors: Tensors, stored: StoredTensor = stored, name: str = name) -> None:
            text = tensors[stored.name][:n_text]
            if text.dtype != rows[name].dtype:
                raise NotApplicableError("the new rows are stored in another type than the base")
            tensors[stored.name] = torch.cat([text, rows[name]])

        edit_tensors(copy, copy.ckpt / stored.file.name, extend)
    config = read_json(base / "config.json")
    write_json(copy.ckpt / "config.json", config | {"vocab_size": bundle.space.vocab_size_total})
    (copy.ckpt / ROWS_FILE).unlink()
    (copy.ckpt / ROWS_JSON).unlink()
    if "lora" in bundle.inputs:
        copy.point(lora=bundle.inputs["lora"])


def merge_adapter(copy: Copy, scale: float = 1.0, dtype: str = "float32") -> None:
    """Add `scale` times the adapter to the weights of a whole model, computed in a type; the adapter stays beside it.

    Raises:
        NotApplicableError: no whole model can be made of the checkpoint, or it has no adapter.
    """
    import torch

    from harness.lora import read_adapter

    adapter_file(copy)
    as_whole(copy)
    pairs = {pair.weight: pair for pair in read_adapter(copy.input("lora")).pairs}
    for file in {tensor.file for name, tensor in read_folder(copy.ckpt).items() if name in pairs}:

        def merge(tensors: Tensors) -> None:
            for name in tensors.keys() & pairs.keys():
                left, right = (
                    torch.from_numpy(factor.copy()).to(getattr(torch, dtype)) for factor in pairs[name].factors()
                )
                merged = tensors[name].to(left.dtype) + scale * (left @ right)
                tensors[name] = merged.to(tensors[name].dtype)

        edit_tensors(copy, file, merge)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
