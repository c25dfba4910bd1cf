"""The pattern of a change: what moved a value that should have stayed, told from how now and base relate.

With b the base's values and d = now - b, over the rows that changed:
  one common factor f     d = (f - 1) b, so that cos(d, b)^2 = 1 and f = 1 + <d, b> / <b, b>
  drawn anew              now and b are uncorrelated: <now, b> / (|now| |b|) near 0
  narrower type and back  now is exact in the narrower type, b is not, |d| is at most one unit in b's last place there
The bounds below sort a change that has been found into a pattern; none of them decides whether there is one.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Pattern = Literal[
    "other dtype", "shifted table", "dtype round trip", "weight decay", "re-initialised", "isolated values",
    "momentum", "training", "unknown",
]  # fmt: skip

# name -> units in the last place per magnitude (2^-mantissa bits), smallest step (of subnormal numbers)
_NARROW = {"BF16": (2.0**-7, 0.0), "F16": (2.0**-10, 2.0**-24)}
_COMMON_FACTOR = 0.9  # cos^2; rounding a bfloat16 after a decay of 1 % leaves 0.98, unrelated values near 0
_FEW_VALUES = 8  # fewer values than this have a common factor by chance; no optimiser moves so few
_UNCORRELATED = 0.5
_MOST = 0.5  # of the rows
_FEW_ROWS = 0.25  # of the rows: those that batches happened to contain
_SMALL_STEP = 0.25  # of the base's root mean square


@dataclass(frozen=True)
class Moments:
    """Sums over the rows that changed; those of two blocks add up.

    Attributes:
        n_values: values in those rows.
        n_changed: values that differ.
        largest: the largest |now - base|; NaN where nothing finite differs.
        dd, db, bb, nn: sums of d*d, d*b, b*b and now*now.
        narrow: types through which all that changed may have gone and come back.
    """

    n_values: int
    n_changed: int
    largest: float
    dd: float
    db: float
    bb: float
    nn: float
    narrow: frozenset[str]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.n_values + other.n_values,
            self.n_changed + other.n_changed,
            float(np.fmax(self.largest, other.largest)),
            self.dd + other.dd,
            self.db + other.db,
            self.bb + other.bb,
            self.nn + other.nn,
            # A block in which no value differs (only the stored type does) excludes nothing.
            self.narrow if not other.n_changed else other.narrow if not self.n_changed else self.narrow & other.narrow,
        )

    @property
    def factor(self) -> float:
        """The factor f that best turns base into now."""
        return 1 + self.db / self.bb if self.bb else math.nan

    @property
    def common(self) -> float:
        """How far one factor explains the change, 0 to 1."""
        return self.db**2 / (self.bb * self.dd) if self.bb and self.dd else 0.0

    @property
    def correlation(self) -> float:
        """Of now and base, without taking means away."""
        return (self.bb + self.db) / math.sqrt(self.nn * self.bb) if self.nn > 0 and self.bb else 0.0


def moments_of(now: np.ndarray, base: np.ndarray) -> Moments:
    """The moments of some changed rows: now and base, float32 of one shape."""
    now, base = now.reshape(-1), base.reshape(-1)
    differs = now != base
    finite = np.isfinite(now) & np.isfinite(base)
    d = np.where(finite, now - base, 0)
    n, b = np.where(finite, now, 0), np.where(finite, base, 0)
    return Moments(
        n_values=len(now),
        n_changed=int(differs.sum()),
        largest=float(np.abs(d).max()) if (differs & finite).any() else math.nan,
        dd=_dot(d, d),
        db=_dot(d, b),
        bb=_dot(b, b),
        nn=_dot(n, n),
        narrow=_narrow_types(now[differs], base[differs]),
    )


def name_pattern(
    moments: Moments, *, n_changed: int, n_rows: int, same_dtype: bool, offset: int | None = None
) -> Pattern:
    """What a change looks like; `n_changed` of `n_rows` rows differ, and equal the base's rows at `offset`."""
    if offset is not None:
        return "shifted table"
    if not same_dtype and moments.n_changed == 0:
        return "other dtype"
    if moments.narrow and moments.n_changed:
        return "dtype round trip"
    if moments.n_changed < _FEW_VALUES:
        return "isolated values"
    if moments.common >= _COMMON_FACTOR and 0 < moments.factor < 1:
        return "weight decay"
    if n_changed >= _MOST * n_rows and moments.correlation < _UNCORRELATED:
        return "re-initialised"
    if moments.dd <= _SMALL_STEP**2 * moments.bb:
        return "momentum" if n_changed <= _FEW_ROWS * n_rows else "training"
    return "unknown"


def exact_in(values: np.ndarray, dtype: str) -> np.ndarray:
    """Which float32 values a narrower type, BF16 or F16, holds without rounding."""
    if dtype == "BF16":
        return (values.view(np.uint32) & 0xFFFF) == 0
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32) == values


def _narrow_types(now: np.ndarray, base: np.ndarray) -> frozenset[str]:
    """The types that explain a change of values that all differ."""
    found = set()
    for dtype, (unit, smallest) in _NARROW.items():
        near = np.abs(now - base) <= np.maximum(np.abs(base) * unit, smallest)
        if bool((near & exact_in(now, dtype) & ~exact_in(base, dtype)).all()):
            found.add(dtype)
    return frozenset(found)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.einsum("i,i->", a, b, dtype=np.float64))
