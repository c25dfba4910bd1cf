"""Looks: how many examples are measured first, and how many more when that was not enough to tell.

The list is fixed beforehand, from how many examples there are and never from what they gave. Looking at a growing
sample several times finds what is not there more often than once in twenty; with k looks planned, every interval
therefore has level 1 - 0.05 / k, so that all of them hold together with 95 % (Bonferroni's inequality; Dunn 1961,
Multiple comparisons among means, Journal of the American Statistical Association 56, 52-64), whenever one stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.statistics import CONFIDENCE_LEVEL

# A look that adds less than this share of the examples before it could not tell much more, and costs the others level.
SMALLEST_ADDITION = 0.25


@dataclass(frozen=True)
class Looks:
    """The looks of one task.

    Attributes:
        sizes: examples in all at each look, growing.
        taken: how many of the looks have been taken; at least the first.
    """

    sizes: tuple[int, ...]
    taken: int = 1

    @property
    def level(self) -> float:
        """The confidence level of every interval, whichever look it is taken at."""
        return 1 - (1 - CONFIDENCE_LEVEL) / len(self.sizes)

    @property
    def so_far(self) -> tuple[int, ...]:
        """The sizes of the looks that have been taken."""
        return self.sizes[: self.taken]

    @property
    def more(self) -> bool:
        """Whether another look is planned."""
        return self.taken < len(self.sizes)

    def next(self) -> "Looks":
        """With one more look taken."""
        return Looks(self.sizes, self.taken + 1)


def plan(first: int, available: int, further: Sequence[int]) -> Looks:
    """The looks at `first` examples and, as far as that many are there, at each number of `further`.

    Args:
        first: examples at the first look.
        available: examples that there are.
        further: examples in all at the looks to follow; the last may find fewer.
    """
    sizes = [first]
    for size in further:
        reached = min(size, available)
        if reached - sizes[-1] >= SMALLEST_ADDITION * sizes[-1]:
            sizes.append(reached)
    return Looks(tuple(sizes))
