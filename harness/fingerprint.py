"""The fingerprint of a base model: digests of its frozen tensors and of each text row, which stand in for a copy."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import BundleError
from harness.files import read_json
from harness.stored_model import TABLES, StoredModel, Table, read_stored_model
from harness.tensors import StoredTensor

FINGERPRINT_FORMAT = "base-fingerprint/1"
ROW_HASH_HEX = 16  # a short hash of a row: 64 bits, far beyond chance for a million rows


class _Stored(BaseModel):
    """How the base stores one tensor."""

    model_config = ConfigDict(extra="ignore")

    dtype: str
    shape: list[int]


class _File(BaseModel):
    """base_fingerprint.json at the border; keys that the audit does not use are dropped."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: Literal["base-fingerprint/1"]
    tensors: dict[str, str]
    text_rows: dict[Table, list[str]]
    stored: dict[str, _Stored] = {}


@dataclass(frozen=True)
class Reference:
    """The base as it was before training.

    Attributes:
        tensors: name -> SHA-256 hex of its stored bytes; the two vocabulary tables are left out.
        text_rows: `embed` and, where the base stores one, `lm_head` -> a short hash of each row below V_text.
        stored: name -> type and shape as stored, which the digests do not cover; empty where the file does not say.
    """

    tensors: dict[str, str]
    text_rows: dict[Table, tuple[str, ...]]
    stored: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)


def fingerprint(base: Path, text_vocab_size: int) -> Reference:
    """The fingerprint of a base model's folder, streamed.

    Raises:
        BundleError: the folder holds no well-formed model.
    """
    return fingerprint_of(read_stored_model(base), text_vocab_size)


def fingerprint_of(model: StoredModel, text_vocab_size: int) -> Reference:
    """The fingerprint of a stored model, on every core: hashlib lets go of the interpreter for all but short rows."""
    tables = {name: tensor for name in TABLES if (tensor := model.stored_table(name)) is not None}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The largest first, so that no core is left alone with one at the end.
        largest_first = sorted(model.others.values(), key=lambda tensor: tensor.start - tensor.stop)
        digests = dict(zip([t.name for t in largest_first], pool.map(tensor_digest, largest_first), strict=True))
        rows = {name: _row_digests(tensor, text_vocab_size, pool) for name, tensor in tables.items()}
    stored = {tensor.name: (tensor.dtype, tensor.shape) for tensor in [*model.others.values(), *tables.values()]}
    return Reference({name: digests[name] for name in model.others}, rows, stored)


def read_fingerprint(path: Path, text_vocab_size: int) -> Reference:
    """Read base_fingerprint.json.

    Raises:
        BundleError: it is not one, or was made for another number of text rows.
    """
    obj: Any = read_json(path)
    try:
        parsed = _File.model_validate(obj)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            path,
            f"{'.'.join(map(str, first['loc'])) or 'the object'}: {first['msg']}",
            f"a {FINGERPRINT_FORMAT} object",
            "Write it again with the vocabulary surgery.",
        ) from None
    for table, hashes in parsed.text_rows.items():
        if len(hashes) != text_vocab_size:
            raise BundleError(
                path,
                f"{len(hashes)} rows of {table}",
                f"{text_vocab_size}, the token space's text_vocab_size",
                "It belongs to another token space: write it again with the vocabulary surgery.",
            )
    rows = {table: tuple(hashes) for table, hashes in parsed.text_rows.items()}
    stored = {name: (each.dtype, tuple(each.shape)) for name, each in parsed.stored.items()}
    return Reference(parsed.tensors, rows, stored)


def tensor_digest(tensor: StoredTensor) -> str:
    """SHA-256 hex of a tensor's stored bytes."""
    digest = hashlib.sha256()
    for piece in tensor.pieces():
        digest.update(piece.data)
    return digest.hexdigest()


def _row_digests(table: StoredTensor, n_rows: int, pool: ThreadPoolExecutor) -> tuple[str, ...]:
    """A short hash of each of the first rows of a table."""
    n_rows = min(n_rows, table.shape[0])
    step = max(1, 16 * 2**20 // max(1, table.row_bytes))

    def hashes(first: int) -> list[str]:
        return [_row_digest(row) for row in table.raw(first, min(first + step, n_rows))]

    return tuple(digest for block in pool.map(hashes, range(0, n_rows, step)) for digest in block)


def _row_digest(row: np.ndarray) -> str:
    return hashlib.sha256(row.data).hexdigest()[:ROW_HASH_HEX]
