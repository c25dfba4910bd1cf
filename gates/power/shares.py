"""P1.1 and P1.3: shares of the outputs of some prompts, and simulated ones for the gates' own judging code."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from gates.collapse import judge_share
from gates.gate import Accept, Gate
from gates.power.chances import Chances
from gates.power.rule import ShareRule, outcome_of
from gates.power.trial import OneGenerator
from gates.stage4.test_p11_end_tokens import P11, end_tag_pct, judge_end_tags
from gates.stage4.test_p13_fingerprints import P13
from gates.stage4.thresholds import Stage4Thresholds
from harness.end_tags import EndTags
from harness.examples import WRITE_TASKS, Task
from harness.results import Measurement

_NEGLIGIBLE = 1e-12  # chance of the counts that are left out


def collapse_rule(thresholds: Stage4Thresholds) -> ShareRule:
    """What P1.3 asks of one kind of collapse in one task."""
    return ShareRule(thresholds.max_collapsed_share, of_bad=True)


@dataclass(frozen=True)
class CollapseTrial:
    """A checkpoint of which a true share of the outputs of one task collapses in one way, under P1.3."""

    thresholds: Stage4Thresholds
    share: float
    n: int
    strict: bool = False
    resamples: int = 1

    @property
    def criterion(self) -> Gate:
        """The gate that judges."""
        return P13

    @property
    def drawn(self) -> str:
        """What is drawn."""
        return f"{P13.id} {self.share} {self.n}"

    def judge(self, accept: Accept, draws: OneGenerator) -> None:
        """Draw which outputs collapse."""
        hits = draws.generator.random(self.n) < self.share
        judge_share(accept, "t2a", "silence", hits, max_share=self.thresholds.max_collapsed_share)


@dataclass(frozen=True)
class EndTrial:
    """A checkpoint of which a true share of the sequences ends by itself, in both tasks, under P1.1.

    Attributes:
        before: the share of the checkpoint before, on as many prompts; None where there is none.
    """

    thresholds: Stage4Thresholds
    before: float | None
    now: float
    n: int
    strict: bool = False
    resamples: int = 1

    @property
    def criterion(self) -> Gate:
        """The gate that judges."""
        return P11

    @property
    def drawn(self) -> str:
        """What is drawn."""
        return f"{P11.id} {self.before} {self.now} {self.n}"

    def judge(self, accept: Accept, draws: OneGenerator) -> None:
        """Draw which sequences end, now and before."""
        rng = draws.generator
        for task in WRITE_TASKS:
            now = ended(task, int(rng.binomial(self.n, self.now)), self.n)
            before = None if self.before is None else ended(task, int(rng.binomial(self.n, self.before)), self.n)
            judge_end_tags(accept, task, now, before, self.thresholds)


def ended(task: Task, hits: int, n: int) -> Measurement:
    """The gate's own figure of n sequences of which so many end."""
    return end_tag_pct(task, EndTags((0,) * hits + (None,) * (n - hits), (1,) * n))


def end_chances(thresholds: Stage4Thresholds, before: float | None, now: float, n: int) -> Chances:
    """The exact chances of P1.1, where both tasks end so often; what does not pass fails."""
    if before is None:
        passes = float(binom.sf(_least_ended(thresholds, n, None) - 1, n, now))
    else:
        counts = np.arange(n + 1)
        weights = binom.pmf(counts, n, before)
        likely = counts[weights > _NEGLIGIBLE / n]
        least = np.array(_least_ended_of(thresholds, n, int(likely[0]), int(likely[-1])))
        passes = float((weights[likely] * binom.sf(least - 1, n, now)).sum() / weights[likely].sum())
    passes = passes ** len(WRITE_TASKS)
    return Chances(passes, 1 - passes)


@lru_cache(maxsize=512)
def _least_ended_of(thresholds: Stage4Thresholds, n: int, first: int, last: int) -> list[int]:
    """The least count that passes, for every count of the checkpoint before from `first` to `last`."""
    found: list[int] = []
    for before in range(first, last + 1):
        found.append(_least_ended(thresholds, n, before, start=found[-1] if found else 0))
    return found


def _least_ended(thresholds: Stage4Thresholds, n: int, before: int | None, start: int = 0) -> int:
    """The least count that passes, n + 1 where none does; the more ended before, the more have to now."""
    task = WRITE_TASKS[0]
    earlier = None if before is None else ended(task, before, n)

    def passes(hits: int) -> bool:
        accept = Accept(P11)
        judge_end_tags(accept, task, ended(task, hits, n), earlier, thresholds)
        return outcome_of(accept) == "passes"

    return next((hits for hits in range(start, n + 1) if passes(hits)), n + 1)
