"""Which rows of the vocabulary tables moved, range by range: what the report draws as a strip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.layout import Range
from harness.moved import Moved
from harness.stored_model import TABLES, Table
from harness.token_space import TokenSpace

MAX_BINS = 96  # of a stretch
FULL = 9  # of a bin: every row moved; 0: none


@dataclass(frozen=True)
class Stretch:
    """The rows of one range of ids in one table.

    Attributes:
        table: `embed` or `lm_head`.
        name: the range: `TEXT`, `SPECIAL`, `IMAGE`, `AUDIO_CB0`.
        start, end: ids, inclusive.
        moved: how many rows moved; None where there is nothing to hold them against.
        bins: a digit for each of at most MAX_BINS equal parts, from 0 (no row moved) to 9 (every one did); empty where
            `moved` is None. One moved row is never 0, and one that stayed never 9.
    """

    table: Table
    name: str
    start: int
    end: int
    moved: int | None
    bins: str


def stretches(space: TokenSpace, moved: Sequence[Moved], new_rows: dict[Table, np.ndarray] | None) -> list[Stretch]:
    """Every range of every table that has rows of its own.

    Args:
        space: names the ranges.
        moved: what differs from the base; text rows that are not named there are the base's.
        new_rows: table to which of its new rows, from V_text on, differ from the parent's, bool; None without a parent.
    """
    n_text, none = space.text_vocab_size, np.empty(0, dtype=np.int64)
    text = {each.name: each.rows[each.rows < n_text] for each in moved if each.is_table}
    found = []
    for table in TABLES:
        if table not in text and table not in (new_rows or ("embed",)):
            continue
        ours = (new_rows or {}).get(table)
        new = none if ours is None else n_text + np.flatnonzero(ours)
        ids = np.concatenate([text.get(table, none), new])  # ascending
        for name, span in sorted(space.layout.ranges.items(), key=lambda each: each[1].start):
            known = span.end < n_text or ours is not None
            found.append(_stretch(table, name, span, ids if known else None))
    return found


def _stretch(table: Table, name: str, span: Range, ids: np.ndarray | None) -> Stretch:
    """ids: (n,) of all rows that moved, ascending; None where that is not known."""
    if ids is None:
        return Stretch(table, name, span.start, span.end, None, "")
    edges = np.linspace(0, span.size, min(span.size, MAX_BINS) + 1).astype(np.int64)
    counts = np.diff(np.searchsorted(ids, span.start + edges))
    return Stretch(table, name, span.start, span.end, int(counts.sum()), _digits(counts, np.diff(edges)))


def _digits(counts: np.ndarray, sizes: np.ndarray) -> str:
    partly = np.clip(np.rint(FULL * counts / sizes), 1, FULL - 1).astype(np.int64)
    return "".join(map(str, np.select([counts == 0, counts == sizes], [0, FULL], partly)))
