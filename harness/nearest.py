"""The nearest prompt: what is written, scored under the most similar other prompt, and told word by word.

Another example's prompt differs in many words, so that a model can beat it and still ignore one of them. The most
similar other prompt differs in few, and what it changes is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from scipy.cluster.hierarchy import DisjointSet

from harness.ablation import check_losses_differ
from harness.conditions import content_key, correct_items, first_of_each, media_of, prompts_of, with_prompt
from harness.examples import Example, Task
from harness.scorer import Scorer
from harness.statistics import Paired
from harness.token_space import TokenSpace
from harness.words import Words, changed_words, substitution

ROWS_AT_ONCE = 256  # of the table of distances: 256 x 100,000 prompts are 100 MB
MAX_TIES = 256  # equally similar prompts to choose from
WORDS_IN_A_NAME = 12  # of a group


@dataclass(frozen=True)
class NearestPrompt:
    """One write task's losses under its own and the nearest other prompt.

    Attributes:
        task: the task.
        examples: (N,) the examples.
        words: (N,) the words of their own prompts.
        other: (N,) int64, the example whose prompt is the nearest.
        changed: (N,) the own words that the nearest prompt replaces or lacks.
        paired: the losses under the own prompt and under the nearest, nats per label.
    """

    task: Task
    examples: tuple[Example, ...]
    words: tuple[Words, ...]
    other: np.ndarray
    changed: tuple[Words, ...]
    paired: Paired


def nearest_prompts(prompts: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """For every prompt, one of the most similar others, by edit distance over ids (Levenshtein 1966).

    Args:
        prompts: (N,) prompts of (T,) ids each.
        rng: chooses among equally similar ones, so that every word gets its turn to be the one that differs.

    Returns:
        (N,) int64 index; never a prompt of equal content.

    Raises:
        ExampleError: all prompts are equal.
    """
    first = first_of_each(prompts, "prompts")
    distinct = list(first.values())
    sequences = [prompts[i].tolist() for i in distinct]
    column = {key: number for number, key in enumerate(first)}
    own_column = [column[content_key(ids)] for ids in prompts]
    result = np.empty(len(prompts), dtype=np.int64)
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        own = own_column[start : start + ROWS_AT_ONCE]
        distance = cdist([sequences[c] for c in own], sequences, scorer=Levenshtein.distance, dtype=np.int32)
        distance[np.arange(len(own)), own] = np.iinfo(np.int32).max
        for i, to_others in enumerate(distance, start):
            ties = np.flatnonzero(to_others == to_others.min())
            result[i] = distinct[_one_of(ties, sequences[own_column[i]], sequences, rng)]
    return result


def _one_of(ties: np.ndarray, own: list[int], sequences: list[list[int]], rng: np.random.Generator) -> int:
    """One of equally similar prompts: first a place to differ at, then a prompt that does.

    Chosen at once, a place where many prompts differ (one of 24 notes) would leave little to one of three loudnesses.
    """
    few = rng.permutation(ties)[:MAX_TIES]
    by_place: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for tie in few:
        changes = [op for op in Levenshtein.opcodes(own, sequences[tie]) if op.tag != "equal"]
        by_place.setdefault(tuple((op.src_start, op.src_end) for op in changes), []).append(int(tie))
    return by_place[sorted(by_place)[rng.integers(len(by_place))]][0]


def measure_nearest(
    task: Task,
    examples: Sequence[Example],
    words: Sequence[Words],
    rng: np.random.Generator,
    score: Scorer,
    space: TokenSpace,
) -> NearestPrompt:
    """Score write examples of one task under their own and the nearest prompt.

    Raises:
        ExampleError: all prompts are equal.
        EvidenceError: the losses are bit-equal, or the canary disagrees.
    """
    prompts = prompts_of(examples, space)
    other = nearest_prompts(prompts, rng)
    replaced = [with_prompt(e, prompts[j], space) for e, j in zip(examples, other, strict=True)]
    modality = examples[0].modality
    correct = score(correct_items(examples, space), label=f"{task}: correct", modality=modality).nll
    nearest = score(replaced, label=f"{task}: nearest prompt", modality=modality).nll
    everywhere = np.arange(len(examples))
    check_losses_differ(
        {"correct": correct, "nearest": nearest},
        {"correct": everywhere, "nearest": everywhere},
        f"the nearest prompts of {task}",
    )
    return NearestPrompt(
        task=task,
        examples=tuple(examples),
        words=tuple(words),
        other=other,
        changed=tuple(changed_words(words[i], words[j]) for i, j in enumerate(other)),
        paired=Paired(
            correct=correct,
            ablated=nearest,
            clusters=np.array([content_key(ids) for ids in media_of(examples, space)]),
            sources=np.array([example.source for example in examples]),
        ),
    )


def word_pairs(measured: NearestPrompt) -> dict[str, Paired]:
    """Word -> the examples whose nearest prompt replaces or lacks it, in alphabetical order.

    Where a word differs alone in some of them, only those are kept: in the others a loss may have risen for the sake of
    another word.
    """
    alone: dict[str, list[int]] = {}
    among_others: dict[str, list[int]] = {}
    for i, changed in enumerate(measured.changed):
        differs_alone = Levenshtein.distance(measured.words[i], measured.words[measured.other[i]]) == 1
        for word in dict.fromkeys(changed):
            (alone if differs_alone else among_others).setdefault(word, []).append(i)
    rows = among_others | alone
    return {word: _only(measured.paired, rows[word]) for word in sorted(rows)}


def word_groups(measured: NearestPrompt) -> dict[str, Paired]:
    """Words that take one another's place, together: a group has enough examples where each of its words has few.

    Two words belong together when a nearest prompt has one for the other, at the same place and with no other
    difference. The same words at another place are another group, since a model may listen to the first and not to the
    second.

    Returns:
        `word 3: eight / five / …` -> the examples in which a word of the group alone differs, by place.
    """
    swaps = {
        i: swap
        for i, j in enumerate(measured.other)
        if (swap := substitution(measured.words[i], measured.words[j])) is not None
    }
    groups = DisjointSet(dict.fromkeys((swap.place, word) for swap in swaps.values() for word in swap[1:]))
    for swap in swaps.values():
        groups.merge((swap.place, swap.own), (swap.place, swap.other))
    found = {}
    for group in sorted(sorted(each) for each in groups.subsets()):
        rows = [i for i, swap in swaps.items() if (swap.place, swap.own) in group]
        found[_group_name(group)] = _only(measured.paired, rows)
    return found


def _only(paired: Paired, rows: Sequence[int]) -> Paired:
    at = np.array(rows)
    return Paired(paired.correct[at], paired.ablated[at], paired.clusters[at], paired.sources[at])


def _group_name(group: Sequence[tuple[int, str]]) -> str:
    words = [word for _, word in group]
    more = f" and {len(words) - WORDS_IN_A_NAME} more" if len(words) > WORDS_IN_A_NAME else ""
    return f"word {group[0][0] + 1}: {' / '.join(words[:WORDS_IN_A_NAME])}{more}"
