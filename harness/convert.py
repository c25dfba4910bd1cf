"""Pickled weights of another trainer, turned into safetensors: read with weights_only=True, verified bit by bit.

What the restricted reader returns is still not trusted: sizes, types and the row range are checked before anything is
written.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file

from harness.bundle import ROWS_FILE, ROWS_JSON
from harness.errors import BundleError
from harness.files import read_json, write_json
from harness.pickles import load_pickle
from harness.tensors import INDEX_SUFFIX, read_file
from harness.token_space import TokenSpace

ROWS_PICKLE = "trainable_rows.pt"
# Pickled state dicts, whole or sharded, and the names that the same tensors have as safetensors.
_STATE_DICTS = {re.compile(r"adapter_model\.bin"): "adapter_model", re.compile(r"pytorch_model(.*)\.bin"): "model"}


class _Payload(BaseModel):
    """trainable_rows.pt at the border: what the field's trainer saves; row_end is exclusive."""

    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)

    row_start: int
    row_end: int
    base_llm: str | None = None
    embeddings: torch.Tensor
    lm_head: torch.Tensor | None = None


@dataclass(frozen=True)
class Converted:
    """A pickle that is no longer needed.

    Attributes:
        source: the pickle, untouched.
        target: the safetensors file that holds the same bits.
        what: rows or tensors, types and sizes, in words.
    """

    source: Path
    target: Path
    what: str


def convert_folder(folder: Path, space: TokenSpace | None) -> list[Converted]:
    """Convert the pickled weights of a folder that have no safetensors twin yet.

    Args:
        folder: a checkpoint's or an adapter's.
        space: the checkpoint's token space, which trained rows are held against; None for an adapter's folder.

    Raises:
        BundleError: a pickle is not what its name says, or asks for more than weights. The folder is then unchanged.
    """
    done = []
    if space is not None and (folder / ROWS_PICKLE).is_file():
        done.append(_twin(folder / ROWS_PICKLE, folder / ROWS_FILE) or convert_rows(folder, space))
    sources = {source: target for source in sorted(folder.glob("*.bin")) if (target := safetensors_twin(source))}
    done += [_twin(source, target) or convert_state_dict(source, target) for source, target in sources.items()]
    shards = [target for target in sources.values() if target.name.startswith("model-")]
    if shards and not (folder / f"model{INDEX_SUFFIX}").is_file():
        _write_index(folder, shards)
    return done


def safetensors_twin(source: Path) -> Path | None:
    """The safetensors file that a state dict of this name becomes; None where the name is no state dict's."""
    for pattern, stem in _STATE_DICTS.items():
        if named := pattern.fullmatch(source.name):
            return source.with_name(f"{stem}{''.join(named.groups())}.safetensors")
    return None


def convert_rows(folder: Path, space: TokenSpace) -> Converted:
    """Write trainable_rows.safetensors and trainable_rows.json from a folder's trainable_rows.pt.

    Raises:
        BundleError: the pickle holds more than weights, its rows are not those of the token space, or it contradicts
            the trainable_rows.json beside it.
    """
    source = folder / ROWS_PICKLE
    payload = _payload(source)
    tables = {"embeddings": payload.embeddings}
    if payload.lm_head is not None:
        tables["lm_head"] = payload.lm_head
    _check_rows(source, payload, tables, space)
    declared = {"row_start": payload.row_start, "row_end": payload.row_end, "has_lm_head": payload.lm_head is not None}
    _check_declared(folder / ROWS_JSON, declared)
    _save(tables, folder / ROWS_FILE)
    if not (folder / ROWS_JSON).is_file():
        write_json(folder / ROWS_JSON, declared | {"base_llm": payload.base_llm})
    dtype = str(payload.embeddings.dtype).removeprefix("torch.")
    rows = f"rows {payload.row_start} to {payload.row_end - 1} of {' and '.join(tables)}, {dtype}"
    return Converted(source, folder / ROWS_FILE, rows)


