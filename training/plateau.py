"""When to stop: the ablation gap has stopped growing and text is clean, or there is still no gap where the tier ends.

The rule. A run has several gaps, one for each task and way of taking something away (`shuffle_a2t`, `noise_i2t`, …).
Over the last `window` evaluations each example has a trend of its gap: the slope of a straight line through its values,
times the steps between the first and the last. The mean of the trends over examples is the growth; its interval is a
bootstrap over media, so that it knows how much of the growth is the luck of these examples, and the line smooths what
training itself makes waver from one evaluation to the next.

A gap has stopped growing when the upper end of its growth is at most `max_growth` times the gap. The run has reached
its plateau when that holds for every gap, every gap is above zero with its whole interval, and the upper end of the
rise of the text's perplexity is at most `max_text_rise_pct`.

A gap is near zero when its interval reaches zero, or lies below `near_zero_nats` altogether; a task is lost when all of
its gaps are. Text that is not measured is not clean.
Source: spec/stage3-iteration.md, sections 2, 6A and 8; it names no numbers, those in training/config.py are ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness import statistics
from harness.results import Measurement
from training.config import StopConfig
from training.measure import Evaluation

Reason = Literal["plateau", "near_zero"]


@dataclass(frozen=True)
class Reading:
    """What the rule makes of the evaluations so far.

    Attributes:
        reason: why to stop; None to go on.
        sentence: the figures that led to it, for the reader.
    """

    reason: Reason | None
    sentence: str


def read(
    evaluations: Sequence[Evaluation],
    config: StopConfig,
    *,
    near_zero_after: int,
    seed: int,
    base_text: np.ndarray | None = None,
) -> Reading:
    """Apply the rule to the evaluations of a run, the last one being of now.

    Args:
        evaluations: in the order of their steps, from step 0 on.
        config: the rule's numbers.
        near_zero_after: the step from which a gap near zero ends the run; -1 for never.
        seed: of the bootstraps.
        base_text: (K,) the base's losses of the plain texts, summed over tokens; None takes those of step 0.
    """  # fmt: skip
    now, rng = evaluations[-1], np.random.default_rng([seed, evaluations[-1].step])
    gaps = {name: now.gap(name, rng) for name in now.gaps}
    low = {name: gap for name, gap in gaps.items() if _near_zero(gap, config.near_zero_nats)}
    # A task is lost when nothing that is taken away matters to it; the order of its media alone may matter late.
    lost = [gap for name, gap in low.items() if all(each in low for each in gaps if _task(each) == _task(name))]
    if lost and 0 <= near_zero_after <= now.step:
        return Reading("near_zero", f"still near zero at step {now.step}: {_figures(lost)}")
    trained = [each for each in evaluations if each.step > 0]
    if why := _too_early(trained, config):
        return Reading(None, why)
    if low:
        return Reading(None, f"near zero: {_figures(low.values())}")
    growing = {name: growth(name, trained[-config.window :], rng) for name in gaps}
    still = [
        f"{_figure(each)} (gap {gaps[name].value:.3g})"
        for name, each in growing.items()
        if not _at_most(each, config.max_growth * (gaps[name].value or 0.0))
    ]
    if still:
        return Reading(None, f"still growing: {'; '.join(still)}")
    if not len(now.text):
        return Reading(None, "the gap has stopped growing; whether text is clean is not measured: give data.text_eval")
    text = now.text_rise_pct(evaluations[0].text if base_text is None else base_text, rng)
    if not _at_most(text, config.max_text_rise_pct):
        return Reading(None, f"the gap has stopped growing, but text is not clean: {_figure(text)}")
    both = [each for name in gaps for each in (gaps[name], growing[name])]
    return Reading("plateau", f"no gap grows any more at step {now.step}: {_figures([*both, text])}")


def _too_early(trained: Sequence[Evaluation], config: StopConfig) -> str:
    """Why no plateau is looked for yet; empty where one is."""
    now = trained[-1]
    if not config.on_plateau:
        return "no stop on a plateau: stop.on_plateau is off"
    if not now.gaps:
        return "no stop on a plateau: no gap is measured"
    if now.step < config.min_steps:
        return f"no stop on a plateau: not before step {config.min_steps}"
    if len(trained) < config.window:
        return f"{len(trained)} evaluations, {config.window} are needed for a trend"
    return ""


def _task(name: str) -> str:
    """The task of a gap's name, `<condition>_<task>`."""
    return name.rpartition("_")[2]


def growth(name: str, window: Sequence[Evaluation], rng: np.random.Generator) -> Measurement:
    """How much a gap grew over a window of evaluations: the mean over examples of each one's own straight line."""
    steps = np.array([each.step for each in window], dtype=np.float64)
    gaps = np.stack([each.gaps[name] for each in window])  # (evaluations, M)
    centred = steps - steps.mean()
    slopes = centred @ gaps / (centred @ centred)  # (M,) nats per token and step
    trends = slopes * (steps[-1] - steps[0])
    return statistics.mean(f"growth_{name}", trends, window[-1].media[name], "nats/token", rng)


def _near_zero(gap: Measurement, below: float) -> bool:
    # A gap that could not be computed proves nothing, and counts as none.
    return gap.low is None or gap.high is None or not (gap.low > 0 and gap.high > below)


def _at_most(measured: Measurement, bound: float) -> bool:
    return measured.high is not None and measured.high <= bound


def _figures(measured: Iterable[Measurement]) -> str:
    return "; ".join(map(_figure, measured))


def _figure(m: Measurement) -> str:
    if m.value is None or m.low is None or m.high is None:
        return f"{m.name} could not be computed"
    return f"{m.name} {m.value:.3g} [{m.low:.3g}, {m.high:.3g}]{' %' if m.unit == '%' else ''}"
