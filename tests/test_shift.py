"""Shifted tables: the offset is found from rows and from their hashes, and none where chance would do as well."""

from pathlib import Path

import numpy as np
import pytest

from harness import shift
from harness.shift import shift_of_digests, shift_of_tables
from tests.stored import stored

N = 200
BASE = np.random.default_rng(1).normal(size=(N, 6)).astype(np.float32)


def moved_by(k: int) -> np.ndarray:
    """Row i of it is row i + k of the base; rows at the edge stay."""
    now = BASE.copy()
    rows = np.arange(max(0, -k), min(N, N - k))
    now[rows] = BASE[rows + k]
    return now


def changed(now: np.ndarray) -> np.ndarray:
    return np.flatnonzero((now != BASE).any(axis=1))


def of_tables(folder: Path, now: np.ndarray, rows: np.ndarray | None = None) -> int | None:
    found = changed(now) if rows is None else rows
    return shift_of_tables(stored(folder, now), stored(folder, BASE), found)


def digests(table: np.ndarray) -> list[str]:
    return [row.tobytes().hex() for row in table]


@pytest.mark.parametrize("k", [1, -1, 5, -17, 90])
@pytest.mark.parametrize("rows_at_once", [0.5, 1, 7, 1000])
def test_the_offset_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, rows_at_once: float) -> None:
    monkeypatch.setattr(shift, "_BLOCK_BYTES", int(24 * rows_at_once))
    now = moved_by(k)

    assert of_tables(tmp_path, now) == k
    assert shift_of_digests(digests(now), digests(BASE), changed(now)) == k


def test_rows_that_are_nowhere_in_the_base_have_no_offset(tmp_path: Path) -> None:
    now = BASE + 1

    assert of_tables(tmp_path, now) is None
    assert shift_of_digests(digests(now), digests(BASE), changed(now)) is None


@pytest.mark.parametrize(("n_found", "offset"), [(4, 3), (3, None)])
def test_half_of_the_rows_must_be_found(tmp_path: Path, n_found: int, offset: int | None) -> None:
    now, rows = BASE.copy(), np.arange(10, 18)
    now[rows] += 1
    now[rows[:n_found]] = BASE[rows[:n_found] + 3]

    assert of_tables(tmp_path, now, rows) == offset
    assert shift_of_digests(digests(now), digests(BASE), rows) == offset


@pytest.mark.parametrize(("n", "offset"), [(1, None), (2, 3)])
def test_one_row_proves_no_shift(tmp_path: Path, n: int, offset: int | None) -> None:
    now, rows = BASE.copy(), np.arange(10, 10 + n)
    now[rows] = BASE[rows + 3]

    assert of_tables(tmp_path, now, rows) == offset


def test_rows_that_stayed_are_no_shift_by_nothing(tmp_path: Path) -> None:
    assert of_tables(tmp_path, BASE, np.arange(20)) is None


def test_equal_rows_are_all_looked_for(tmp_path: Path) -> None:
    base = BASE.copy()
    base[50:60] = base[50]
    now = base.copy()
    now[20:30] = base[50]

    found = shift_of_tables(stored(tmp_path, now), stored(tmp_path, base), np.arange(20, 30))

    assert found == 30
    assert shift_of_digests(digests(now), digests(base), np.arange(20, 30)) == 30


def test_rows_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    base = BASE.copy()
    base[:, :2] = 1.0
    now = base.copy()
    now[:100] = base[100:200]

    assert shift_of_tables(stored(tmp_path, now), stored(tmp_path, base), np.arange(100)) == 100


def test_rows_shorter_than_what_is_compared_first(tmp_path: Path) -> None:
    base = np.arange(50, dtype=np.float32)[:, None]
    now = base + 4

    assert shift_of_tables(stored(tmp_path, now), stored(tmp_path, base), np.arange(50)) == 4


def test_tables_of_another_type_or_width_have_no_offset(tmp_path: Path) -> None:
    now = moved_by(5)

    wide = stored(tmp_path, np.concatenate([now, now], axis=1))
    assert shift_of_tables(wide, stored(tmp_path, BASE), changed(now)) is None
    other = stored(tmp_path, now.view(np.int32), "I32")
    assert shift_of_tables(other, stored(tmp_path, BASE), changed(now)) is None


def test_samples_are_spread_over_all_changed_rows(tmp_path: Path) -> None:
    # The first rows have changed otherwise; those behind them are the base's own.
    now = moved_by(7)
    now[:40] += 1

    assert of_tables(tmp_path, now) == 7


def test_a_table_with_fewer_rows_has_digests_for_those_alone() -> None:
    now = moved_by(3)[:100]

    assert shift_of_digests(digests(now), digests(BASE), np.arange(N)) == 3


def test_the_first_row_of_the_base_is_looked_at(tmp_path: Path) -> None:
    now, rows = BASE.copy(), np.array([1, 2])
    now[rows] = BASE[rows - 1]

    assert of_tables(tmp_path, now, rows) == -1
    assert shift_of_digests(digests(now), digests(BASE), rows) == -1


def test_a_row_just_behind_the_end_has_no_digest() -> None:
    now = moved_by(3)[:100]

    assert shift_of_digests(digests(now), digests(BASE), np.arange(90, 101)) == 3
