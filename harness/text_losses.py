"""The losses of text-only examples under one model, over text logits alone and over the whole vocabulary."""

from dataclasses import dataclass

import numpy as np

from harness.scores import Scores

TEXT = "TEXT"


@dataclass(frozen=True)
class TextLosses:
    """Of N examples, in their order.

    Attributes:
        n_tokens: (N,) int64, tokens that carry the loss.
        nll: (N,) float64, negative log-likelihood over the text logits, summed over the tokens, nats. New rows take
            nothing from it: a wider softmax alone does not change it.
        nll_whole: (N,) float64, the same over all logits of the head.
    """

    n_tokens: np.ndarray
    nll: np.ndarray
    nll_whole: np.ndarray

    @classmethod
    def of(cls, scores: Scores) -> "TextLosses":
        """Out of the scores of sequences that are text throughout."""
        text = int(np.flatnonzero(scores.names == TEXT)[0])
        return cls(scores.labels[:, text], scores.nll_within_sums[:, text], scores.nll_sums[:, text])

    @property
    def mean(self) -> float:
        """Mean over all tokens, over the text logits, nats per token."""
        return float(self.nll.sum() / self.n_tokens.sum())

    @property
    def share_outside(self) -> float:
        """Probability that does not fall on text: 1 minus the geometric mean, over tokens, of what falls on it.

        That mean is the factor between the perplexities of both softmaxes.
        """
        return float(-np.expm1((self.nll - self.nll_whole).sum() / self.n_tokens.sum()))
