"""What a step holds, how many make a pass over the data, and what another batch would save."""

import math

from training.config import BatchConfig


def describe(batch: BatchConfig, n_processes: int, n_sequences: int, max_steps: int) -> list[str]:
    """Lines to print before a run.

    Source: spec/stage3-iteration.md section 4: "If the effective batch increases from 1 -> 4, optimizer steps drop by
    ~4x".
    """
    effective = batch.per_device * batch.accumulation * n_processes
    steps = math.ceil(n_sequences / effective)
    lines = [
        f"effective batch: {batch.per_device} a device x {batch.accumulation} accumulated x {n_processes} "
        f"process{'es' if n_processes > 1 else ''} = {effective} sequences a step",
        f"{n_sequences:,} training examples: {steps:,} steps a pass; {max_steps:,} steps planned, "
        f"{max_steps * effective / n_sequences:.2f} passes",
    ]
    if effective > 1:
        alone = n_sequences
        lines.append(f"with an effective batch of 1 a pass would be {alone:,} steps, {alone / steps:.1f} times as many")
    four = math.ceil(n_sequences / (4 * effective))
    lines.append(
        f"from {effective} to {4 * effective} (more a device where memory allows, else more accumulation) a pass would "
        f"be {four:,} steps: {1 - four / steps:.0%} fewer optimiser steps"
    )
    return lines
