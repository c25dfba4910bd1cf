"""One share held against a number: which counts pass, fail or leave it open. The gates' own `accept` says so."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gates.gate import Accept, Gate, GateFailedError, TooFewExamplesError
from gates.power.chances import Outcome
from harness import statistics
from harness.results import Confidence, Measurement

_CRITERION = Gate(id="power", name="power", priority="P0", claim="", source="")


@dataclass(frozen=True)
class ShareRule:
    """What a gate asks of one share of the examples.

    Attributes:
        bound: the number; the least share of good examples, or with `of_bad` the greatest share of bad ones.
        recommended_n: with fewer examples only an interval on the passing side passes.
        of_bad: whether the gate counts what is bad, and holds it against a number from above.
        strict: as under --strict.
    """

    bound: float
    recommended_n: int = 0
    of_bad: bool = False
    strict: bool = False

    @property
    def least_good(self) -> float:
        """The share of good examples that it asks for."""
        return 1 - self.bound if self.of_bad else self.bound

    def judge(self, good: int, n: int, level: float) -> tuple[Outcome, Confidence | None]:
        """What `accept` makes of so many good examples of n, with intervals of a confidence level."""
        share = (n - good if self.of_bad else good) / n
        low, high = statistics.exact_interval(share, n, level)
        measured = Measurement(name="share", value=share, unit="share", n=n, low=low, high=high)
        accept = Accept(_CRITERION, strict=self.strict)
        if self.of_bad:
            accept(measured, at_most=self.bound, recommended_n=self.recommended_n)
        else:
            accept(measured, at_least=self.bound, recommended_n=self.recommended_n)
        return outcome_of(accept), accept.measurements[0].confidence


@dataclass(frozen=True)
class Bounds:
    """Where the count of good examples of n leads; all four grow with what is asked.

    Attributes:
        n: examples.
        not_failed_from, passes_from: the least count that does not fail, and that passes; n + 1 where none does.
        not_refuted_from, proven_from: the same of the interval, which says whether there is another look.
    """

    n: int
    not_failed_from: int
    passes_from: int
    not_refuted_from: int
    proven_from: int

    @property
    def passes(self) -> np.ndarray:
        """(n + 1,) bool, which counts pass."""
        return self._counts >= self.passes_from

    @property
    def not_failed(self) -> np.ndarray:
        """(n + 1,) bool, which counts do not fail."""
        return self._counts >= self.not_failed_from

    @property
    def clear(self) -> np.ndarray:
        """(n + 1,) bool, which counts are not borderline."""
        return (self._counts < self.not_refuted_from) | (self._counts >= self.proven_from)

    @property
    def _counts(self) -> np.ndarray:
        return np.arange(self.n + 1)


def outcome_of(accept: Accept) -> Outcome:
    """What becomes of a gate that has judged what `accept` holds."""
    try:
        accept.close()
    except GateFailedError:
        return "fails"
    except TooFewExamplesError:
        return "unclear"
    return "passes"


@lru_cache(maxsize=4096)
def bounds(rule: ShareRule, n: int, level: float) -> Bounds:
    """The counts at which the rule changes its mind: more good examples are never judged worse."""

    def least(holds: Callable[[Outcome, Confidence | None], bool]) -> int:
        return bisect_left(range(n + 1), True, key=lambda good: holds(*rule.judge(good, n, level)))

    return Bounds(
        n=n,
        not_failed_from=least(lambda outcome, _: outcome != "fails"),
        passes_from=least(lambda outcome, _: outcome == "passes"),
        not_refuted_from=least(lambda _, confidence: confidence != "refuted"),
        proven_from=least(lambda _, confidence: confidence == "proven"),
    )


@lru_cache(maxsize=64)
def bounds_of_every_n(rule: ShareRule, up_to: int) -> tuple[np.ndarray, np.ndarray]:
    """The counts that do not fail and that pass, for a single look at 1, 2, … up_to examples; (up_to,) int each.

    One example more moves them by none or one, but where `recommended_n` is reached: each is sought from the last.
    """
    level, not_failed, passes = statistics.CONFIDENCE_LEVEL, [0], [0]
    for n in range(1, up_to + 1):
        judged: dict[int, Outcome] = {}

        def outcome(good: int, n: int = n, judged: dict[int, Outcome] = judged) -> Outcome:
            if good not in judged:
                judged[good] = rule.judge(good, n, level)[0]
            return judged[good]

        not_failed.append(_walk(not_failed[-1], n, outcome, ("passes", "unclear")))
        passes.append(_walk(passes[-1], n, outcome, ("passes",)))
    return np.array(not_failed[1:]), np.array(passes[1:])


def _walk(start: int, n: int, outcome: Callable[[int], Outcome], wanted: tuple[Outcome, ...]) -> int:
    """The least count with a wanted outcome, of 0 … n, else n + 1; sought from where it is likely to be."""
    at = min(start, n + 1)
    while at > 0 and outcome(at - 1) in wanted:
        at -= 1
    while at <= n and outcome(at) not in wanted:
        at += 1
    return at
