"""Whether merged weights are base + scale * B @ A, tensor by tensor, in units of float32 rounding."""

import math
from dataclasses import dataclass

import numpy as np

from harness.drift import exact_in
from harness.lora import LowRank
from harness.tensors import StoredTensor, to_float32

_FLOAT32_UNIT = 2.0**-23  # one unit in the last place of 1
_BLOCK_BYTES = 4 * 2**20
# From this share of scale * B @ A on a weight is taken to hold the adapter. Rounding and drift have none of it: their
# projection on the adapter's direction is a thousandth and less.
_HELD_FROM = 0.05


@dataclass(frozen=True)
class Merge:
    """One merged tensor.

    Attributes:
        name: the tensor.
        error: largest |now - (base + scale * B @ A)|, in float32 units in the last place of the largest expected value;
            NaN where the shapes do not fit or a value is not finite.
        factor: how much of scale * B @ A is in it: 1 where it is right, 0 where it was not merged.
        narrow: the type that it seems to have been merged in; None for float32.
    """

    name: str
    error: float
    factor: float
    narrow: str | None

    @property
    def holds_adapter(self) -> bool:
        """Whether the weight changed towards the adapter, or away from it, and not merely in some other way."""
        return abs(self.factor) >= _HELD_FROM  # NaN is not


def check_merge(now: StoredTensor, base: StoredTensor, pair: LowRank) -> Merge:
    """Hold a merged weight against what it should be, streamed."""
    left, right = pair.factors()
    fits = now.shape == base.shape == (len(left), right.shape[1]) and left.shape[1] == len(right)
    if not fits:
        return Merge(now.name, math.nan, math.nan, None)
    worst = largest = along = square = 0.0
    narrow = {"BF16", "F16"}
    step = max(1, _BLOCK_BYTES // base.row_bytes)
    for first in range(0, base.shape[0], step):
        is_now = to_float32(now.raw(first, first + step), now.dtype)
        before = to_float32(base.raw(first, first + step), base.dtype)
        delta = left[first : first + step] @ right
        expected = before + delta
        # np.max, unlike max, keeps a NaN.
        worst = float(np.max([worst, np.abs(is_now - expected).max()]))
        largest = max(largest, float(np.abs(expected).max()))
        along += float(np.vdot(is_now - before, delta))
        square += float(np.vdot(delta, delta))
        narrow = {dtype for dtype in narrow if exact_in(is_now, dtype).all()}
    unit = largest * _FLOAT32_UNIT
    error = worst / unit if unit else (0.0 if worst == 0 else math.inf)
    return Merge(now.name, error, along / square if square else math.nan, min(narrow, default=None))
