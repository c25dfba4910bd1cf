"""Exact chances of a gate that asks for several shares at once, and that may look again where one is borderline.

Examples are independent, and so are a task's conditions, which the simulation can also draw otherwise. What a gate asks
of gaps beside its shares is not in here: that has no exact distribution, and is simulated.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy.stats import binom

from gates.power.chances import Chances
from gates.power.rule import Bounds, ShareRule, bounds, bounds_of_every_n
from harness.looks import Looks


@dataclass(frozen=True)
class Figure:
    """One share of a task, and what it truly is.

    Attributes:
        rule: what the gate asks of it.
        truth: the chance that an example is good, such as the true win rate.
    """

    rule: ShareRule
    truth: float


def gate_chances(tasks: Sequence[Sequence[Figure]], looks: Looks) -> Chances:
    """The chances of a gate that holds every figure of every task against its rule; each task has looks of its own."""
    found = [task_chances(figures, looks) for figures in tasks]
    return Chances(prod(each.passes for each in found), 1 - prod(1 - each.fails for each in found))


def task_chances(figures: Sequence[Figure], looks: Looks) -> Chances:
    """The chances of one task: it is looked at again while any of its figures is borderline."""
    at_looks = [[bounds(each.rule, n, looks.level) for n in looks.sizes] for each in figures]
    passes = not_failed = 0.0
    for i in range(len(looks.sizes)):
        so_far = [each[: i + 1] for each in at_looks]
        last = i + 1 == len(looks.sizes)
        passes += _stops(figures, so_far, lambda b: b.passes, last)
        not_failed += _stops(figures, so_far, lambda b: b.not_failed, last)
    return Chances(passes, 1 - not_failed)


def chances_of_every_n(tasks: Sequence[Sequence[Figure]], up_to: int) -> tuple[np.ndarray, np.ndarray]:
    """The chances to pass and to fail with a single look at 1, 2, … up_to examples a task; (up_to,) each."""
    n = np.arange(1, up_to + 1)
    passes, not_failed = np.ones(up_to), np.ones(up_to)
    for figure in itertools.chain.from_iterable(tasks):
        not_failed_from, passes_from = bounds_of_every_n(figure.rule, up_to)
        passes *= binom.sf(passes_from - 1, n, figure.truth)
        not_failed *= binom.sf(not_failed_from - 1, n, figure.truth)
    return passes, 1 - not_failed


def _stops(
    figures: Sequence[Figure], so_far: Sequence[Sequence[Bounds]], ends: Callable[[Bounds], np.ndarray], last: bool
) -> float:
    """The chance that a task stops at the last of some looks with every figure where `ends` says.

    Some figure was borderline at each look before: by inclusion and exclusion over the looks at which none was, since
    only that is a statement about every figure by itself.
    """
    n_before = len(so_far[0]) - 1
    total = 0.0
    for all_clear in itertools.chain.from_iterable(
        itertools.combinations(range(n_before), k) for k in range(n_before + 1)
    ):
        clear = {*all_clear} if last else {*all_clear, n_before}
        each = [_path(f.truth, path, clear, ends) for f, path in zip(figures, so_far, strict=True)]
        total += (-1) ** len(all_clear) * prod(each)
    return total


def _path(truth: float, path: Sequence[Bounds], clear: set[int], ends: Callable[[Bounds], np.ndarray]) -> float:
    """The chance that one figure is clear at some looks, and ends at the last of them as it should."""
    wins, n = np.ones(1), 0  # distribution of the count so far
    for i, at in enumerate(path):
        more = at.n - n
        wins, n = np.convolve(wins, binom.pmf(np.arange(more + 1), more, truth)), at.n
        if i in clear:
            wins = wins * at.clear
    return float(wins[ends(path[-1])].sum())
