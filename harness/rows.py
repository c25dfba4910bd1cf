"""What became of the new rows: finite, moved from where training began, distinct, and of what norm."""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from harness.bundle import Bundle
from harness.drift import exact_in
from harness.new_rows import RowSpan, new_rows
from harness.stored_model import StoredModel, Table, read_stored_model
from harness.tensors import StoredTensor, to_float32
from harness.token_space import TokenSpace
from harness.training_rows import read_rows, shard_files

_BLOCK_BYTES = 4 * 2**20
TEXT_QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class TableRows:
    """The new rows of one table. Arrays hold a value a new row; row i has the id V_text + i.

    Attributes:
        table: `embed` or `lm_head`.
        finite: whether all of a row's values are, bool.
        twin: the first other row with the same bytes, int64; -1 where there is none.
        norms: Euclidean norms, float64; NaN or infinite where values are.
        text_norms: the text rows' norms at TEXT_QUANTILES.
        moved: whether a row differs from the parent's, bool; None without a parent.
    """

    table: Table
    finite: np.ndarray
    twin: np.ndarray
    norms: np.ndarray
    text_norms: tuple[float, float]
    moved: np.ndarray | None

    @property
    def norm_factors(self) -> np.ndarray:
        """How many times a norm lies beyond the text rows' quantiles: at most 1 within, infinite for a zero row."""
        low, high = self.text_norms
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.maximum(self.norms / high, low / self.norms)


@dataclass(frozen=True)
class RowsAudit:
    """The new rows of a checkpoint.

    Attributes:
        first_id: the id of row 0.
        tables: each table that has new rows of its own.
        seen: (n,) bool, rows whose id occurs in the shards; all of them where there are no shards.
        seen_in: what `seen` rests on, in words.
    """

    first_id: int
    tables: tuple[TableRows, ...]
    seen: np.ndarray
    seen_in: str

    def unmoved(self, table: TableRows) -> np.ndarray:
        """Rows that were seen in training and equal the parent's, (n,) bool; none where there is no parent."""
        return self.seen & ~table.moved if table.moved is not None else np.zeros_like(self.seen)


def audit_rows(bundle: Bundle) -> RowsAudit:
    """Measure the new rows.

    Raises:
        BundleError: a file is malformed.
        MissingInputError: the base, whose text rows are the yardstick, is not there.
    """
    space = bundle.space
    spans = new_rows(bundle.path, space)
    before = new_rows(bundle.input("parent"), space) if "parent" in bundle.inputs else {}
    text = read_stored_model(bundle.path if bundle.form == "whole" else bundle.input("base"))
    tables = tuple(_measure(table, span, before.get(table), text, space) for table, span in spans.items())
    seen, seen_in = _seen_rows(bundle)
    return RowsAudit(space.text_vocab_size, tables, seen, seen_in)


def moved_new_rows(bundle: Bundle) -> dict[Table, np.ndarray]:
    """Which new rows differ from the parent's: table to (n,) bool, for the tables that both of them have."""
    now, before = new_rows(bundle.path, bundle.space), new_rows(bundle.input("parent"), bundle.space)
    return {table: _moved(span, before[table]) for table, span in now.items() if table in before}


def _measure(table: Table, span: RowSpan, before: RowSpan | None, text: StoredModel, space: TokenSpace) -> TableRows:
    finite, norms, digests = np.empty(span.n_rows, dtype=bool), np.empty(span.n_rows), []
    for start, raw in span.blocks():
        values = to_float32(raw, span.tensor.dtype)
        finite[start : start + len(raw)] = np.isfinite(values).all(axis=1)
        norms[start : start + len(raw)] = _norms(values)
        digests += [hashlib.sha256(row.data).digest() for row in raw]
    yardstick = text.served_table(table) or text.embed
    low, high = _text_quantiles(yardstick, space.text_vocab_size) if yardstick else (np.nan, np.nan)
    moved = _moved(span, before) if before is not None else None
    return TableRows(table, finite, _twins(digests), norms, (low, high), moved)


def _norms(values: np.ndarray) -> np.ndarray:
    """(rows, d) float32 -> (rows,) float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms: np.ndarray = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    return norms


def _text_quantiles(table: StoredTensor, n_text: int) -> tuple[float, float]:
    step = max(1, _BLOCK_BYTES // max(1, table.row_bytes))
    blocks = (table.raw(first, min(first + step, n_text)) for first in range(0, n_text, step))
    norms = np.concatenate([_norms(to_float32(raw, table.dtype)) for raw in blocks])
    low, high = np.quantile(norms, TEXT_QUANTILES)
    return float(low), float(high)


def _twins(digests: list[bytes]) -> np.ndarray:
    """For each row the first other row of the same digest, or -1."""
    counts = Counter(digests)
    first: dict[bytes, int] = {}
    second: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if counts[digest] > 1:
            (second if digest in first else first).setdefault(digest, row)
    return np.array([first[d] if first.get(d, i) != i else second.get(d, -1) for i, d in enumerate(digests)])


def _moved(now: RowSpan, before: RowSpan) -> np.ndarray:
    """Which rows differ, (n,) bool. Saving in another type is no move: the parent is then rounded likewise."""
    if now.tensor.shape[1:] != before.tensor.shape[1:]:
        return np.ones(now.n_rows, dtype=bool)
    moved = np.empty(now.n_rows, dtype=bool)
    for start, raw in now.blocks():
        was = before.rows(start, len(raw))
        if now.tensor.dtype == before.tensor.dtype:
            moved[start : start + len(raw)] = (raw != was).any(axis=1)
        else:
            a, b = to_float32(raw, now.tensor.dtype), to_float32(was, before.tensor.dtype)
            moved[start : start + len(raw)] = ~_equal_but_rounded(a, b)
    return moved


def _equal_but_rounded(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows of which one may be the other, rounded to a narrower type, (n, d) -> (n,) bool."""
    units = {"BF16": 2.0**-8, "F16": 2.0**-11}
    equal = (a == b).all(axis=1)
    for dtype, unit in units.items():
        near = np.abs(a - b) <= np.maximum(np.abs(a), np.abs(b)) * unit
        equal |= (near & (exact_in(a, dtype) | exact_in(b, dtype))).all(axis=1)
    return equal


def _seen_rows(bundle: Bundle) -> tuple[np.ndarray, str]:
    first, n_rows = bundle.space.text_vocab_size, bundle.space.vocab_size_total - bundle.space.text_vocab_size
    shards = bundle.inputs.get("shards")
    if shards is None or not shards.exists():
        return np.ones(n_rows, dtype=bool), "all rows, since there are no shards to say which were seen"
    seen = np.zeros(n_rows, dtype=bool)
    for file in shard_files(shards):
        for batch in read_rows(file, bundle.space):
            ids = batch.media.values
            seen[ids[(ids >= first) & (ids < first + n_rows)] - first] = True
    return seen, f"rows whose id occurs in {shards}"
