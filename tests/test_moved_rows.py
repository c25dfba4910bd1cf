"""The strip of rows: every moved row leaves a mark in its range, none that stayed does."""

import numpy as np
import pytest

from harness.moved import Moved
from harness.moved_rows import MAX_BINS, stretches
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import TEXT, token_space_object

SPACE: TokenSpace = parse_token_space(token_space_object())


def moved_text(rows: list[int]) -> Moved:
    return Moved("embed", True, len(rows), TEXT, None, None, rows=np.array(rows))


def by_name(
    moved: list[Moved], new_rows: dict[str, np.ndarray] | None
) -> dict[tuple[str, str], tuple[int | None, str]]:
    found = stretches(SPACE, moved, new_rows)  # type: ignore[arg-type]
    return {(each.table, each.name): (each.moved, each.bins) for each in found}


def test_text_rows_of_an_untouched_base_have_not_moved() -> None:
    new = {"embed": np.ones(SPACE.vocab_size_total - TEXT, dtype=bool)}

    found = by_name([], new)

    assert found["embed", "TEXT"] == (0, "0" * min(TEXT, MAX_BINS))
    assert all(set(bins) == {"9"} for (_, name), (_, bins) in found.items() if name != "TEXT")
    assert ("lm_head", "TEXT") not in found


def test_one_row_of_many_is_never_none_and_never_all() -> None:
    found = by_name([moved_text([3])], None)

    moved, bins = found["embed", "TEXT"]
    assert moved == 1
    assert [i for i, digit in enumerate(bins) if digit != "0"] == [3 * len(bins) // TEXT]


def test_without_a_parent_new_rows_are_not_known() -> None:
    found = by_name([], None)

    assert found["embed", "TEXT"][0] == 0
    assert {each for (_, name), each in found.items() if name != "TEXT"} == {(None, "")}


@pytest.mark.parametrize("n_moved", [0, 1, 5])
def test_counts_are_those_of_the_rows(n_moved: int) -> None:
    ours = np.zeros(SPACE.vocab_size_total - TEXT, dtype=bool)
    ours[:n_moved] = True

    found = by_name([moved_text([0, TEXT - 1])], {"embed": ours, "lm_head": ours})

    assert found["embed", "TEXT"][0] == 2
    for table in ("embed", "lm_head"):
        assert (
            sum(moved or 0 for (name, part), (moved, _) in found.items() if name == table and part != "TEXT") == n_moved
        )
