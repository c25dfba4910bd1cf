"""Faults of the new rows: never moved, equal, of no size (S3.2, and the write gates that depend on them)."""

from typing import Any

from harness.faults.copies import Copy
from harness.faults.fault import Fault
from harness.faults.weights import edit_rows, head_rows_of, new_rows_of, own_tables, parents_rows


def _codes(copy: Copy) -> slice:
    """The new rows that are codes, by the rows' own count: what follows the specials."""
    space = copy.bundle.space
    starts = [each["start"] for name, each in space.raw["ranges"].items() if name not in ("TEXT", "SPECIAL")]
    return slice(min(starts) - space.text_vocab_size, None)


def _restore_parents_rows(copy: Copy, every: int) -> None:
    """Every n-th code's row as the parent has it."""
    for table in own_tables(copy):
        old, codes = parents_rows(copy, table), _codes(copy)

        def restore(values: Any, old: Any = old, codes: slice = codes) -> None:
            values[codes][::every] = old[codes][::every].to(values.dtype)

        edit_rows(copy, new_rows_of(copy, table), restore)


def _two_equal(copy: Copy) -> None:
    first = _codes(copy).start

    def edit(values: Any) -> None:
        values[first] = values[first + 1]

    edit_rows(copy, head_rows_of(copy), edit)


def _all_equal(copy: Copy) -> None:
    codes = _codes(copy)

    def edit(values: Any) -> None:
        values[codes] = values[codes].mean(dim=0)

    edit_rows(copy, new_rows_of(copy, "embed"), edit)


def _zero(copy: Copy) -> None:
    first = _codes(copy).start
    edit_rows(copy, new_rows_of(copy, "embed"), lambda values: values[first : first + 200].fill_(0.0))


def _one_blown_up(copy: Copy) -> None:
    first = _codes(copy).start
    edit_rows(copy, new_rows_of(copy, "embed"), lambda values: values[first : first + 1].mul_(100.0))


def _blown_up(copy: Copy) -> None:
    codes = _codes(copy)
    edit_rows(copy, new_rows_of(copy, "embed"), lambda values: values[codes].mul_(30.0))


FAULTS = (
    Fault("rows-never-moved", "Updates in bfloat16 were rounded away, and every row is as the surgery left it.",
          ("S3.2",), "seen in training, and bit-equal to the parent's", "train the rows in float32",
          lambda copy: _restore_parents_rows(copy, 1), "weights", source="domain.md row 15"),
    Fault("one-row-in-twenty-never-moved", "Some gradients were masked away: a twentieth of the codes never trained.",
          ("S3.2",), "seen in training, and bit-equal to the parent's", "gradients reach both tables",
          lambda copy: _restore_parents_rows(copy, 20), "weights", subtle=True, source="domain.md row 15"),
    Fault("two-rows-equal", "Two codes were given one row by an off-by-one copy.",
          ("S3.2",), "equal to row", "draw them anew around the mean text row, with noise", _two_equal, "weights",
          subtle=True),
    Fault("all-rows-the-mean", "New rows set to the mean of the text rows without noise: they get equal gradients.",
          ("S3.2",), "equal to row", "draw them anew around the mean text row, with noise", _all_equal, "weights"),
    Fault("zero-rows", "Rows that a resize left at zero, as if never drawn.",
          ("S3.2",), "norm 0", "rows near zero were never drawn", _zero, "weights", source="domain.md row 9"),
    Fault("one-row-blown-up", "One row ran away, a hundred times the size of a text row.",
          ("S3.2",), "norm_out_of_range", "clip gradients", _one_blown_up, "weights", subtle=True,
          source="domain.md row 11"),
    Fault("rows-blown-up", "The modalities compete, and the norms drift up to thirty times.",
          ("S3.2",), "norm_out_of_range", "lower the learning rate, add a z-loss", _blown_up, "weights",
          source="domain.md row 11"),
)  # fmt: skip
