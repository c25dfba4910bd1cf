"""Exact look-up of id sequences of any length among a known set, a whole batch at a time and without a loop over rows.

A sequence's hash is h = Σ (id_i + 1) · w_i mod 2^64, with w_i random odd numbers of a fixed seed. Two sequences of ids
below 2^k collide with a probability of at most 2^(k - 64), which is 2^-46 in a vocabulary of 164,021 ids. A collision
costs time and never an answer: equal sequences have equal hashes, and what the hash proposes is compared id by id.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SEED = 0x0DDB1A5E


@dataclass(frozen=True)
class Segments:
    """Spans of ids in one flat buffer, each belonging to a row of a batch.

    Attributes:
        values: (V,) uint32, global ids.
        starts, ends: (S,) int64, half-open spans of `values`.
        rows: (S,) int64, the batch row that each span belongs to.
    """

    values: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    rows: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(S,) int64."""
        return self.ends - self.starts

    def take(self, which: np.ndarray) -> "Segments":
        """Some of the spans, over the same buffer."""
        return Segments(self.values, self.starts[which], self.ends[which], self.rows[which])


class ContentIndex:
    """A fixed set of distinct id sequences, looked up by content.

    Memory: the ids themselves and 24 bytes a sequence. What is looked up is streamed past it and leaves nothing behind.
    """

    def __init__(self, contents: Sequence[np.ndarray], weights: np.ndarray | None = None) -> None:
        """contents: distinct sequences of ids, (L,) each; weights: (longest L or more,) uint64, random unless given."""
        lengths = np.array([len(content) for content in contents], dtype=np.int64)
        self._values = np.concatenate([*contents, []]).astype(np.uint32)
        self._starts = np.cumsum(lengths) - lengths
        self._lengths = lengths
        self._length_known = np.zeros(int(lengths.max(initial=0)) + 2, dtype=bool)  # the last one stands for longer
        self._length_known[lengths] = True
        self._weights = _weights(len(self._length_known)) if weights is None else weights
        own = Segments(self._values, self._starts, self._starts + lengths, np.arange(len(lengths)))
        hashes = _hashes(own, self._weights)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self._most_alike = int(np.unique(hashes, return_counts=True)[1].max(initial=0))

    def __len__(self) -> int:
        return len(self._lengths)

    def find(self, segments: Segments) -> np.ndarray:
        """The number of the equal content of each span, (S,) int64; -1 where the set has none."""
        found = np.full(len(segments.starts), -1, dtype=np.int64)
        # Only a span as long as one of the contents can equal it: the others are never hashed.
        longest = len(self._length_known) - 1
        candidates = np.flatnonzero(self._length_known[np.minimum(segments.lengths, longest)])
        hashes = _hashes(segments.take(candidates), self._weights)
        first = np.searchsorted(self._hashes, hashes)
        for offset in range(self._most_alike):
            at = np.minimum(first + offset, len(self._hashes) - 1)
            proposed = np.flatnonzero((self._hashes[at] == hashes) & (first + offset < len(self._hashes)))
            spans, contents = candidates[proposed], self._order[at[proposed]]
            equal = self._equal(segments.take(spans), contents)
            found[spans[equal]] = contents[equal]
        return found

    def _equal(self, segments: Segments, contents: np.ndarray) -> np.ndarray:
        """Whether each span is, id by id, the content proposed for it. (S,) bool."""
        equal = segments.lengths == self._lengths[contents]
        same_length = np.flatnonzero(equal)
        lengths = segments.lengths[same_length]
        ids = segments.values[_flat(segments.starts[same_length], lengths)]
        known = self._values[_flat(self._starts[contents[same_length]], lengths)]
        equal[same_length] = _sums(ids != known, lengths) == 0
        return equal


def distinct(contents: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct sequences in order of appearance, and the number of each given one's own among them, (N,) int64."""
    numbers: dict[bytes, int] = {}
    own = [numbers.setdefault(np.asarray(ids, dtype=np.uint32).tobytes(), len(numbers)) for ids in contents]
    return [np.frombuffer(key, dtype=np.uint32) for key in numbers], np.array(own, dtype=np.int64)


def _weights(n: int) -> np.ndarray:
    return np.random.default_rng(_SEED).integers(2**64, size=n, dtype=np.uint64) | np.uint64(1)


def _hashes(segments: Segments, weights: np.ndarray) -> np.ndarray:
    """(S,) uint64. The spans are at most as long as there are weights."""
    lengths = segments.lengths
    ids = segments.values[_flat(segments.starts, lengths)].astype(np.uint64)
    ids += np.uint64(1)  # else a trailing id 0 would change nothing
    ids *= weights[_flat(np.zeros_like(lengths), lengths)]
    return _sums(ids, lengths)


def _flat(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The buffer positions of all spans one after another: (sum of lengths,) int64."""
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def _sums(terms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The sum over each of consecutive spans, modulo 2^64: (S,) uint64. Unlike reduceat, right for empty spans too."""
    running = np.zeros(len(terms) + 1, dtype=np.uint64)
    np.cumsum(terms, out=running[1:], dtype=np.uint64)
    ends = np.cumsum(lengths)
    return running[ends] - running[ends - lengths]
