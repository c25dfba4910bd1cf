"""What a checkpoint writes for golden prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.bundle import Decoding
from harness.compliance import Compliance
from harness.errors import EvidenceError
from harness.evidence import Arrays
from harness.examples import Example, Task, expected_length, regions
from harness.progress import Listener
from harness.sampling import Sampling
from harness.token_space import TokenSpace


@dataclass(frozen=True)
class Generations:
    """What the checkpoint wrote for the golden prompts of one task.

    Attributes:
        sequences: the ids written for each example, the end tag included where it came.
        expected: how many media ids each example's meta promises.
    """

    task: Task
    decoding: Decoding
    examples: tuple[Example, ...]
    sequences: tuple[np.ndarray, ...]
    expected: tuple[int, ...]
    compliance: Compliance
    sampling: Sampling

    def cut(self, max_new: int | None) -> "Generations":
        """What would have been written under a limit of new ids; the counts of compliance stay those of all ids."""
        return replace(self, sequences=tuple(ids[:max_new] for ids in self.sequences))


def expected_ids(example: Example) -> int:
    """How many media ids a golden example's meta promises.

    Raises:
        EvidenceError: it does not say.
    """
    length = expected_length(example.meta, example.modality)
    if length is None:
        raise EvidenceError(
            f"golden example {example.id}",
            f"a meta without the length of its media ({sorted(example.meta)})",
            "n_tokens, or n_frames and n_codebooks",
            "Add image_meta or audio_meta to the golden set: lengths must come from each example, not one maximum.",
        )
    return length


def write(
    model: Any,
    examples: Sequence[Example],
    expected: Sequence[int],
    seeds: Sequence[int],
    space: TokenSpace,
    *,
    how: Decoding,
    sampling: Sampling,
    batch_tokens: int,
    listener: Listener,
) -> Arrays:
    """Continue the examples' prompts, each with a seed of its own.

    Returns:
        `ids`, all sequences one after the other, int64, and `ends`, where each of them ends.
    """
    from harness.generation import Prompt, generate

    prompts = [
        Prompt(example.input_ids[: regions(example, space).content.start], n, seed, f"golden example {example.id}")
        for example, n, seed in zip(examples, expected, seeds, strict=True)
    ]
    sequences = generate(
        model,
        prompts,
        examples[0].modality,
        space,
        decoding=how,
        sampling=sampling,
        batch_tokens=batch_tokens,
        listener=listener,
        label=f"{examples[0].task}: writing, {how}",
    )
    return {"ids": np.concatenate(sequences), "ends": np.cumsum([len(ids) for ids in sequences])}
