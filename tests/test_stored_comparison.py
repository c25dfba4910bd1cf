"""Stored tensors held against others: which rows differ, in which values, whatever the blocks they are read in."""

from pathlib import Path

import numpy as np
import pytest

from harness import compare as comparing
from harness.compare import Difference, Pair, compare
from tests.stored import stored

BASE = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)


def one(pair: Pair) -> Difference:
    (found,) = compare([pair])
    return found


def edited(*rows: int, base: np.ndarray = BASE) -> np.ndarray:
    now = base.copy()
    for row in rows:
        now[row, -1] += 1
    return now


@pytest.mark.parametrize("rows_at_once", [1, 2, 4, 100])
@pytest.mark.parametrize("rows", [(), (0,), (8,), (2, 3, 7)])
def test_the_rows_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, rows: tuple[int, ...]
) -> None:
    monkeypatch.setattr(comparing, "BLOCK_BYTES", 16 * rows_at_once)

    found = one(Pair("embed", stored(tmp_path, edited(*rows)), stored(tmp_path, BASE), end_row=9))

    assert found.rows.tolist() == list(rows)
    assert found.n_changed == len(rows)
    assert found.problem is None
    assert found.same_dtype
    if rows:
        assert found.moments is not None
        assert found.moments.n_changed == len(rows)
        assert found.moments.n_values == 4 * len(rows)
        assert found.moments.dd == pytest.approx(len(rows))
    else:
        assert found.moments is None


@pytest.mark.parametrize("rows_at_once", [1, 2, 4, 100])
def test_rows_beyond_the_last_one_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(comparing, "BLOCK_BYTES", 16 * rows_at_once)

    found = one(Pair("embed", stored(tmp_path, edited(4, 5)), stored(tmp_path, BASE), end_row=5))

    assert found.rows.tolist() == [4]
    assert found.pair.n_rows == 5


def test_a_table_may_have_grown(tmp_path: Path) -> None:
    longer = np.concatenate([edited(1), BASE])

    assert one(Pair("embed", stored(tmp_path, longer), stored(tmp_path, BASE), end_row=9)).rows.tolist() == [1]


@pytest.mark.parametrize("values_at_once", [1, 3, 100])
def test_of_what_is_no_table_values_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values_at_once: int
) -> None:
    monkeypatch.setattr(comparing, "BLOCK_BYTES", 4 * values_at_once)

    found = one(Pair("norm", stored(tmp_path, edited(2, 8)), stored(tmp_path, BASE)))

    assert found.n_changed == 2
    assert found.rows.tolist() == []
    assert found.pair.n_rows == 36
    assert found.moments is not None
    assert found.moments.n_values == 2


def test_results_come_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    pairs = [Pair(str(i), stored(tmp_path, edited(*range(i))), stored(tmp_path, BASE), 9) for i in range(5)]
    pairs.insert(2, Pair("cut", stored(tmp_path, BASE[:3]), stored(tmp_path, BASE)))

    found = compare(pairs)

    assert [each.pair.name for each in found] == ["0", "1", "cut", "2", "3", "4"]
    assert [each.n_changed for each in found] == [0, 1, 36, 2, 3, 4]
    assert compare([]) == []


@pytest.mark.parametrize(
    ("now", "base", "end_row", "problem"),
    [
        pytest.param(BASE[:, :3], BASE, 9, "shape [9, 3], the base's is [9, 4]", id="columns"),
        pytest.param(BASE[0], BASE, 9, "shape [4], the base's is [9, 4]", id="axes"),
        pytest.param(BASE[:8], BASE, None, "shape [8, 4], the base's is [9, 4]", id="no-table"),
        pytest.param(BASE[:8], BASE, 9, "8 rows in 0.bin, 9 expected", id="rows"),
        pytest.param(BASE, BASE[:8], 9, "8 rows in 1.bin, 9 expected", id="rows-of-the-base"),
    ],
)
def test_what_cannot_be_compared_differs_as_a_whole(
    tmp_path: Path, now: np.ndarray, base: np.ndarray, end_row: int | None, problem: str
) -> None:
    found = one(Pair("t", stored(tmp_path, now), stored(tmp_path, base), end_row))

    assert found.problem == problem
    assert found.moments is None
    assert found.n_changed == (9 if end_row else 36)
    assert found.rows.tolist() == (list(range(9)) if end_row else [])


@pytest.mark.parametrize("block_bytes", [8, 32, 4096])
def test_equal_values_in_another_type_differ_in_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(comparing, "BLOCK_BYTES", block_bytes)
    halves = np.round(BASE * 4) / 4

    found = one(Pair("embed", stored(tmp_path, halves, "BF16"), stored(tmp_path, halves), end_row=9))

    assert found.rows.tolist() == list(range(9))
    assert not found.same_dtype
    assert found.moments is not None
    assert found.moments.n_changed == 0


def test_bits_that_are_no_numbers_are_compared_and_have_no_moments(tmp_path: Path) -> None:
    numbers = np.arange(36, dtype=np.int32).reshape(9, 4)
    other = numbers.copy()
    other[4, 1] = 7

    found = one(Pair("ids", stored(tmp_path, other, "I32"), stored(tmp_path, numbers, "I32"), end_row=9))

    assert (found.rows.tolist(), found.n_changed, found.moments) == ([4], 1, None)
    mixed = one(Pair("ids", stored(tmp_path, BASE), stored(tmp_path, numbers, "I32"), end_row=9))
    assert (mixed.n_changed, mixed.moments) == (9, None)


@pytest.mark.parametrize("dtype", ["F8_E5M2", "F8_E4M3"])
def test_floats_of_eight_bits_are_compared_by_their_bits(tmp_path: Path, dtype: str) -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    other = codes.copy()
    other[1, 3] ^= 1

    found = one(Pair("w", stored(tmp_path, other, dtype), stored(tmp_path, codes, dtype), end_row=3))

    assert (found.rows.tolist(), found.moments) == ([1], None)


@pytest.mark.parametrize("n_bytes", [1, 7, 8, 9, 12, 13, 16])
@pytest.mark.parametrize("where", [0, -1])
def test_one_bit_is_found_at_any_length(tmp_path: Path, n_bytes: int, where: int) -> None:
    codes = np.zeros((1, n_bytes), dtype=np.uint8)
    other = codes.copy()
    other[0, where] = 1

    same = Pair("w", stored(tmp_path, codes, "U8"), stored(tmp_path, codes, "U8", before=3), end_row=1)
    assert one(same).n_changed == 0
    assert one(Pair("w", stored(tmp_path, other, "U8"), stored(tmp_path, codes, "U8"), end_row=1)).n_changed == 1


def test_negative_zero_is_another_bit(tmp_path: Path) -> None:
    zeros = np.zeros((2, 2), dtype=np.float32)

    assert one(Pair("w", stored(tmp_path, -zeros), stored(tmp_path, zeros), end_row=2)).n_changed == 2


def test_an_empty_tensor_differs_in_nothing(tmp_path: Path) -> None:
    empty = np.empty((0, 4), dtype=np.float32)

    assert one(Pair("w", stored(tmp_path, empty), stored(tmp_path, empty))).n_changed == 0
