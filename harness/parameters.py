"""The parameter audit: which stored values differ from the base's, tensor by tensor and row by row.

Compared are stored bits, never values after a cast: a round trip through a narrower type is a change.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from harness.bundle import Bundle
from harness.errors import BundleError
from harness.files import read_json
from harness.model import read_rows
from harness.token_space import TokenSpace

FINGERPRINT_FORMAT = "base-fingerprint/1"
ROW_HASH_HEX = 16  # a short hash of a row: 64 bits, far beyond chance for a million rows
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class ParameterAudit:
    """What moved.

    Attributes:
        text_rows_compared, text_rows_changed: rows of the embedding and the head below V_text.
        tensors_compared, tensors_changed: the backbone's other tensors.
        unexpected: tensors that the checkpoint has and the base has not.
        missing: tensors that the base has and the checkpoint has not.
        modality_rows: how many new rows there are.
        modality_rows_moved: those that differ from the parent's; None without a parent.
        first_changed: names of the first offenders, for the report.
    """

    text_rows_compared: int
    text_rows_changed: int
    tensors_compared: int
    tensors_changed: int
    unexpected: tuple[str, ...]
    missing: tuple[str, ...]
    modality_rows: int
    modality_rows_moved: int | None
    first_changed: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Reference:
    """The base as it was before training: digests of its tensors and of each text row."""

    tensors: dict[str, str]
    text_rows: dict[str, tuple[str, ...]]


def tensor_digest(array: np.ndarray) -> str:
    """SHA-256 hex of a tensor's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def row_digests(array: np.ndarray) -> tuple[str, ...]:
    """A short hash of each row of a table, (n, d) -> n strings."""
    rows = np.ascontiguousarray(array)
    return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:ROW_HASH_HEX] for row in rows)


def read_fingerprint(path: Path) -> Reference:
    """Read base_fingerprint.json.

    Raises:
        BundleError: it is not one.
    """
    obj: Any = read_json(path)
    if not isinstance(obj, dict) or obj.get("format") != FINGERPRINT_FORMAT:
        raise BundleError(path, "another format", FINGERPRINT_FORMAT, "Write it again with the vocabulary surgery.")
    rows = {name: tuple(hashes) for name, hashes in obj["text_rows"].items()}
    return Reference(dict(obj["tensors"]), rows)


def fingerprint(base: Path, text_vocab_size: int) -> Reference:
    """The fingerprint of a base model's folder, streamed tensor by tensor."""
    tensors: dict[str, str] = {}
    rows: dict[str, tuple[str, ...]] = {}
    for name, array in _stored(base):
        if name in (EMBEDDING, HEAD):
            rows["embed" if name == EMBEDDING else "lm_head"] = row_digests(array[:text_vocab_size])
        else:
            tensors[name] = tensor_digest(array)
    return Reference(tensors, rows)


def audit_parameters(bundle: Bundle) -> ParameterAudit:
    """Hold a checkpoint against the base's fingerprint, or against the base itself where there is no fingerprint.

    Raises:
        BundleError: a file cannot be read.
        MissingInputError: there is neither a fingerprint nor, for a whole model, a base.
    """
    space = bundle.space
    reference = _reference(bundle)
    actual = fingerprint(bundle.path if bundle.form == "whole" else bundle.input("base"), space.text_vocab_size)
    changed_rows = _changed_rows(reference, actual)
    changed_tensors = [n for n, digest in reference.tensors.items() if actual.tensors.get(n, digest) != digest]
    moved = _moved_rows(bundle, space)
    return ParameterAudit(
        text_rows_compared=sum(len(rows) for rows in reference.text_rows.values()),
        text_rows_changed=len(changed_rows),
        tensors_compared=len(reference.tensors),
        tensors_changed=len(changed_tensors),
        unexpected=tuple(sorted(set(actual.tensors) - set(reference.tensors))),
        missing=tuple(sorted(set(reference.tensors) - set(actual.tensors))),
        modality_rows=space.vocab_size_total - space.text_vocab_size,
        modality_rows_moved=moved,
        first_changed=(*changed_rows[:8], *changed_tensors[:8]),
    )


def _reference(bundle: Bundle) -> Reference:
    if "base_fingerprint" in bundle.inputs:
        return read_fingerprint(bundle.input("base_fingerprint"))
    return fingerprint(bundle.input("base"), bundle.space.text_vocab_size)


def _changed_rows(reference: Reference, actual: Reference) -> list[str]:
    changed = []
    for table, hashes in reference.text_rows.items():
        now = actual.text_rows.get(table, ())
        changed += [f"{table} row {i}" for i, digest in enumerate(hashes) if i >= len(now) or now[i] != digest]
    return changed


def _moved_rows(bundle: Bundle, space: TokenSpace) -> int | None:
    if "parent" not in bundle.inputs or bundle.form != "rows":
        return None
    _, before = read_rows(bundle.input("parent"), space)
    _, now = read_rows(bundle.path, space)
    moved = (before["embeddings"] != now["embeddings"]).any(dim=1)
    if "lm_head" in before and "lm_head" in now:
        moved |= (before["lm_head"] != now["lm_head"]).any(dim=1)
    return int(moved.sum())


def _stored(folder: Path) -> Any:
    """Every tensor of a folder's safetensors files as raw bytes with its shape's rows kept: (name, array)."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise BundleError(folder, "no model*.safetensors", "a Hugging Face model", "Save the model as safetensors.")
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 - a safetensors handle, not a dict
                    yield name, _raw(stored.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise BundleError(file, f"an unreadable file ({error})", "safetensors", "Save the model again.") from None


def _raw(tensor: Any) -> np.ndarray:
    """The tensor's bytes, its first axis kept: numpy has no bfloat16, and bits are what is compared."""
    import torch

    flat = tensor.contiguous().view(torch.uint8) if tensor.ndim else tensor.reshape(1).view(torch.uint8)
    return flat.numpy()
