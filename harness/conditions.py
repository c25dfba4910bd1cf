"""Conditions: the examples' own sequences with the prompt or media taken away, to compare with the correct ones.

Conditions are made on ids, so that the sequences are those that training saw. Nothing is scored here.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.derangement import derangement
from harness.errors import EvidenceError, ExampleError
from harness.examples import Example, build_sequence, regions
from harness.scores import ScoreItem
from harness.token_space import TokenSpace

# The same words in random order are reported beside the others and not judged.
PROMPT_CONDITIONS = ("correct", "shuffled", "empty", "reordered")
# `zero` is the spec's other word for `constant`, where media are ids; it is reported once, as `constant`.
MEDIA_CONDITIONS = ("correct", "shuffled", "swapped", "noise", "constant")
# A set of prompts of one id each has no other order, and may be judged without it.
MAY_BE_ABSENT = ("reordered",)


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
    """Write examples under their own prompt, another example's prompt of like length, none, and their own in disorder.

    `reordered` is absent where no prompt has another order.

    Raises:
        ExampleError: the prompts are too alike for a derangement, or a condition changes no example.
    """
    prompts = prompts_of(examples, space)
    others = derangement([content_key(ids) for ids in prompts], [len(ids) for ids in prompts], rng, what="prompts")
    no_ids = np.empty(0, dtype=np.int64)
    return _conditions(
        examples,
        prompts,
        {
            "shuffled": [prompts[other] for other in others],
            "empty": [no_ids for _ in prompts],
            "reordered": [other_order(ids, rng) for ids in prompts],
        },
        with_prompt,
        space,
    )


def media_conditions(examples: Sequence[Example], space: TokenSpace, rng: np.random.Generator) -> Conditions:
    """Read examples of one modality with their own media, the same ids permuted, another's, noise, and one id repeated.

    Raises:
        ExampleError: the media are too alike for a derangement, or a condition changes no example.
    """
    media = media_of(examples, space)
    others = derangement([content_key(ids) for ids in media], [len(ids) for ids in media], rng, what="media")
    return _conditions(
        examples,
        media,
        {
            "shuffled": [other_order(ids, rng) for ids in media],
            "swapped": [media[other] for other in others],
            "noise": [noise(e, ids, space, rng) for e, ids in zip(examples, media, strict=True)],
            "constant": [constant(e, len(ids), space) for e, ids in zip(examples, media, strict=True)],
        },
        _with_media,
        space,
    )


def prompts_of(examples: Sequence[Example], space: TokenSpace) -> list[np.ndarray]:
    """The examples' text ids without their tags, (T,) each."""
    return [example.input_ids[regions(example, space).text] for example in examples]


def media_of(examples: Sequence[Example], space: TokenSpace) -> list[np.ndarray]:
    """The examples' media ids without their tags, (S,) each."""
    return [example.input_ids[regions(example, space).media] for example in examples]


def correct_items(examples: Sequence[Example], space: TokenSpace) -> tuple[ScoreItem, ...]:
    """The examples as they are; every measurement that scores this same list shares its evidence."""
    return tuple(ScoreItem(example.input_ids, regions(example, space).target) for example in examples)


def with_prompt(example: Example, text: np.ndarray, space: TokenSpace) -> ScoreItem:
    """A write example under another prompt, text (T,) ids; its target stays as it is."""
    media = example.input_ids[regions(example, space).media]
    return _rebuilt(example, text, media, space)


