"""Whether stage 3's gap still grows, as far as the trainer itself or the training log (S3.6) tells."""

from dataclasses import dataclass
from typing import Literal

from gates.next_step.step import Gates, gate_of, number
from gates.next_step.trained import Trained
from gates.stage3.thresholds import Stage3Thresholds

DYNAMICS = "S3.6"
FIRST, LAST = "_first", "_last"  # what S3.6 adds to the logged key of a gap: delta_shuffle_a2t_first


@dataclass(frozen=True)
class Trend:
    """How the gap went.

    Attributes:
        figures: that say so, in words.
    """

    state: Literal["growing", "plateau", "unknown"]
    figures: tuple[str, ...] = ()


def trend_of(gates: Gates, trained: Trained, thresholds: Stage3Thresholds) -> Trend:
    """The trend of the gap; unknown where nobody tells.

    A trainer that stopped at a plateau has seen every evaluation, and is believed before the log's first and last.
    """
    logged = logged_gaps(gates)
    figures = tuple(f"{key} {first:.2f} to {last:.2f} in the log" for key, (first, last) in logged.items())[:2]
    if trained.plateaued:
        return Trend("plateau", ("the trainer stopped at a plateau of the gap", *figures))
    if not logged:
        return Trend("unknown")
    factor = 1 + thresholds.min_gap_growth_pct / 100
    grew = any(last > 0 and last > factor * first for first, last in logged.values())
    return Trend("growing" if grew else "plateau", figures)


def logged_gaps(gates: Gates) -> dict[str, tuple[float, float]]:
    """Every gap that the training log holds: its key, and its first and last value, nats per token."""
    gate = gate_of(gates, DYNAMICS)
    figures = {m.name: number(m.value) for m in gate.measurements} if gate else {}
    found = {}
    for name, first in figures.items():
        last = figures.get(name.removesuffix(FIRST) + LAST)
        if name.startswith("delta_") and name.endswith(FIRST) and first is not None and last is not None:
            found[name.removesuffix(FIRST)] = (first, last)
    return found
