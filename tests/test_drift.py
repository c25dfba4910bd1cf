"""Patterns of a change: each is told from its neighbours, at the bound between them as well."""

import math

import numpy as np
import pytest

from harness.drift import Moments, Pattern, exact_in, moments_of, name_pattern
from tests.stored import bf16


def sums(
    dd: float, db: float, bb: float, nn: float, *, n_changed: int = 100, narrow: frozenset[str] = frozenset()
) -> Moments:
    return Moments(100, n_changed, 1.0, dd, db, bb, nn, narrow)


SMALL_STEP = sums(1, 0, 16, 17)  # a root mean square of a quarter of the base's
DECAYED = sums(1, -3, 10, 5)  # cos^2 is 0.9
UNRELATED = sums(9, -4.5, 4, 4)


@pytest.mark.parametrize(
    ("moments", "n_changed", "same_dtype", "offset", "pattern"),
    [
        pytest.param(SMALL_STEP, 100, True, 3, "shifted table", id="an-offset-says-all"),
        pytest.param(sums(0, 0, 1, 1, n_changed=0), 100, False, None, "other dtype", id="equal-in-another-type"),
        pytest.param(SMALL_STEP, 100, False, None, "training", id="unequal-in-another-type"),
        pytest.param(sums(0, 0, 1, 1, n_changed=0), 100, True, None, "isolated values", id="nothing-differs"),
        pytest.param(sums(1, 0, 16, 17, narrow=frozenset({"BF16"})), 100, True, None, "dtype round trip", id="narrow"),
        pytest.param(sums(1, -3, 10, 5, n_changed=7), 100, True, None, "isolated values", id="seven-values"),
        pytest.param(sums(1, -3, 10, 5, n_changed=8), 100, True, None, "weight decay", id="eight-values"),
        pytest.param(DECAYED, 100, True, None, "weight decay", id="one-factor-just-so"),
        pytest.param(sums(1.01, -3, 10, 5), 100, True, None, "unknown", id="one-factor-not-quite"),
        pytest.param(sums(1, 3, 10, 17), 100, True, None, "unknown", id="grown-by-one-factor"),
        pytest.param(sums(10, -10, 10, 0), 100, True, None, "re-initialised", id="all-gone-to-zero"),
        pytest.param(sums(40, -20, 10, 10), 100, True, None, "re-initialised", id="turned-round"),
        pytest.param(UNRELATED, 50, True, None, "re-initialised", id="half-of-the-rows-unrelated"),
        pytest.param(UNRELATED, 49, True, None, "unknown", id="fewer-than-half-of-the-rows"),
        pytest.param(sums(4, -2, 4, 4), 100, True, None, "unknown", id="half-correlated"),
        pytest.param(SMALL_STEP, 25, True, None, "momentum", id="a-quarter-of-the-rows"),
        pytest.param(SMALL_STEP, 26, True, None, "training", id="more-than-a-quarter"),
        pytest.param(sums(1.01, 0, 16, 17), 100, True, None, "unknown", id="a-larger-step"),
    ],
)
def test_a_change_is_named(
    moments: Moments, n_changed: int, same_dtype: bool, offset: int | None, pattern: Pattern
) -> None:
    named = name_pattern(moments, n_changed=n_changed, n_rows=100, same_dtype=same_dtype, offset=offset)

    assert named == pattern


def test_what_the_sums_say() -> None:
    base = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    moments = moments_of(base * np.float32(0.5), base)

    assert (moments.n_values, moments.n_changed, moments.largest) == (4, 4, 2.0)
    assert (moments.dd, moments.db, moments.bb, moments.nn) == (7.5, -15.0, 30.0, 7.5)
    assert moments.factor == 0.5
    assert moments.common == 1.0
    assert moments.correlation == pytest.approx(1.0)


def test_the_correlation_of_values_and_their_opposites() -> None:
    base = np.array([1.0, -2.0], dtype=np.float32)

    assert moments_of(-base, base).correlation == pytest.approx(-1.0)
    assert moments_of(base / 8, base / 4).correlation == pytest.approx(1.0)


def test_of_a_base_of_zeros_no_factor_is_known() -> None:
    zeros = np.zeros(3, dtype=np.float32)
    moments = moments_of(zeros + 1, zeros)

    assert math.isnan(moments.factor)
    assert moments.common == 0
    assert moments.correlation == 0


def test_of_what_has_gone_to_zero_no_correlation_is_known() -> None:
    base = np.ones(3, dtype=np.float32)

    assert moments_of(base * 0, base).correlation == 0
    assert moments_of(base, base).common == 0


