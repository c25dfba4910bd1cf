"""How many ids each row's `meta` says it has: frames x codebooks of a sound, tokens of a picture."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

_KEYS = {"audio": ("n_frames", "n_codebooks"), "image": ("n_tokens",)}
_LARGEST = 2**31  # larger figures are no count of ids, and their product could overflow


def counts_of(metas: Iterable[Any], modality: str) -> np.ndarray:
    """Counts from parsed metas: (R, 2) int64, frames and codebooks or tokens and 1; -1 where a meta says nothing."""
    return np.array([_counts(meta, modality) for meta in metas], dtype=np.int64).reshape(-1, 2)


def counts_of_json(column: Any, modality: str) -> np.ndarray:
    """The same from a column of JSON texts, a pyarrow string array."""
    if modality in _KEYS and (fast := _parsed_at_once(column, modality)) is not None:
        return fast
    return counts_of(map(_loaded, column.to_pylist()), modality)


def _parsed_at_once(column: Any, modality: str) -> np.ndarray | None:
    """All rows in one call of Arrow's JSON reader; None where that cannot be trusted to keep rows apart.

    The reader takes one object after another, whatever the lines. Where every row begins with a brace and ends with
    one, no object can reach into the next row, since a value followed by a brace is no JSON; then as many objects as
    rows means one in each.
    """
    trimmed = pc.utf8_trim_whitespace(column)
    braced = pc.and_(pc.starts_with(trimmed, "{"), pc.ends_with(trimmed, "}"))
    if column.null_count or not pc.all(braced, min_count=0).as_py():
        return None
    lines = pc.binary_join(pa.LargeListArray.from_arrays(pa.array([0, len(trimmed)], pa.int64()), trimmed), "\n")
    buffer = pa.py_buffer(lines[0].as_buffer())
    names = _KEYS[modality]
    schema = pa.schema([(modality, pa.struct([(name, pa.int64()) for name in names]))])
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(buffer),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=max(2**16, buffer.size + 1)),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema, newlines_in_values=True, unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowException, OverflowError):
        return None
    if table.num_rows != len(column):
        return None
    struct = table.column(modality)
    found = [pc.fill_null(pc.struct_field(struct, [i]), -1).to_numpy() for i in range(len(names))]
    counts = np.stack([*found, np.ones_like(found[0])][:2], axis=1)
    counts[((counts < 0) | (counts >= _LARGEST)).any(axis=1)] = -1
    return counts


def _loaded(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


def _counts(meta: Any, modality: str) -> tuple[int, int]:
    said = meta.get(modality) if isinstance(meta, dict) else None
    names = _KEYS.get(modality, ())
    found = [said.get(name) if isinstance(said, dict) else None for name in names]
    whole = [int(v) for v in found if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < _LARGEST]
    if not names or len(whole) < len(names) or whole != found:
        return -1, -1
    return whole[0], whole[1] if len(whole) > 1 else 1
