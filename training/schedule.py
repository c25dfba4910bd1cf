"""The learning rate's course."""

import math

from harness.training_record import Schedule


def share_of_peak(schedule: Schedule, step: int, *, max_steps: int, warmup_steps: int, floor: float) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then constant, or down to `floor`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
    left = 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return floor + (1 - floor) * left
