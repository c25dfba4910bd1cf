"""The rate's course: what the run's own record declares, and what transformers' schedules give after the warm-up."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from harness.dynamics_rates import expected_rates
from harness.training_record import LearningRates, Schedule
from training.schedule import share_of_peak

SCHEDULES = get_args(Schedule)


def _course(schedule: Schedule, max_steps: int, warmup_steps: int, floor: float = 0.0) -> np.ndarray:
    """Shares of the peak at steps counted from 0, and one beyond the last."""
    return np.array([
        share_of_peak(schedule, step, max_steps=max_steps, warmup_steps=warmup_steps, floor=floor)
        for step in range(max_steps + 1)
    ])  # fmt: skip


@given(
    schedule=st.sampled_from(SCHEDULES), max_steps=st.integers(1, 120), warmup_steps=st.integers(0, 150),
    floor=st.floats(0, 1), peak=st.floats(1e-6, 1),
)  # fmt: skip
def test_rates_are_those_that_the_record_declares(
    schedule: Schedule, max_steps: int, warmup_steps: int, floor: float, peak: float
) -> None:
    declared = LearningRates(schedule=schedule, peak=peak, warmup_steps=warmup_steps, max_steps=max_steps, floor=floor)
    steps = np.arange(1, max_steps + 2)  # the record counts from 1

    np.testing.assert_allclose(
        peak * _course(schedule, max_steps, warmup_steps, floor), expected_rates(declared, steps), rtol=1e-9
    )


@given(st.sampled_from(SCHEDULES), st.integers(1, 120), st.integers(0, 150), st.floats(0, 1))
def test_rates_rise_in_the_warm_up_and_never_again(
    schedule: Schedule, max_steps: int, warmup_steps: int, floor: float
) -> None:
    course = _course(schedule, max_steps, warmup_steps, floor)
    rising = min(warmup_steps, max_steps)

    assert ((course > 0) | (np.arange(len(course)) >= warmup_steps)).all()
    assert (course <= 1).all()
    assert (np.diff(course[:rising]) > 0).all()
    assert (np.diff(course[rising:]) <= 1e-12).all()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_falling_rate_ends_at_its_floor_after_the_last_step(schedule: Schedule) -> None:
    course = _course(schedule, 50, 10, floor=0.1)

    assert course[10] == 1.0
    assert course[50] == pytest.approx(0.1)
    assert course[49] > 0.1
    assert share_of_peak(schedule, 500, max_steps=50, warmup_steps=10, floor=0.1) == pytest.approx(0.1)


def test_a_constant_rate_has_no_floor_to_go_to() -> None:
    assert _course("constant", 50, 10, floor=0.1)[10:].tolist() == [1.0] * 41


THEIRS: dict[Schedule, Any] = {
    "constant": lambda optimiser, _steps: get_constant_schedule_with_warmup(optimiser, 8),
    "cosine": lambda optimiser, steps: get_cosine_schedule_with_warmup(optimiser, 8, steps),
    "linear": lambda optimiser, steps: get_linear_schedule_with_warmup(optimiser, 8, steps),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_after_the_warm_up_rates_are_those_of_transformers(schedule: Schedule) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs, rates = THEIRS[schedule](optimiser, 40), []
    for _ in range(40):
        rates.append(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    ours = _course(schedule, 40, 8)

    np.testing.assert_allclose(ours[8:40], rates[8:], rtol=1e-9, atol=1e-12)
    # Theirs spends its first step at a rate of 0; ours is one step ahead of it while warming up.
    np.testing.assert_allclose(ours[:7], rates[1:8])