def other_order(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same ids (L,) in a random order that is not their own; as they are where one id repeated has no other."""
    if len(np.unique(ids)) < 2:
        return ids
    while np.array_equal(permuted := rng.permutation(ids), ids):
        pass
    return permuted


def noise(example: Example, media: np.ndarray, space: TokenSpace, rng: np.random.Generator) -> np.ndarray:
    """As many ids as media (S,), drawn uniformly from the range whose turn it is, not all of them the same as there."""
    ranges = [space.range_at(example.modality, p) for p in range(len(media))]
    starts = np.array([r.start for r in ranges], dtype=np.int64)
    stops = np.array([r.end + 1 for r in ranges], dtype=np.int64)
    if (stops - starts == 1).all():
        return starts
    while np.array_equal(drawn := rng.integers(starts, stops), media):
        pass
    return drawn


def constant(example: Example, length: int, space: TokenSpace) -> np.ndarray:
    """(length,) ids: the first of the range whose turn it is, repeated."""
    return np.array([space.range_at(example.modality, p).start for p in range(length)], dtype=np.int64)


def content_key(ids: np.ndarray) -> str:
    """A key that is equal for equal content."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype=np.int64).tobytes()).hexdigest()


def first_of_each(contents: Sequence[np.ndarray], what: str) -> dict[str, int]:
    """Content -> the first place that holds it, in the order of the places; (L,) ids each.

    Raises:
        ExampleError: all contents are equal.
    """
    first: dict[str, int] = {}
    for place, ids in enumerate(contents):
        first.setdefault(content_key(ids), place)
    if len(first) < 2:
        raise ExampleError(
            f"{len(contents)} {what}",
            "all of equal content",
            "at least two different ones",
            "Use a more varied golden set.",
        )
    return first


def check_conditions_differ(conditions: Conditions, where: str) -> None:
    """Make sure that every ablated sequence differs from the correct one, and any two conditions on some sequence.

    Raises:
        EvidenceError: an ablated input equals the correct one, or two conditions are the same: the ablation would test
            nothing, or one thing twice.
    """
    for name, condition in conditions.items():
        same = _equal(conditions["correct"], condition)
        if name != "correct" and same.any():
            first = int(condition.index[np.flatnonzero(same)[0]])
            raise EvidenceError(
                where,
                f"{same.sum()} inputs of the condition {name!r} equal to the correct ones (first: number {first})",
                "another input in every pair",
                "Ensure the ablation tests the prompt or media: look at these examples' prompt or media ids.",
            )
    for one, other in itertools.combinations(conditions, 2):
        same = _equal(conditions[one], conditions[other])
        if len(same) and same.all():
            raise EvidenceError(
                where,
                f"the inputs of the condition {one!r} equal to those of {other!r} on all {len(same)} examples",
                "conditions that differ",
                "Look at these examples' prompt or media ids: they leave the two conditions no room.",
            )


def _equal(one: Condition, other: Condition) -> np.ndarray:
    """Whether the inputs are equal, at the examples that both conditions hold; bool."""
    _, left, right = np.intersect1d(one.index, other.index, return_indices=True)
    pairs = zip(left, right, strict=True)
    return np.array([np.array_equal(one.items[i].ids, other.items[j].ids) for i, j in pairs], dtype=bool)


def _conditions(
    examples: Sequence[Example],
    own: Sequence[np.ndarray],
    contents: dict[str, Sequence[np.ndarray]],
    put: Callable[[Example, np.ndarray, TokenSpace], ScoreItem],
    space: TokenSpace,
) -> Conditions:
    """Conditions from what each puts in the place of the examples' own content; what stays the same is left out."""
    conditions = {"correct": Condition(correct_items(examples, space), np.arange(len(examples)))}
    for name, others in contents.items():
        changed = [i for i, ids in enumerate(others) if not np.array_equal(ids, own[i])]
        if changed:
            items = tuple(put(examples[i], others[i], space) for i in changed)
            conditions[name] = Condition(items, np.array(changed, dtype=np.int64))
        elif name not in MAY_BE_ABSENT:
            raise ExampleError(
                f"{len(examples)} {examples[0].task} examples",
                f"none that the condition {name!r} can change",
                "prompts or media that it changes",
                "Use a more varied golden set.",
            )
    return conditions


def _with_media(example: Example, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    text = example.input_ids[regions(example, space).text]
    return _rebuilt(example, text, media, space)


def _rebuilt(example: Example, text: np.ndarray, media: np.ndarray, space: TokenSpace) -> ScoreItem:
    ids = build_sequence(example.task, text, media, space)
    target = regions(example, space).target
    return ScoreItem(ids, slice(len(ids) - (target.stop - target.start), len(ids)))
