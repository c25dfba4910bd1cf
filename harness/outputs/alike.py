"""Outputs that are alike though their prompts differ."""

import numpy as np

from harness.outputs.figures import Outputs


def equal_codes(outputs: Outputs) -> np.ndarray:
    """Which of N outputs have the very same codes, (N, N) bool."""
    same = [np.array_equal(one, other) for one in outputs.codes for other in outputs.codes]
    return np.array(same, dtype=bool).reshape(len(outputs.codes), len(outputs.codes))


def near_media(outputs: Outputs, tolerance: float) -> np.ndarray:
    """Which of N outputs look or sound alike, (N, N) bool.

    Args:
        outputs: pictures or sounds.
        tolerance: how far their fingerprints may lie apart: bits that differ for pictures, the root mean square
            difference in dB for sounds.
    """
    return _distances(outputs) <= tolerance


def different_prompts(outputs: Outputs) -> np.ndarray:
    """Which of N outputs were written for different prompts, (N, N) bool; one prompt may give one output twice."""
    prompts = np.array(outputs.prompts, dtype=object)
    return np.asarray(prompts[:, None] != prompts[None, :], dtype=bool)


def pair_share(same: np.ndarray, compared: np.ndarray) -> float:
    """Share of the compared pairs that are the same; both (N, N) bool. NaN where nothing is compared.

    1 over it is the number of different outputs, were all of them equally frequent.
    """
    return float((same & compared).sum() / compared.sum()) if compared.any() else float("nan")


def _distances(outputs: Outputs) -> np.ndarray:
    """(N, N), in the unit of the tolerance."""
    prints = outputs.fingerprints
    if outputs.examples and outputs.examples[0].modality == "image":
        return np.abs(prints[:, None] - prints[None, :]).sum(axis=2)
    squares = np.stack([((prints - one) ** 2).mean(axis=1) for one in prints]) if len(prints) else np.empty((0, 0))
    return np.sqrt(squares)
