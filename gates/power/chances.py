"""What may become of a gate, as chances: computed, or counted over simulated checkpoints."""

import math
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passes", "fails", "unclear"]


@dataclass(frozen=True)
class Chances:
    """How likely a gate is to pass and to fail; the rest is left open, as too few examples to tell.

    Attributes:
        passes, fails: probabilities.
    """

    passes: float
    fails: float

    @property
    def unclear(self) -> float:
        """The chance that there are too few examples to tell."""
        return max(0.0, 1 - self.passes - self.fails)


@dataclass(frozen=True)
class Counts:
    """What became of n simulated checkpoints.

    Attributes:
        passes, fails: how many passed and failed; with the rest there were too few examples to tell.
        n: simulations.
    """

    passes: int
    fails: int
    n: int

    def share(self, outcome: Outcome) -> float:
        """Share of the simulations that ended so."""
        return self._hits(outcome) / self.n

    def error(self, outcome: Outcome) -> float:
        """Standard error of that share: of (hits + 1) / (n + 2), so that none of n is not taken for never."""
        likely = (self._hits(outcome) + 1) / (self.n + 2)
        return math.sqrt(likely * (1 - likely) / self.n)

    def _hits(self, outcome: Outcome) -> int:
        return {"passes": self.passes, "fails": self.fails, "unclear": self.n - self.passes - self.fails}[outcome]