def convert_state_dict(source: Path, target: Path) -> Converted:
    """Write the safetensors twin of adapter_model.bin, pytorch_model.bin or one of its shards.

    Raises:
        BundleError: the pickle holds anything but named tensors.
    """
    loaded = load_pickle(source)
    named = isinstance(loaded, dict) and bool(loaded)
    if not named or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in loaded.items()):
        raise BundleError(source, _kind(loaded), "a state dict: names and tensors", "Save the model as safetensors.")
    _check_sizes(source, loaded)
    _save(loaded, target)
    return Converted(source, target, f"{len(loaded)} tensors")


def _payload(source: Path) -> _Payload:
    loaded = load_pickle(source)
    try:
        return _Payload.model_validate(loaded)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or _kind(loaded)
        raise BundleError(
            source,
            f"{key}: {first['msg']}",
            "row_start, row_end, base_llm, embeddings [n, d] and lm_head [n, d] or None",
            "Save the rows again with the trainer that made them.",
        ) from None


def _check_rows(source: Path, payload: _Payload, tables: dict[str, torch.Tensor], space: TokenSpace) -> None:
    first, end = space.text_vocab_size, space.vocab_size_total
    if (payload.row_start, payload.row_end) != (first, end):
        raise BundleError(
            source,
            f"rows {payload.row_start} to {payload.row_end}",
            f"rows {first} to {end}, as {space.where} says",
            "The checkpoint was trained on another token space: use the one it was trained with.",
        )
    width = payload.embeddings.shape[-1] if payload.embeddings.ndim else 0
    for name, table in tables.items():
        if tuple(table.shape) != (end - first, width) or not table.is_floating_point():
            raise BundleError(
                source, f"{name} {tuple(table.shape)} of {table.dtype}", f"({end - first}, d) floats", "Save it again."
            )
    _check_sizes(source, tables)


def _check_declared(file: Path, payload: dict[str, Any]) -> None:
    if not file.is_file():
        return
    declared = read_json(file)
    for key, value in payload.items():
        if not isinstance(declared, dict) or declared.get(key) != value:
            found = declared.get(key) if isinstance(declared, dict) else _kind(declared)
            raise BundleError(
                file, f"{key} {found}", f"{value}, as {ROWS_PICKLE} beside it holds", "The two are of different runs."
            )


def _check_sizes(source: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A stored tensor can claim any shape by repeating few bytes: none may unpack to more than the file holds."""
    size = source.stat().st_size
    for name, tensor in tensors.items():
        wanted = math.prod(tensor.shape) * tensor.element_size()
        dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not dense or wanted > size:
            raise BundleError(
                source, f"{name}: {wanted} bytes in a file of {size}", "dense tensors that are stored", "Save it again."
            )


def _twin(source: Path, target: Path) -> Converted | None:
    """What was converted before, or came with its twin: not read again, and not needed."""
    return Converted(source, target, "not read: the other is there") if target.is_file() else None


def _save(tensors: dict[str, torch.Tensor], target: Path) -> None:
    """Write, read back, compare bits, and only then give the file its name."""
    partial = target.with_name(f".{target.name}.partial")
    dense = _apart(tensors)
    try:
        save_file(dense, partial, metadata={"format": "pt"})
        stored = read_file(partial)
        for name, tensor in dense.items():
            given = tensor.reshape(-1).view(torch.uint8).numpy()
            if not np.array_equal(stored[name].raw().reshape(-1), given):
                raise BundleError(target, f"{name} with other bits than it was given", "the same", "Check the disk.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Dense tensors of which no two share memory, as tied tables do; copied only where they must be."""
    seen: set[int] = set()
    dense = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        shared = whole.untyped_storage().data_ptr() in seen
        dense[name] = whole.clone() if shared else whole
        seen.add(whole.untyped_storage().data_ptr())
    return dense


def _write_index(folder: Path, shards: list[Path]) -> None:
    held = {name: tensor for shard in shards for name, tensor in read_file(shard).items()}
    total = sum(tensor.stop - tensor.start for tensor in held.values())
    weight_map = {name: tensor.file.name for name, tensor in sorted(held.items())}
    write_json(folder / f"model{INDEX_SUFFIX}", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
