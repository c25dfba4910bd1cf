"""Finding a table whose rows are the base's own, some rows further on: the offset of a shifted table."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from harness.tensors import StoredTensor

T = TypeVar("T", bound=Hashable)

_SAMPLES = 64  # changed rows that are looked for
_ENOUGH = 0.5  # of the samples must be found at one offset: rows at the edges have no partner
_BLOCK_BYTES = 4 * 2**20


def shift_of_tables(now: StoredTensor, base: StoredTensor, changed: np.ndarray) -> int | None:
    """The k for which row i of now equals row i + k of base, for most changed rows; None where there is none."""
    if now.dtype != base.dtype or now.row_bytes != base.row_bytes:
        return None
    wanted = _by_content({int(i): now.raw(i, i + 1).tobytes() for i in _sample(changed)})
    step = max(1, _BLOCK_BYTES // max(1, base.row_bytes))
    found = []
    for first in range(0, base.shape[0], step):
        block = base.raw(first, first + step)
        # Few rows begin like one that is looked for; only these are compared whole.
        heads = np.ascontiguousarray(block[:, :8])
        starts = {content[: heads.shape[1]] for content in wanted}
        for row in np.flatnonzero([head.tobytes() in starts for head in heads]):
            found += [(i, first + int(row)) for i in wanted.get(block[row].tobytes(), ())]
    return _common_offset(found, len(_sample(changed)))


def shift_of_digests(now: Sequence[str], base: Sequence[str], changed: np.ndarray) -> int | None:
    """The same from the hashes of rows."""
    wanted = _by_content({int(i): now[i] for i in _sample(changed) if i < len(now)})
    found = [(i, row) for row, digest in enumerate(base) for i in wanted.get(digest, ())]
    return _common_offset(found, len(_sample(changed)))


def _sample(changed: np.ndarray) -> np.ndarray:
    return changed[:: max(1, len(changed) // _SAMPLES)][:_SAMPLES]


def _by_content(contents: dict[int, T]) -> dict[T, list[int]]:
    rows: dict[T, list[int]] = defaultdict(list)
    for row, content in contents.items():
        rows[content].append(row)
    return rows


def _common_offset(found: list[tuple[int, int]], n_samples: int) -> int | None:
    offsets = Counter(partner - row for row, partner in found)
    offset, count = max(offsets.items(), key=lambda item: item[1], default=(0, 0))
    return offset if offset and count >= max(2, _ENOUGH * n_samples) else None
