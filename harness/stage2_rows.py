"""Which rows of a block are wrong, and in what: a whole block at a time, no loop over rows."""

from collections.abc import Callable, Iterator
from typing import Literal, cast, get_args

import numpy as np

from harness.layout import Range
from harness.stage2 import Block
from harness.token_space import Modality, TokenSpace

# What a row can be wrong in: an id that is none of its kind; one on another codebook's turn; a frame cut short; another
# number of ids than its meta says.
Offence = Literal["illegal", "out_of_turn", "part_frame", "miscounted"]
# Tells what is wrong with a row, given its number in the block.
Note = Callable[[int], str]


def offences(block: Block, space: TokenSpace) -> Iterator[tuple[Offence, np.ndarray, Note]]:
    """Each offence with the rows of the block that commit it, ascending; none without rows."""
    for offence, rows, note in _all(block, space):
        if len(rows):
            yield offence, rows, note


def _all(block: Block, space: TokenSpace) -> Iterator[tuple[Offence, np.ndarray, Note]]:
    if block.modality == "text":
        wrong = np.flatnonzero(_unsigned(block.ids) >= space.text_vocab_size)
        yield (
            "illegal",
            _rows_of(block, wrong),
            _first_id(block, wrong, lambda i, _: f"found {space.name_of(i)}, not TEXT"),
        )
        yield from _miscounted(block, 1)
        return
    if block.modality not in get_args(Modality) or not (ranges := space.ranges_of(cast(Modality, block.modality))):
        everything = np.arange(len(block.lengths))
        yield (
            "illegal",
            everything,
            lambda _: f"modality {block.modality[:40]!r}, for which the token space has no range",
        )
        return
    modality = cast(Modality, block.modality)
    wrong = np.flatnonzero(~_on_turn(block, ranges))
    elsewhere = space.in_range(modality, block.ids[wrong])
    for offence, at in (("illegal", wrong[~elsewhere]), ("out_of_turn", wrong[elsewhere])):
        note = _first_id(block, at, lambda i, position: space.misplaced(modality, i, position))
        yield cast(Offence, offence), _rows_of(block, at), note
    k = len(ranges)
    part = np.flatnonzero(block.lengths % k)
    yield "part_frame", part, lambda row: f"{block.lengths[row]} ids are no whole number of frames of {k} codebooks"
    yield from _miscounted(block, k, space.image_tokenizer.get("n_tokens") if modality == "image" else None)


def _on_turn(block: Block, ranges: tuple[Range, ...]) -> np.ndarray:
    """Which ids lie in the range whose turn it is, (V,) bool."""
    k, ids = len(ranges), _unsigned(block.ids)
    starts = np.array([r.start for r in ranges], dtype=ids.dtype)
    sizes = np.array([r.size for r in ranges], dtype=ids.dtype)
    if not (block.lengths % k).any():
        # Whole frames throughout: the turns repeat every k ids, whatever the rows. Unsigned, so that an id before its
        # range wraps to something far beyond it.
        return ((ids.reshape(-1, k) - starts) < sizes).reshape(-1)
    positions = np.arange(len(ids)) - np.repeat(block.offsets[:-1], block.lengths)
    turn = positions % k
    return (ids - starts[turn]) < sizes[turn]


def _miscounted(block: Block, k: int, fixed: object = None) -> Iterator[tuple[Offence, np.ndarray, Note]]:
    """Rows with another number of ids than their meta says, with a meta that says none, or without ids.

    Args:
        block: the rows.
        k: codebooks, or 1.
        fixed: how many ids the token space itself says; None where it says nothing.
    """
    if block.counts is None:
        return
    said, lengths, counts = block.counts.prod(axis=1), block.lengths, block.counts
    wrong = (said != lengths) | (counts[:, 1] != k) | (counts[:, 0] < 0)
    if block.modality != "text":
        wrong |= lengths == 0
    if isinstance(fixed, int):
        wrong |= lengths != fixed

    def note(row: int) -> str:
        first, second = (int(v) for v in counts[row])
        meta = "nothing of it" if first < 0 else f"{first} frames x {second} codebooks" if k > 1 else str(first)
        also = f"; the token space says {fixed}" if isinstance(fixed, int) else ""
        return f"{lengths[row]} ids; its meta says {meta}{also}"

    yield "miscounted", np.flatnonzero(wrong), note


def _unsigned(ids: np.ndarray) -> np.ndarray:
    """The same bits without a sign: a negative id becomes one beyond every range."""
    return ids.view(f"u{ids.dtype.itemsize}")


def _rows_of(block: Block, positions: np.ndarray) -> np.ndarray:
    """The rows that ids at these positions belong to, each once."""
    return np.unique(np.searchsorted(block.offsets, positions, side="right") - 1)


def _first_id(block: Block, positions: np.ndarray, describe: Callable[[int, int], str]) -> Note:
    """Describes the first wrong id of a row: `describe` takes the id and its position in the row."""

    def note(row: int) -> str:
        start = int(block.offsets[row])
        at = int(positions[np.searchsorted(positions, start)])
        token_id = int(block.ids[at])
        return f"id {token_id} at position {at - start}: {describe(token_id, at - start)}"

    return note
