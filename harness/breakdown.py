"""An ablation taken apart: by the range that the labels belong to (codebook by codebook), and as information."""

from dataclasses import dataclass

import numpy as np

from harness.ablation import Ablation


@dataclass(frozen=True)
class PartLosses:
    """The labels of one range: `AUDIO_CB0`, `IMAGE`, `TEXT`, or `SPECIAL` for start and end tags.

    Attributes:
        name: the range.
        labels: how many labels of all examples belong to it.
        accuracy: share of them that are the model's most probable id, under the correct condition.
        nll: condition -> mean negative log-likelihood, nats per label.
        gaps: ablated condition -> Δ, that mean minus the correct one's over the same examples.
    """

    name: str
    labels: int
    accuracy: float
    nll: dict[str, float]
    gaps: dict[str, float]


def by_part(measured: Ablation) -> list[PartLosses]:
    """The losses of every range that has labels, in the order of the vocabulary."""
    correct = measured.scores["correct"]
    found = []
    for g, name in enumerate(correct.names):
        labels, sums = correct.labels[:, g], correct.nll_sums[:, g]
        if not labels.any():
            continue
        nll, gaps = {}, {}
        for condition, scores in measured.scores.items():
            index = measured.index[condition]
            # No condition changes the labels, so that a range's labels are the same on both sides.
            n = labels[index].sum()
            nll[condition] = _ratio(scores.nll_sums[:, g].sum(), n)
            if condition != "correct":
                gaps[condition] = nll[condition] - _ratio(sums[index].sum(), n)
        accuracy = _ratio(correct.hits[:, g].sum(), labels.sum())
        found.append(PartLosses(str(name), int(labels.sum()), accuracy, nll, gaps))
    return found


def pmi(measured: Ablation) -> np.ndarray:
    """Pointwise mutual information of target and context, log P(target|context) - log P(target), nats per example.

    P(target) is estimated with the context taken away: the empty prompt of a write task, noise for the media of a read
    task.

    Returns:
        (M,) for the examples that the condition could change.

    Source: VisualGPTScore, arXiv 2306.01879.
    """
    away = "empty" if measured.examples[0].writes else "noise"
    without = measured.scores[away].nll_sums.sum(1)
    given = measured.scores["correct"].nll_sums.sum(1)[measured.index[away]]
    information: np.ndarray = without - given
    return information


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")