def test_values_that_are_no_numbers_count_as_changed_and_add_nothing() -> None:
    base = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    moments = moments_of(np.array([np.nan, np.inf, 2.5], dtype=np.float32), base)

    assert (moments.n_changed, moments.largest) == (3, 0.5)
    assert (moments.dd, moments.bb, moments.nn) == (0.25, 9.0, 6.25)


def test_where_nothing_finite_differs_there_is_no_largest_change() -> None:
    base = np.array([1.0, 2.0], dtype=np.float32)

    assert math.isnan(moments_of(np.array([np.nan, 2.0], dtype=np.float32), base).largest)


def test_the_sums_of_two_blocks_are_those_of_both() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(8, 4)).astype(np.float32)
    now = base + rng.normal(size=(8, 4)).astype(np.float32)

    both, joined = moments_of(now, base), moments_of(now[:3], base[:3]) + moments_of(now[3:], base[3:])

    assert (joined.n_values, joined.n_changed, joined.largest) == (32, 32, both.largest)
    for name in ("dd", "db", "bb", "nn"):
        assert getattr(joined, name) == pytest.approx(getattr(both, name))


@pytest.mark.parametrize(("a", "b", "both"), [(math.nan, 2.0, 2.0), (2.0, math.nan, 2.0), (1.0, 2.0, 2.0)])
def test_a_block_without_a_finite_change_hides_no_other(a: float, b: float, both: float) -> None:
    def block(largest: float) -> Moments:
        return Moments(1, 1, largest, 0, 0, 0, 0, frozenset())

    assert (block(a) + block(b)).largest == both


def test_a_type_explains_a_change_only_where_it_explains_every_block() -> None:
    def block(n_changed: int, *types: str) -> Moments:
        return Moments(4, n_changed, 1.0, 0, 0, 0, 0, frozenset(types))

    assert (block(4, "BF16", "F16") + block(4, "F16")).narrow == {"F16"}
    assert (block(4, "BF16") + block(0)).narrow == {"BF16"}
    assert (block(0) + block(4, "BF16")).narrow == {"BF16"}


def test_a_round_trip_is_told_by_what_it_leaves() -> None:
    base = np.random.default_rng(2).normal(size=1000).astype(np.float32)

    assert moments_of(bf16(base), base).narrow == {"BF16"}
    assert moments_of(base.astype(np.float16).astype(np.float32), base).narrow == {"F16"}
    assert moments_of(bf16(base * np.float32(1.1)), base).narrow == frozenset()
    assert moments_of(base + np.float32(1e-4), base).narrow == frozenset()


def test_a_base_that_is_exact_in_a_type_did_not_go_through_it() -> None:
    base = bf16(np.random.default_rng(3).normal(size=100).astype(np.float32))

    assert moments_of(np.nextafter(base, np.float32(9)), base).narrow == frozenset()


@pytest.mark.parametrize(("dtype", "step"), [("BF16", 2.0**-7), ("F16", 2.0**-10)])
@pytest.mark.parametrize(("unit", "told"), [(1, True), (2, False)])
def test_a_round_trip_moves_no_value_by_more_than_one_unit(dtype: str, step: float, unit: int, told: bool) -> None:
    base = np.full(10, 1 + 2.0**-20, dtype=np.float32)
    now = np.full(10, 1 + unit * step, dtype=np.float32)

    assert (dtype in moments_of(now, base).narrow) is told


def test_a_float16_of_nothing_is_one_subnormal_step_away() -> None:
    base = np.full(10, 2.0**-25, dtype=np.float32)

    assert moments_of(np.full(10, 2.0**-24, dtype=np.float32), base).narrow == {"F16"}
    assert moments_of(np.full(10, 2.0**-24, dtype=np.float32), base / np.float32(16)).narrow == {"F16"}
    assert moments_of(np.full(10, 2.0**-23, dtype=np.float32), base).narrow == frozenset()


@pytest.mark.parametrize(
    ("value", "in_bf16", "in_f16"),
    [(1.0, True, True), (1 + 2.0**-7, True, True), (1 + 2.0**-8, False, True), (1 + 2.0**-10, False, True),
     (1 + 2.0**-16, False, False), (1 + 2.0**-23, False, False), (1e30, False, False), (2.0**100, True, False)],
)  # fmt: skip
def test_what_a_narrower_type_holds(value: float, in_bf16: bool, in_f16: bool) -> None:
    values = np.array([value], dtype=np.float32)

    assert exact_in(values, "BF16").tolist() == [in_bf16]
    assert exact_in(values, "F16").tolist() == [in_f16]
