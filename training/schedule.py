"""The learning rate's course."""

import math


def cosine_share(step: int, steps: int, warmup: int, floor: float) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
