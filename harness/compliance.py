"""Counting what generation wrote: ids of the right modality, in turn, and the ways in which sequences go wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.statistics import exact_interval
from harness.token_space import Modality, TokenSpace

BOUND_LEVEL = 0.95  # of the one-sided bound

TEXT_LEAK, CODEBOOK_MISMATCH = "text leak", "codebook mismatch"
EMPTY_OUTPUT, ENDED_EARLY, MISSING_END = "empty output", "ended early", "missing end tag"


def foreign_kind(modality: Modality) -> str:
    """What an id that is no code of the modality is called."""
    return "id in no AUDIO range" if modality == "audio" else "id not in IMAGE range"


class Leak(NamedTuple):
    """What is wrong in one sequence.

    Attributes:
        number: of the sequence.
        n_ids: ids written.
        out_of_range: (position, id) of each id that is neither a code of the modality nor its end tag.
        out_of_turn: (position, id) of each code in another codebook's place.
    """

    number: int
    n_ids: int
    out_of_range: tuple[tuple[int, int], ...]
    out_of_turn: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Compliance:
    """Counts over generated sequences.

    Attributes:
        n_ids: ids written, the end tags included.
        out_of_range: ids that are neither a code of the modality nor its end tag.
        out_of_turn: codes of the right modality in another codebook's place.
        n_sequences: sequences.
        leaked: name of range or special -> how often it leaked.
        leaks: the sequences that hold an id out of range or out of turn, in order.
        kinds: kind of failure -> in how many sequences; one sequence may show several.
    """

    n_ids: int
    out_of_range: int
    out_of_turn: int
    n_sequences: int
    leaked: dict[str, int]
    leaks: tuple[Leak, ...]
    kinds: dict[str, int]

    @property
    def sequences_out_of_range(self) -> int:
        """Sequences with at least one id out of range."""
        return sum(bool(leak.out_of_range) for leak in self.leaks)

    @property
    def sequences_out_of_turn(self) -> int:
        """Sequences with at least one code out of turn."""
        return sum(bool(leak.out_of_turn) for leak in self.leaks)


def count_compliance(
    sequences: Sequence[np.ndarray], expected: Sequence[int], modality: Modality, space: TokenSpace
) -> Compliance:
    """Count over sequences as `generate` returns them. `out_of_turn` is counted on codes by their own position."""
    leaked: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    leaks = []
    for number, (ids, length) in enumerate(zip(sequences, expected, strict=True)):
        is_end = ids == space.end_id(modality)
        legal = space.in_range(modality, ids)
        foreign, misplaced = ~(legal | is_end), legal & ~space.in_turn(modality, ids)
        leaked.update(space.name_of(int(i)) for i in ids[foreign])
        kinds.update(_kinds(ids, is_end, foreign, misplaced, length, modality, space))
        if foreign.any() or misplaced.any():
            leaks.append(Leak(number, len(ids), _places(ids, foreign), _places(ids, misplaced)))
    return Compliance(
        n_ids=sum(map(len, sequences)),
        out_of_range=sum(len(leak.out_of_range) for leak in leaks),
        out_of_turn=sum(len(leak.out_of_turn) for leak in leaks),
        n_sequences=len(sequences),
        leaked=dict(leaked),
        leaks=tuple(leaks),
        kinds=dict(kinds),
    )


def upper_bound(hits: int, n: int, level: float = BOUND_LEVEL) -> float:
    """What the rate behind `hits` of n independent items lies below: one-sided, exact; NaN where n is 0.

    0 of 64 gives 0.046. Source: Clopper and Pearson 1934; the two-sided interval's end that leaves 1 - level above it.
    """
    return exact_interval(hits / n, n, 2 * level - 1)[1] if n else float("nan")


def _kinds(
    ids: np.ndarray,
    is_end: np.ndarray,
    foreign: np.ndarray,
    misplaced: np.ndarray,
    expected: int,
    modality: Modality,
    space: TokenSpace,
) -> list[str]:
    """The names of all that is wrong with a sequence."""
    before_end = int(np.flatnonzero(is_end)[0]) if is_end.any() else len(ids)
    specials = np.isin(ids, list(space.special_tokens.values()))
    found = {
        foreign_kind(modality): foreign.any(),
        TEXT_LEAK: (foreign & ((ids < space.text_vocab_size) | specials)).any(),
        CODEBOOK_MISMATCH: misplaced.any(),
        EMPTY_OUTPUT: before_end == 0,
        ENDED_EARLY: 0 < before_end < expected,
        MISSING_END: before_end > 0 and not is_end.any(),
    }
    return [kind for kind, there in found.items() if there]


def _places(ids: np.ndarray, chosen: np.ndarray) -> tuple[tuple[int, int], ...]:
    return tuple((int(position), int(ids[position])) for position in np.flatnonzero(chosen))
