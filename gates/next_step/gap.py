"""The ablation gap of stage 3, in the words of the decision rule: strong, weak, near zero."""

from dataclasses import dataclass
from typing import Literal

from gates.next_step.step import fell_short, highest, lowest, measured, rounded, uncomputed
from gates.stage3.thresholds import Stage3Thresholds
from harness.examples import READ_TASKS, Task
from harness.results import GateResult, Measurement

State = Literal["strong", "weak", "near_zero", "unclear", "not_computed"]
CONDITIONS = ("shuffled", "swapped", "noise")
A_COIN = 0.5  # the win rate of a model that ignores its media


@dataclass(frozen=True)
class Gap:
    """The gap of one read task.

    Attributes:
        state: `unclear` where the interval holds none at all as well as all that is asked for.
        figures: Δ and win rate under shuffled media, in words.
        order_unread: whether it tells other media from its own, and not its own in another order.
    """

    task: Task
    state: State
    figures: str
    order_unread: bool = False


def gaps_of(gate: GateResult | None, thresholds: Stage3Thresholds) -> list[Gap]:
    """The gap of every read task."""
    return [gap_of(gate, task, thresholds) for task in READ_TASKS]


def gap_of(gate: GateResult | None, task: Task, thresholds: Stage3Thresholds) -> Gap:
    """The gap of a task.

    Near zero is: under every condition no example-by-example difference that could be told from none (the interval of Δ
    reaches down to near_zero_gap_nats, that of the win rate to a coin's), with the numbers asked for out of reach.
    """
    own = [m for m in gate.measurements if m.name.startswith(f"{task}.")] if gate else []
    pairs = {name: (measured(gate, f"{task}.delta_{name}"), measured(gate, f"{task}.win_rate_{name}"))
             for name in CONDITIONS}  # fmt: skip
    figures = words(task, *pairs["shuffled"])
    known = {name: (delta, wins) for name, (delta, wins) in pairs.items() if delta is not None and wins is not None}
    if uncomputed(own) or not known:
        return Gap(task, "not_computed", figures)
    none = {name: is_none(delta, wins, thresholds) for name, (delta, wins) in known.items()}
    if all(none.values()):
        unclear = any(is_in_reach(name, *pair, thresholds) for name, pair in known.items())
        return Gap(task, "unclear" if unclear else "near_zero", figures)
    order_unread = none.get("shuffled", False) and not none.get("swapped", True)
    weak = any(fell_short(m) for m in own if not m.name.endswith("null_gap"))
    return Gap(task, "weak" if weak else "strong", figures, order_unread)


def is_none(delta: Measurement, wins: Measurement, thresholds: Stage3Thresholds) -> bool:
    """Whether a condition's gap cannot be told from none."""
    gap, share = lowest(delta), lowest(wins)
    return gap is None or share is None or (gap <= thresholds.near_zero_gap_nats and share <= A_COIN)


def is_in_reach(name: str, delta: Measurement, wins: Measurement, thresholds: Stage3Thresholds) -> bool:
    """Whether the intervals reach both numbers that the gate asks for."""
    noise = name == "noise"
    gap = thresholds.min_gap_noise_media_nats if noise else thresholds.min_gap_shuffled_media_nats
    share = thresholds.min_win_rate_noise_media if noise else thresholds.min_win_rate_shuffled_media
    return _reaches(delta, gap) and _reaches(wins, share)


def _reaches(m: Measurement, asked: float) -> bool:
    """Whether an interval's upper end does; a figure that could not be computed reaches nothing."""
    end = highest(m)
    return end is not None and end >= asked


def words(task: Task, delta: Measurement | None, wins: Measurement | None) -> str:
    """Δ and win rate of a task in words."""
    if delta is None or wins is None:
        return f"{task} was not measured"
    return f"{task} Δ shuffled {rounded(delta)}, win rate {rounded(wins)}"
