"""Conditions: the examples' own sequences with the prompt or media taken away, to compare with the correct ones.

Conditions are made on ids, so that the sequences are those that training saw. Nothing is scored here.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import EvidenceError, ExampleError
from harness.examples import Example, build_sequence, regions
from harness.scoring import ScoreItem
from harness.token_space import TokenSpace

PROMPT_CONDITIONS = ("correct", "shuffled", "empty")
# `zero` is the spec's other word for `constant`, where media are ids; it is reported once, as `constant`.
MEDIA_CONDITIONS = ("correct", "shuffled", "swapped", "noise", "constant")


@dataclass(frozen=True)
class Condition:
    """Examples under one condition.

    Attributes:
        items: (M,) the sequences to score.
        index: (M,) int64, which example each was made from: all of them, but for those that the condition cannot change
            (one id repeated has no other order).
    """

    items: tuple[ScoreItem, ...]
    index: np.ndarray


Conditions = dict[str, Condition]  # by name; `correct` is always there, and always whole


def prompt_conditions(examples: Sequence[Example], space: TokenSpace, rng: np.random.Generator) -> Conditions:
    """Write examples under their own prompt, another example's prompt, and none.

    Raises:
        ExampleError: the prompts are too alike for a derangement.
    """
    prompts = [example.input_ids[regions(example, space).text] for example in examples]
    others = derangement([content_key(prompt) for prompt in prompts], rng, what="prompts")
    no_ids = np.empty(0, dtype=np.int64)
    return _whole(
        correct=[_item(example, space) for example in examples],
        shuffled=[with_prompt(example, prompts[other], space) for example, other in zip(examples, others, strict=True)],
        empty=[with_prompt(example, no_ids, space) for example in examples],
    )


def media_conditions(examples: Sequence[Example], space: TokenSpace, rng: np.random.Generator) -> Conditions:
    """Read examples of one modality with their own media, the same ids permuted, another's, noise, and one id repeated.

    Raises:
        ExampleError: the media are too alike for a derangement.
    """
    media = [example.input_ids[regions(example, space).media] for example in examples]
    others = derangement([content_key(ids) for ids in media], rng, what="media")
    return _whole(
        correct=[_item(example, space) for example in examples],
        shuffled=[_with_media(e, rng.permutation(ids), space) for e, ids in zip(examples, media, strict=True)],
        swapped=[_with_media(e, media[other], space) for e, other in zip(examples, others, strict=True)],
        noise=[_with_media(e, noise(e, len(ids), space, rng), space) for e, ids in zip(examples, media, strict=True)],
        constant=[_with_media(e, constant(e, len(ids), space), space) for e, ids in zip(examples, media, strict=True)],
    )


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


def check_conditions_differ(conditions: Conditions, where: str) -> None:
    """Make sure that every ablated sequence differs from the correct one: else the ablation tests nothing.

    Raises:
        EvidenceError: an ablated input equals the correct one.
    """
    correct = conditions["correct"].items
    for name, condition in conditions.items():
        pairs = zip(condition.index, condition.items, strict=True)
        same = [int(i) for i, item in pairs if np.array_equal(correct[i].ids, item.ids)]
        if name != "correct" and same:
            raise EvidenceError(
                where,
                f"{len(same)} inputs of the condition {name!r} equal to the correct ones (first: number {same[0]})",
                "another input in every pair",
                "Ensure the ablation tests the prompt or media: look at these examples' prompt or media ids.",
            )


def _whole(**items: Sequence[ScoreItem]) -> Conditions:
    return {name: Condition(tuple(each), np.arange(len(each))) for name, each in items.items()}


def _item(example: Example, space: TokenSpace) -> ScoreItem:
    return ScoreItem(example.input_ids, regions(example, space).target)


def _with_media(example: Example, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    text = example.input_ids[regions(example, space).text]
    return _rebuilt(example, text, media, space)


def _rebuilt(example: Example, text: np.ndarray, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    ids = build_sequence(example.task, text, media, space)
    target = regions(example, space).target
    return ScoreItem(ids, slice(len(ids) - (target.stop - target.start), len(ids)))
