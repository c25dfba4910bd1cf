"""The stated model of paired losses: normal gaps with a true win rate, as spread as the demo's."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from harness.ablation import Ablation
from harness.examples import Example, Task
from harness.scores import Scores

# Standard deviation over examples of the gap under each condition, nats/token: measured on the finished demo, step 600,
# 288 golden examples a task, the mean of both tasks of a kind (t2a, t2i; a2t, i2t). The two differ by 14 % at most.
DEMO_GAP_SD = {"shuffled prompt": 0.45, "empty prompt": 0.14,
               "shuffled media": 0.41, "swapped media": 0.48, "noise media": 0.40, "constant media": 0.38}  # fmt: skip
# Mean and standard deviation of the loss under the right condition, nats/token, from the same run.
DEMO_CORRECT = {"t2a": (0.37, 0.28), "t2i": (1.91, 0.31), "a2t": (0.032, 0.043), "i2t": (0.043, 0.087)}
_FAR = 4.0  # standard deviations that the mean gap lies from 0 where every example wins; the demo's, empty prompts: 4.3


@dataclass(frozen=True)
class Losses:
    """Losses of examples under the right condition and under others.

    Attributes:
        correct: (N,) nats per token.
        gaps: condition -> (N,), the loss under it minus the correct one.
    """

    correct: np.ndarray
    gaps: Mapping[str, np.ndarray]

    def first(self, task: Task, n: int) -> Ablation:
        """The ablation of the first n examples, no two of which share media, as the gates judge it."""
        example = Example("simulated", task, "simulated", np.empty(0, dtype=np.int64), None, None, {})
        correct = self.correct[:n]
        nll = {"correct": correct} | {name: correct + gaps[:n] for name, gaps in self.gaps.items()}
        return Ablation(
            task=task,
            examples=(example,) * n,
            from_dev=0,
            media=tuple(map(str, range(n))),
            scores={name: _scores(each) for name, each in nll.items()},
            index=dict.fromkeys(nll, np.arange(n)),
            null_gap=0.0,
            canary_gap=0.0,
        )


def draw_losses(
    task: Task, what: str, win_rates: Mapping[str, float], n: int, correlation: float, rng: np.random.Generator
) -> Losses:
    """Draw the losses of n independent examples.

    Args:
        task: whose correct loss is the demo's: gamma-distributed.
        what: what is ablated, `prompt` or `media`.
        win_rates: condition -> true win rate. The gap is normal with the demo's spread and the mean that gives it; at
            1 (0) its mean lies four standard deviations from 0, and its absolute value (the negative of that) is taken.
        n: examples.
        correlation: of an example's gaps under two conditions.
        rng: draws.
    """
    mean, sd = DEMO_CORRECT[task]
    correct = rng.gamma((mean / sd) ** 2, sd**2 / mean, n)
    shared = rng.standard_normal(n)
    gaps = {}
    for name, win_rate in win_rates.items():
        standard = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_normal(n)
        always = win_rate in (0, 1)
        won = (2 * win_rate - 1) * np.abs(standard + _FAR) if always else standard + ndtri(win_rate)
        gaps[name] = DEMO_GAP_SD[f"{name} {what}"] * won
    return Losses(correct, gaps)


def _scores(nll: np.ndarray) -> Scores:
    n, column = len(nll), nll[:, None]
    one = np.ones((n, 1), dtype=np.int64)
    return Scores(np.array(["SIMULATED"]), one, column, column, one, np.full(n, np.nan))
