"""Ablations: the examples' own sequences with the prompt or the media taken away, and the conditions to compare.

Conditions are made on ids, so that the sequences are those that training saw. Nothing is scored here.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.errors import EvidenceError, ExampleError
from harness.examples import Example, build_sequence, regions
from harness.scoring import ScoreItem
from harness.token_space import TokenSpace

PROMPT_CONDITIONS = ("correct", "shuffled", "empty")
# `zero` is the spec's other word for `constant`, where media are ids; it is reported once, as `constant`.
MEDIA_CONDITIONS = ("correct", "shuffled", "swapped", "noise", "constant")


def prompt_conditions(
    examples: Sequence[Example], space: TokenSpace, rng: np.random.Generator
) -> dict[str, list[ScoreItem]]:
    """Write examples under their own prompt, another example's prompt, and none.

    Raises:
        ExampleError: the prompts are too alike for a derangement.
    """
    prompts = [example.input_ids[regions(example, space).text] for example in examples]
    others = derangement([content_key(prompt) for prompt in prompts], rng, what="prompts")
    no_ids = np.empty(0, dtype=np.int64)
    return {
        "correct": [_item(example, space) for example in examples],
        "shuffled": [
            with_prompt(example, prompts[other], space) for example, other in zip(examples, others, strict=True)
        ],
        "empty": [with_prompt(example, no_ids, space) for example in examples],
    }


def media_conditions(
    examples: Sequence[Example], space: TokenSpace, rng: np.random.Generator
) -> dict[str, list[ScoreItem]]:
    """Read examples of one modality with their own media, the same ids permuted, another's, noise, and one id repeated.

    Raises:
        ExampleError: the media are too alike for a derangement.
    """
    media = [example.input_ids[regions(example, space).media] for example in examples]
    others = derangement([content_key(ids) for ids in media], rng, what="media")
    return {
        "correct": [_item(example, space) for example in examples],
        "shuffled": [_with_media(e, rng.permutation(ids), space) for e, ids in zip(examples, media, strict=True)],
        "swapped": [_with_media(e, media[other], space) for e, other in zip(examples, others, strict=True)],
        "noise": [
            _with_media(e, noise(e, len(ids), space, rng), space) for e, ids in zip(examples, media, strict=True)
        ],
        "constant": [
            _with_media(e, constant(e, len(ids), space), space) for e, ids in zip(examples, media, strict=True)
        ],
    }


def with_prompt(example: Example, text: np.ndarray, space: TokenSpace) -> ScoreItem:
    """A write example under another prompt, text (T,) ids; its target stays as it is."""
    media = example.input_ids[regions(example, space).media]
    return _rebuilt(example, text, media, space)


def noise(example: Example, length: int, space: TokenSpace, rng: np.random.Generator) -> np.ndarray:
    """(length,) ids drawn uniformly from the range whose turn it is."""
    ranges = [space.range_at(example.modality, p) for p in range(length)]
    return np.array([rng.integers(r.start, r.end + 1) for r in ranges], dtype=np.int64)


def constant(example: Example, length: int, space: TokenSpace) -> np.ndarray:
    """(length,) ids: the first of the range whose turn it is, repeated."""
    return np.array([space.range_at(example.modality, p).start for p in range(length)], dtype=np.int64)


def content_key(ids: np.ndarray) -> str:
    """A key that is equal for equal content."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype=np.int64).tobytes()).hexdigest()


def derangement(keys: Sequence[str], rng: np.random.Generator, *, what: str) -> np.ndarray:
    """A permutation in which no position receives content equal to its own, (N,) int64.

    Equal contents are laid side by side and the whole rotated by the size of the largest group: what arrives then
    always comes from another group, and such a rotation exists exactly when no content fills more than half the places.

    Raises:
        ExampleError: one content fills more than half the places, so that no derangement exists.
    """
    n = len(keys)
    largest = max(Counter(keys).values(), default=0)
    if n < 2 or 2 * largest > n:
        raise ExampleError(
            f"{n} {what}",
            f"{largest} with equal content",
            "at most half of them equal",
            "Use a more varied golden set.",
        )
    group_rank = dict(zip(sorted(set(keys)), rng.permutation(len(set(keys))), strict=True))
    order = sorted(rng.permutation(n), key=lambda i: group_rank[keys[i]])
    result = np.empty(n, dtype=np.int64)
    result[order] = np.roll(order, -largest)
    return result


def check_conditions_differ(conditions: dict[str, list[ScoreItem]], where: str) -> None:
    """Make sure that every ablated sequence differs from the correct one: else the ablation tests nothing.

    Raises:
        EvidenceError: an ablated input equals the correct one.
    """
    correct = conditions["correct"]
    for name, items in conditions.items():
        same = [i for i, (a, b) in enumerate(zip(correct, items, strict=True)) if np.array_equal(a.ids, b.ids)]
        if name != "correct" and same:
            raise EvidenceError(
                where,
                f"{len(same)} inputs of the condition {name!r} equal to the correct ones (first: number {same[0]})",
                "another input in every pair",
                "Ensure the ablation tests the prompt or media: look at these examples' prompt or media ids.",
            )


def check_losses_differ(losses: dict[str, np.ndarray], where: str) -> None:
    """Make sure that no ablated condition has bit-equal losses throughout: that is a cache or a format bug.

    Raises:
        EvidenceError: two conditions have the same losses on every example.
    """
    for name, values in losses.items():
        if name != "correct" and len(values) and np.array_equal(values, losses["correct"]):
            raise EvidenceError(
                where,
                f"losses under {name!r} bit-equal to the correct ones on all {len(values)} examples",
                "different losses for different inputs",
                "The condition never reached the model: look for a cache or a wrong mask.",
            )


def _item(example: Example, space: TokenSpace) -> ScoreItem:
    return ScoreItem(example.input_ids, regions(example, space).target)


def _with_media(example: Example, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    text = example.input_ids[regions(example, space).text]
    return _rebuilt(example, text, media, space)


def _rebuilt(example: Example, text: np.ndarray, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    ids = build_sequence(example.task, text, media, space)
    target = regions(example, space).target
    return ScoreItem(ids, slice(len(ids) - (target.stop - target.start), len(ids)))
