"""P1.4 and S3.5: non-inferiority of the perplexity of plain text, by true change and number of texts."""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

import numpy as np
from scipy.stats import nct, norm, t

from gates.gate import Accept, Gate
from gates.power.chances import Chances
from gates.power.needed import Needed
from gates.power.trial import OneGenerator
from gates.stage3.test_s35_text import S35
from gates.stage4.test_p14_text import P14
from gates.text import judge_change
from harness.statistics import CONFIDENCE_LEVEL
from harness.text_eval import TextExample
from harness.text_losses import TextLosses
from harness.text_regression import TextRegression

TextId = Literal["P1.4", "S3.5"]
# Standard deviation of the change of a text's loss, nats/token, as the mean over tokens sees it: its standard error
# times the root of the number of texts. Measured on the finished demo, step 600: 739 texts, 0.11; on an earlier one,
# whose adapter had learnt its few texts by heart: 540 texts, of them 28 long ones that carried most of it, 0.26.
DEMO_SPREAD = 0.11
UNEVEN_SPREAD = 0.26
MAX_TEXTS = 1_000_000
_N_TOKENS = 20  # of a simulated text: all have as many, so that no text counts more than another
_LOSS = 3.5  # nats/token of the base, the demo's; the change alone matters


@dataclass(frozen=True)
class TextTruth:
    """What a checkpoint has truly done to its text.

    Attributes:
        change_pct: change of the perplexity, per cent.
        spread: standard deviation of the texts' changes, nats per token.
        margin_pct: what the gate allows, per cent.
    """

    change_pct: float
    spread: float
    margin_pct: float

    @property
    def mean(self) -> float:
        """True rise of the loss, nats per token."""
        return float(np.log1p(self.change_pct / 100))

    @property
    def room(self) -> float:
        """From the true rise to the margin, nats per token; negative where the checkpoint is worse than allowed."""
        return float(np.log1p(self.margin_pct / 100)) - self.mean


@dataclass(frozen=True)
class TextTrial:
    """A checkpoint under a text gate, on n texts whose changes are normal."""

    gate: TextId
    truth: TextTruth
    n: int
    strict: bool = False
    resamples: int = 1_000

    @property
    def criterion(self) -> Gate:
        """The gate that judges."""
        return P14 if self.gate == "P1.4" else S35

    @property
    def drawn(self) -> str:
        """What is drawn."""
        return f"{self.gate} {self.truth.change_pct} {self.truth.spread} {self.n}"

    def judge(self, accept: Accept, draws: OneGenerator) -> None:
        """Draw how much the loss of every text has risen."""
        rises = draws.generator.normal(self.truth.mean, self.truth.spread, self.n)
        base = np.full(self.n, _LOSS * _N_TOKENS)
        ours = base + rises * _N_TOKENS
        losses = TextLosses(np.full(self.n, _N_TOKENS), ours, ours)
        measured = TextRegression(_texts(self.n), (), losses, base, _LOSS, "the base", base_measured=True)
        judge_change(accept, draws, measured, max_rise_pct=self.truth.margin_pct)


def text_chances(truth: TextTruth, n: int) -> Chances:
    """The chances where the texts' changes are normal.

    The upper end of the interval is that of Student's t, which the gate's expanded bootstrap approximates: it lies
    within the margin with the probability of a noncentral t. What exceeds the margin with its mean fails.
    """
    if n < 2:
        return Chances(0.0, float(norm.sf(truth.room / truth.spread)))
    shift = truth.room * sqrt(n) / truth.spread
    quantile = t.ppf((1 + CONFIDENCE_LEVEL) / 2, n - 1)
    return Chances(float(nct.sf(quantile, n - 1, shift)), float(norm.cdf(-shift)))


def texts_needed(truth: TextTruth, certainty: float, outcome: Literal["passes", "fails"]) -> Needed:
    """The least number of texts with which a checkpoint passes, or fails, with a certainty."""

    def enough(n: int) -> bool:
        return getattr(text_chances(truth, n), outcome) >= certainty

    if (truth.room if outcome == "passes" else -truth.room) <= 0:
        return "never"
    low, high = 0, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > MAX_TEXTS:
            return "more"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=8)
def _texts(n: int) -> tuple[TextExample, ...]:
    return tuple(TextExample(f"text-{i}", "simulated", np.array([i, i])) for i in range(n))
