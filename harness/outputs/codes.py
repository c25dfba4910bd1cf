"""Figures of codes: how much of a sequence one code or a loop takes, and how many codes all sequences together use."""

from collections.abc import Sequence

import numpy as np


def code_figures(codes: np.ndarray) -> dict[str, float]:
    """Figures of one picture's or sound's codes.

    Args:
        codes: (K, T) int, K codebooks; K is 1 for pictures. K and T are at least 1.

    Returns:
        distinct_code_share: different codes over T, the mean over the codebooks; 1 when none comes twice.
        dominant_code_share: positions that the most frequent code holds, the mean over the codebooks; 1 for one code.
        loop_share: codes that equal those p positions before them, for the p that explains most; 1 for a loop.
        loop_period: that p, in positions; the shortest of several.
    """
    length = codes.shape[1]
    counts = [np.unique(row, return_counts=True)[1] for row in codes]
    period, share = loop(codes)
    return {
        "distinct_code_share": float(np.mean([len(each) / length for each in counts])),
        "dominant_code_share": float(np.mean([each.max() / length for each in counts])),
        "loop_share": share,
        "loop_period": float(period),
    }


def loop(codes: np.ndarray) -> tuple[int, float]:
    """The period, at most half of the length, that explains most of (K, T) codes, and the share that it explains.

    The autocorrelation of symbols: the share of codes that equal the one a period before. NaN where T is 1.
    """
    length = codes.shape[1]
    shares = [float((codes[:, p:] == codes[:, :-p]).mean()) for p in range(1, length // 2 + 1)]
    if not shares:
        return 0, float("nan")
    best = int(np.argmax(shares))
    return best + 1, shares[best]


def codebook_entropies(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Entropy of the codes of all sequences, each (K, T), codebook by codebook: (K,) bits, the perplexity's log2."""
    return np.array([_entropy(np.concatenate(rows)) for rows in zip(*sequences, strict=True)])


def codes_in_use(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """How many different codes all sequences, each (K, T), hold, codebook by codebook: (K,)."""
    return np.array([len(np.unique(np.concatenate(rows))) for rows in zip(*sequences, strict=True)])


def position_entropies(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Entropy across (K, T) sequences of the code at each of the positions that all of them have: (K, T) bits.

    0 where all sequences hold the same code; never more than log2 of the number of sequences.
    """
    shortest = min(codes.shape[1] for codes in sequences)
    stacked = np.stack([codes[:, :shortest] for codes in sequences])  # (N, K, T)
    _, n_codebooks, _ = stacked.shape
    return np.array([[_entropy(stacked[:, k, t]) for t in range(shortest)] for k in range(n_codebooks)])


def _entropy(values: np.ndarray) -> float:
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
