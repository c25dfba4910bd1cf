"""Counting what generation wrote: ids of the right modality, in turn, and the end tag."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.token_space import Modality, TokenSpace


@dataclass(frozen=True)
class Compliance:
    """Counts over generated sequences.

    Attributes:
        n_ids: ids written, the end tags included.
        out_of_range: ids that are neither a code of the modality nor its end tag.
        out_of_turn: codes of the right modality in another codebook's place.
        n_sequences: sequences; `sequences_out_of_range` of them hold at least one id out of range.
        ended: sequences that emitted the end tag.
        ended_in_place: sequences whose end tag came exactly at the expected length.
        leaked: name of range or special -> how often it leaked.
        first_leaks: (sequence number, position, id) of each sequence's first id out of range.
    """

    n_ids: int
    out_of_range: int
    out_of_turn: int
    n_sequences: int
    sequences_out_of_range: int
    ended: int
    ended_in_place: int
    leaked: dict[str, int]
    first_leaks: tuple[tuple[int, int, int], ...]


def count_compliance(
    sequences: Sequence[np.ndarray], expected: Sequence[int], modality: Modality, space: TokenSpace
) -> Compliance:
    """Count over sequences as `generate` returns them. `out_of_turn` is counted on codes by their own position."""
    end_id = space.end_id(modality)
    n_ids = out_of_range = out_of_turn = ended = in_place = 0
    leaked: Counter[str] = Counter()
    first_leaks = []
    for number, (ids, length) in enumerate(zip(sequences, expected, strict=True)):
        is_end = ids == end_id
        legal = space.in_range(modality, ids)
        bad = ~(legal | is_end)
        n_ids += len(ids)
        out_of_range += int(bad.sum())
        out_of_turn += int((legal & ~space.in_turn(modality, ids)).sum())
        ended += int(is_end.any())
        in_place += int(len(ids) == length + 1 and bool(is_end[-1]))
        leaked.update(space.name_of(int(i)) for i in ids[bad])
        if bad.any():
            position = int(np.flatnonzero(bad)[0])
            first_leaks.append((number, position, int(ids[position])))
    return Compliance(
        n_ids=n_ids,
        out_of_range=out_of_range,
        out_of_turn=out_of_turn,
        n_sequences=len(sequences),
        sequences_out_of_range=len(first_leaks),
        ended=ended,
        ended_in_place=in_place,
        leaked=dict(leaked),
        first_leaks=tuple(first_leaks),
    )
