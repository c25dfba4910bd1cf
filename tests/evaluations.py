"""Evaluations of runs that never were: gaps of examples over time, with the noise that training and examples have."""

from collections.abc import Callable, Sequence

import numpy as np

from training.measure import Evaluation

N_EXAMPLES = 96
N_TEXTS = 40
EVERY = 100  # steps between two evaluations
Course = Callable[[float], float]  # share of the run that is done -> mean gap, nats per token


def flat(height: float) -> Course:
    return lambda _done: height


def growing(start: float, end: float) -> Course:
    return lambda done: start + (end - start) * done


def run(
    courses: dict[str, Course],
    rng: np.random.Generator,
    *,
    n: int = 8,
    spread: float = 0.1,
    wobble: float = 0.0,
    shared: float = 0.0,
    trends: float = 0.0,
    text_rise: float = 0.0,
) -> list[Evaluation]:
    """Evaluations of step 0 and of n more.

    Args:
        courses: gap -> how its mean goes.
        rng: draws the examples.
        n: evaluations after step 0.
        spread: standard deviation of the examples' gaps around the mean, the same at every evaluation.
        wobble: that of each example at each evaluation, on its own.
        shared: that of all examples of a gap together at each evaluation, since training itself wavers.
        trends: that of each example's own growth over the whole run.
        text_rise: of the text's loss over the run, nats per token.
    """
    own = {name: spread * rng.standard_normal(N_EXAMPLES) for name in courses}
    slopes = {name: trends * rng.standard_normal(N_EXAMPLES) for name in courses}
    text, tokens = 4 * rng.integers(10, 30, N_TEXTS) + rng.random(N_TEXTS), rng.integers(10, 30, N_TEXTS)
    media = np.array([f"medium-{i}" for i in range(N_EXAMPLES)])
    evaluations = []
    for i in range(n + 1):
        done = i / n
        gaps = {
            name: course(done) * (i > 0)
            + shared * rng.standard_normal()
            + own[name]
            + slopes[name] * done
            + wobble * rng.standard_normal(N_EXAMPLES)
            for name, course in courses.items()
        }
        rise = text_rise * done * tokens * (1 + 0.05 * rng.standard_normal(N_TEXTS))
        evaluations.append(
            Evaluation(i * EVERY, {}, gaps, dict.fromkeys(courses, media), text + rise, text + rise, tokens)
        )
    return evaluations


def without_text(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The same, where no text was measured."""
    empty = np.empty(0)
    return [Evaluation(e.step, e.correct, e.gaps, e.media, empty, empty, np.empty(0, dtype=int)) for e in evaluations]
