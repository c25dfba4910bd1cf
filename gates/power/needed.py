"""How many examples a wanted certainty needs."""

from typing import Literal

import numpy as np

UP_TO = 4096  # examples; more than a held-out set is likely to have

Needed = int | Literal["never", "more"]


def needed(chance: np.ndarray, certainty: float, *, ever: bool) -> Needed:
    """The least number of examples from which on a chance is at least the wanted certainty.

    A share of few examples moves in steps, so that one example more may make the chance a little smaller: a number
    counts only where no larger one falls short again.

    Args:
        chance: (N,) of 1, 2, … N examples.
        certainty: the wanted chance.
        ever: whether any number of examples would do.
    """
    short = np.flatnonzero(~(chance >= certainty))
    first = int(short[-1]) + 2 if len(short) else 1
    if first > len(chance):
        return "more" if ever else "never"
    return first


def shown(number: Needed) -> str:
    """As a table has it."""
    return number if number == "never" else f"> {UP_TO:,}" if number == "more" else f"{number:,}"
