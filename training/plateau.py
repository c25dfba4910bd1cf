"""When to stop: the ablation gap has stopped growing and text is clean, or there is still no gap where the tier ends.

The rule. A run has several gaps, one for each task and way of taking something away (`shuffle_a2t`, `noise_i2t`, …).
Over the last `window` evaluations each example has a trend of its gap: the slope of a straight line through its values,
times the steps between the first and the last. The mean of the trends over examples is the growth; its interval is a
bootstrap over media, so that it knows how much of the growth is the luck of these examples, and the line smooths what
training itself makes waver from one evaluation to the next.

A gap has stopped growing when the upper end of its growth is at most `max_growth` times the gap. The run has reached
its plateau when that holds for every gap, every gap is above zero with its whole interval, and the upper end of the
rise of the text's perplexity is at most `max_text_rise_pct`.

A gap is near zero when its interval reaches zero, or lies below `near_zero_nats` altogether.
Source: spec/stage3-iteration.md, sections 2, 6A and 8; it names no numbers, those in training/config.py are ours.
"""

from collections.abc import Sequence
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


def read(evaluations: Sequence[Evaluation], config: StopConfig, *, near_zero_after: int, seed: int) -> Reading:
    """Apply the rule to the evaluations of a run, the last one being of now.

    Args:
        evaluations: in the order of their steps; the first one, of step 0, is the base's text.
        config: the rule's numbers.
        near_zero_after: the step from which a gap near zero ends the run; -1 for never.
        seed: of the bootstraps.
    """
    now, rng = evaluations[-1], np.random.default_rng([seed, evaluations[-1].step])
    gaps = {name: now.gap(name, rng) for name in now.gaps}
    lost = [gap for gap in gaps.values() if _near_zero(gap, config.near_zero_nats)]
    if lost and 0 <= near_zero_after <= now.step:
        return Reading("near_zero", f"still near zero at step {now.step}: {'; '.join(map(_figure, lost))}")
    if not config.on_plateau or now.step < config.min_steps or not gaps:
        why = f"not before step {config.min_steps}" if gaps else "no gap is measured"
        return Reading(None, f"no stop on a plateau: {why if config.on_plateau else 'stop.on_plateau is off'}")
    trained = [each for each in evaluations if each.step > 0]
    if len(trained) < config.window:
        return Reading(None, f"{len(trained)} evaluations, {config.window} are needed for a trend")
    if lost:
        return Reading(None, f"near zero: {'; '.join(map(_figure, lost))}")
    growing = {name: growth(name, trained[-config.window :], rng) for name in gaps}
    still = [
        f"{_figure(each)} (gap {gaps[name].value:.3g})"
        for name, each in growing.items()
        if not _at_most(each, config.max_growth * (gaps[name].value or 0.0))
    ]
    if still:
        return Reading(None, f"still growing: {'; '.join(still)}")
    text = now.text_rise_pct(evaluations[0], rng) if len(now.text) else None
    if text is not None and not _at_most(text, config.max_text_rise_pct):
        return Reading(None, f"the gap has stopped growing, but text is not clean: {_figure(text)}")
    figures = "; ".join(f"{_figure(gaps[name])}, {_figure(each)}" for name, each in growing.items())
    clean = f"; {_figure(text)}" if text else ""
    return Reading("plateau", f"no gap grows any more at step {now.step}: {figures}{clean}")


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


def _figure(m: Measurement) -> str:
    if m.value is None or m.low is None or m.high is None:
        return f"{m.name} could not be computed"
    return f"{m.name} {m.value:.3g} [{m.low:.3g}, {m.high:.3g}]{' %' if m.unit == '%' else ''}"
