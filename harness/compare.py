"""Stored tensors held against others bit by bit, in blocks, at the speed of memory."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from harness.drift import Moments, moments_of
from harness.tensors import FLOATS, StoredTensor, to_float32

# Measured on two cores: mapping 0.5 MB costs twice as much as comparing it; beyond 4 MB nothing is gained.
BLOCK_BYTES = 4 * 2**20
THREADS = 2  # comparing is bound by memory: a third thread adds nothing
_COMPARABLE = set(FLOATS) - {"F8_E5M2", "F8_E4M3"}  # those that to_float32 reads
_NO_ROWS = np.empty(0, dtype=np.int64)
# of a block: how many rows differ, which, and their moments
_Found = tuple[int, np.ndarray, Moments | None]


@dataclass(frozen=True)
class Pair:
    """Two tensors to be compared.

    Attributes:
        name: for messages.
        now, base: the two.
        end_row: of tables, whose rows are told apart, rows below this one are compared; None compares all values.
    """

    name: str
    now: StoredTensor
    base: StoredTensor
    end_row: int | None = None

    @property
    def n_rows(self) -> int:
        """How many rows are compared; of what is no table, how many values."""
        return self.base.n_elements if self.end_row is None else self.end_row

    def rows(self) -> tuple[StoredTensor, StoredTensor]:
        """Both as they are compared: what is no table as a column of values, since one row of it may be huge."""
        if self.end_row is not None:
            return self.now, self.base
        return _column(self.now), _column(self.base)


@dataclass(frozen=True)
class Difference:
    """What a comparison found.

    Attributes:
        pair: what was compared.
        n_changed: how many rows differ in stored bits, or values of what is no table.
        rows: indices of the rows that differ, ascending; empty for what is no table.
        moments: of the values in those rows; None where none differs or they are no numbers.
        problem: why rows could not be compared value by value, e.g. another shape.
    """

    pair: Pair
    n_changed: int
    rows: np.ndarray
    moments: Moments | None
    problem: str | None = None

    @property
    def same_dtype(self) -> bool:
        """Whether both are stored in one type."""
        return self.pair.now.dtype == self.pair.base.dtype


def compare(pairs: Sequence[Pair]) -> list[Difference]:
    """Compare pairs of tensors, each byte read once; one result a pair, in their order."""
    refused = {number: problem for number, pair in enumerate(pairs) if (problem := _problem(pair))}
    tasks = [(n, first) for n, pair in enumerate(pairs) if n not in refused for first in _blocks(pair)]
    found: dict[int, list[_Found]] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda task: _compare_block(pairs[task[0]], task[1]), tasks)
        for (number, _), result in zip(tasks, results, strict=True):
            if result is not None:
                found.setdefault(number, []).append(result)
    return [
        _refused(pair, refused[number]) if number in refused else _joined(pair, found.get(number, []))
        for number, pair in enumerate(pairs)
    ]


def _column(tensor: StoredTensor) -> StoredTensor:
    return dataclasses.replace(tensor, shape=(tensor.n_elements,))


def _problem(pair: Pair) -> str | None:
    now, base = pair.now.shape, pair.base.shape
    if now[1:] != base[1:] or len(now) != len(base) or (pair.end_row is None and now != base):
        return f"shape {list(now)}, the base's is {list(base)}"
    short = [tensor for tensor in pair.rows() if tensor.shape[0] < pair.n_rows]
    return f"{short[0].shape[0]} rows in {short[0].file.name}, {pair.n_rows} expected" if short else None


def _blocks(pair: Pair) -> range:
    return range(0, pair.n_rows, _step(pair))


def _step(pair: Pair) -> int:
    return max(1, BLOCK_BYTES // max(1, pair.rows()[1].row_bytes))


def _compare_block(pair: Pair, first: int) -> _Found | None:
    """Rows that differ in one block, and their moments; None where none does."""
    end = min(first + _step(pair), pair.n_rows)
    now, base = (tensor.raw(first, end) for tensor in pair.rows())
    if pair.now.dtype == pair.base.dtype:
        if not _bits_differ(now, base):
            return None
        rows = np.flatnonzero((now != base).any(axis=1))
        now, base = now[rows], base[rows]
    else:
        rows = np.arange(end - first)
    kept = rows + first if pair.end_row is not None else _NO_ROWS
    if not {pair.now.dtype, pair.base.dtype} <= _COMPARABLE:
        return len(rows), kept, None
    return len(rows), kept, moments_of(to_float32(now, pair.now.dtype), to_float32(base, pair.base.dtype))


def _bits_differ(now: np.ndarray, base: np.ndarray) -> bool:
    """Whether two blocks of bytes differ; eight at a time where they come in eights."""
    now, base = now.reshape(-1), base.reshape(-1)
    if len(now) % 8 == 0:
        now, base = now.view(np.uint64), base.view(np.uint64)
    return bool((now != base).any())


def _refused(pair: Pair, problem: str) -> Difference:
    rows = np.arange(pair.n_rows) if pair.end_row is not None else _NO_ROWS
    return Difference(pair, pair.n_rows, rows, None, problem)


def _joined(pair: Pair, blocks: list[_Found]) -> Difference:
    n_changed = sum(n for n, _, _ in blocks)
    rows = np.concatenate([_NO_ROWS, *(rows for _, rows, _ in blocks)])
    moments = [m for _, _, m in blocks if m is not None]
    total = moments[0] if moments else None
    for more in moments[1:]:
        total = more if total is None else total + more
    return Difference(pair, n_changed, rows, total)
