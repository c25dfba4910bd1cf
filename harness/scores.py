"""What the scorer takes and returns. Without torch: scores that were kept as evidence are judged without a model."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class ScoreItem:
    """A sequence to score.

    Attributes:
        ids: (L,) int64.
        target: the half-open slice of `ids` that carries the loss; it cannot start at 0, which nothing predicts.
    """

    ids: np.ndarray
    target: slice


@dataclass(frozen=True)
class Scores:
    """What the scorer returns, in the order of the items. G is the number of names that the parts have.

    Attributes:
        names: (G,) str: `TEXT`, `SPECIAL`, `IMAGE`, `AUDIO_CB0` …; a label belongs to the part that holds its id.
        labels: (N, G) int64, how many labels belong to each.
        nll_sums: (N, G) float64, negative log-likelihood of those labels over the whole vocabulary, nats.
        nll_within_sums: (N, G) float64, the same over the label's own part alone: what is left when only that part may
            be chosen.
        hits: (N, G) int64, how many of those labels have the largest logit of the whole vocabulary.
        mass_outside: (N,) float64, mean probability outside the allowed parts at the labels that are allowed; NaN where
            there is none.
    """

    names: np.ndarray
    labels: np.ndarray
    nll_sums: np.ndarray
    nll_within_sums: np.ndarray
    hits: np.ndarray
    mass_outside: np.ndarray

    @property
    def nll(self) -> np.ndarray:
        """(N,) float64, mean negative log-likelihood per label, nats."""
        mean: np.ndarray = self.nll_sums.sum(1) / self.labels.sum(1)
        return mean

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, to be kept as evidence: `Scores(**arrays)` is the way back."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
