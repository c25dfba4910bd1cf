"""Values that are no numbers, found in stored bits at the speed of memory: nothing is converted or copied."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.progress import Listener, silent, track
from harness.tensors import StoredTensor

# Type to (integers of its width, bits of the smallest magnitude that is infinite or NaN). E4M3 has NaN alone.
_FIRST_BEYOND: dict[str, tuple[Any, Any, int]] = {
    "F8_E4M3": (np.uint8, np.int8, 0x7F),
    "F8_E5M2": (np.uint8, np.int8, 0x7C),
    "F16": (np.uint16, np.int16, 0x7C00),
    "BF16": (np.uint16, np.int16, 0x7F80),
    "F32": (np.uint32, np.int32, 0x7F80_0000),
    "F64": (np.uint64, np.int64, 0x7FF0_0000_0000_0000),
}
_PIECE_VALUES = 2**18  # both passes over a piece find it in the processor's cache
_WORKERS = 4


@dataclass(frozen=True)
class NotFinite:
    """What of a tensor is infinite or NaN.

    Attributes:
        count: how many values.
        first: flat index of the first of them.
    """

    tensor: StoredTensor
    count: int
    first: int

    @property
    def first_row(self) -> int:
        """The first of them's index on the first axis."""
        return self.first // max(1, self.tensor.n_elements // self.tensor.shape[0]) if self.tensor.shape else 0


def find_not_finite(tensors: Sequence[StoredTensor], listener: Listener = silent) -> list[NotFinite]:
    """Every tensor that holds a value that is infinite or NaN; all values are looked at."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        results = track(pool.map(_not_finite, tensors), len(tensors), "looking at every value", listener)
        return [found for found in results if found is not None]


def _not_finite(tensor: StoredTensor) -> NotFinite | None:
    if tensor.dtype not in _FIRST_BEYOND:
        return None
    unsigned, signed, beyond = _FIRST_BEYOND[tensor.dtype]
    sign = 1 << (8 * np.dtype(unsigned).itemsize - 1)
    count, first, done = 0, -1, 0
    for block in tensor.pieces():
        bits = block.view(unsigned)
        for start in range(0, len(bits), _PIECE_VALUES):
            piece = bits[start : start + _PIECE_VALUES]
            # As signed integers the largest is the largest positive value, as unsigned ones the largest negative.
            if int(piece.view(signed).max()) >= beyond or int(piece.max()) >= sign | beyond:
                bad = (piece & unsigned(sign - 1)) >= beyond
                first = done + int(bad.argmax()) if first < 0 else first
                count += int(bad.sum())
            done += len(piece)
    return NotFinite(tensor, count, first) if count else None
