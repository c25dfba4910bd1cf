"""Merged weights held against base + scale * B @ A: how far off, how much of it is in, and in which type."""

import math
from pathlib import Path

import numpy as np
import pytest

from harness import merge
from harness.lora import LowRank
from harness.merge import Merge, check_merge
from tests.stored import bf16, stored

RNG = np.random.default_rng(1)
BASE = RNG.normal(size=(6, 4)).astype(np.float32)
A, B = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 4), (6, 2)))
SCALE = 0.5
MERGED = (BASE + np.float32(SCALE) * B @ A).astype(np.float32)


def checked(folder: Path, now: np.ndarray, base: np.ndarray = BASE, a: np.ndarray = A, b: np.ndarray = B) -> Merge:
    pair = LowRank("m", stored(folder, a), stored(folder, b), SCALE, transposed=False)
    return check_merge(stored(folder, now, name="m.weight"), stored(folder, base), pair)


@pytest.mark.parametrize("rows_at_once", [0.5, 1, 4, 100])
def test_what_was_merged_right_is_off_by_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: float
) -> None:
    monkeypatch.setattr(merge, "_BLOCK_BYTES", int(16 * rows_at_once))

    found = checked(tmp_path, MERGED)

    assert found.name == "m.weight"
    assert found.error <= 2
    assert found.factor == pytest.approx(1, abs=1e-5)
    assert found.narrow is None


def test_what_was_not_merged_has_none_of_it(tmp_path: Path) -> None:
    found = checked(tmp_path, BASE)

    assert found.factor == 0
    assert found.error > 1e4


@pytest.mark.parametrize("times", [2.0, 0.5, -1.0])
def test_a_wrong_scale_is_told_by_the_factor(tmp_path: Path, times: float) -> None:
    found = checked(tmp_path, BASE + np.float32(times) * (MERGED - BASE))

    assert found.factor == pytest.approx(times, abs=1e-5)


@pytest.mark.parametrize("row", [0, 5])
def test_one_value_is_found_wherever_it_lies_and_told_in_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(merge, "_BLOCK_BYTES", 16)
    now = MERGED.copy()
    now[row, 0] += np.float32(0.25)

    assert checked(tmp_path, now).error == pytest.approx(0.25 / (np.abs(MERGED).max() * 2.0**-23), rel=1e-4)


@pytest.mark.parametrize("row", [0, 5])
def test_a_value_that_is_no_number_is_no_small_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    monkeypatch.setattr(merge, "_BLOCK_BYTES", 16)
    now = MERGED.copy()
    now[row, 1] = np.nan

    assert math.isnan(checked(tmp_path, now).error)


def test_a_merge_in_a_narrow_type_is_named(tmp_path: Path) -> None:
    assert checked(tmp_path, bf16(MERGED)).narrow == "BF16"
    assert checked(tmp_path, MERGED.astype(np.float16).astype(np.float32)).narrow == "F16"


def test_a_type_is_named_only_where_every_block_fits_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_BLOCK_BYTES", 16)
    now = bf16(MERGED)
    now[0] = MERGED[0]

    assert checked(tmp_path, now).narrow is None


@pytest.mark.parametrize(
    ("now", "base", "a", "b"),
    [
        pytest.param(MERGED[:5], BASE, A, B, id="merged"),
        pytest.param(MERGED[:5], BASE[:5], A, B, id="both"),
        pytest.param(MERGED[:, :3], BASE[:, :3], A, B, id="columns"),
        pytest.param(MERGED, BASE, A[:1], B, id="rank"),
    ],
)
def test_shapes_that_do_not_fit_give_no_figure(
    tmp_path: Path, now: np.ndarray, base: np.ndarray, a: np.ndarray, b: np.ndarray
) -> None:
    found = checked(tmp_path, now, base, a, b)

    assert found.name == "m.weight"
    assert math.isnan(found.error)
    assert math.isnan(found.factor)
    assert found.narrow is None


def test_of_nothing_but_zeros_any_difference_is_too_much(tmp_path: Path) -> None:
    zeros = np.zeros((6, 4), dtype=np.float32)

    same = checked(tmp_path, zeros, zeros, b=B * 0)
    assert same.error == 0
    assert math.isnan(same.factor)
    assert checked(tmp_path, zeros + 1, zeros, b=B * 0).error == math.inf


@pytest.mark.parametrize(
    ("factor", "holds"), [(1.0, True), (0.05, True), (0.049, False), (0.0, False), (-0.05, True), (math.nan, False)]
)
def test_a_weight_holds_the_adapter_where_it_moved_along_it(factor: float, holds: bool) -> None:
    assert Merge("w", 9.0, factor, None).holds_adapter is holds
