"""Ablations: a task's examples scored under every condition, kept pair by pair."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from harness.conditions import Condition, Conditions, check_conditions_differ, content_key, media_of
from harness.errors import EvidenceError
from harness.examples import Example, Task
from harness.scorer import Scorer
from harness.scores import Scores
from harness.statistics import Paired
from harness.token_space import TokenSpace

# The null control rescores this many examples: it must give exactly 0, so that more of them would prove nothing more.
NULL_CONTROL_EXAMPLES = 16


@dataclass(frozen=True)
class Ablation:
    """One task's losses under every condition.

    Attributes:
        task: the task.
        examples: (N,) the examples; `from_dev` of them came from the dev set.
        media: (N,) content keys of their media: examples that share media are no independent items.
        scores: condition -> scores of the examples in `index`.
        index: condition -> (M,) the examples that the condition could change.
        null_gap: largest difference when the same inputs are scored a second time; must be 0.
        canary_gap: largest difference when a few are scored alone.
    """

    task: Task
    examples: tuple[Example, ...]
    from_dev: int
    media: tuple[str, ...]
    scores: dict[str, Scores]
    index: dict[str, np.ndarray]
    null_gap: float
    canary_gap: float

    @property
    def mass_outside(self) -> np.ndarray:
        """(N,) probability outside the modality's ids at code positions, own prompt; NaN for read tasks."""
        return self.scores["correct"].mass_outside

    def pair(self, name: str) -> Paired:
        """The examples' own losses beside those under a condition, nats per label."""
        index = self.index[name]
        return Paired(
            correct=self.scores["correct"].nll[index],
            ablated=self.scores[name].nll,
            clusters=np.array(self.media)[index],
            sources=np.array([self.examples[i].source for i in index]),
        )


def ablate(
    task: Task, examples: Sequence[Example], from_dev: int, conditions: Conditions, score: Scorer, space: TokenSpace
) -> Ablation:
    """Score a task's examples under all conditions.

    Raises:
        EvidenceError: a condition changes nothing, two have bit-equal losses, or the canary disagrees.
    """
    check_conditions_differ(conditions, f"the {task} ablation")
    score = replace(score, canary_gap=0.0)  # what the canary finds here, whatever was scored before
    modality = examples[0].modality if examples[0].writes else None

    def scored(condition: Condition, name: str) -> Scores:
        return score(condition.items, label=f"{task}: {name}", modality=modality)

    scores = {name: scored(condition, name) for name, condition in conditions.items()}
    index = {name: condition.index for name, condition in conditions.items()}
    check_losses_differ({name: each.nll for name, each in scores.items()}, index, f"the {task} ablation")
    return Ablation(
        task=task,
        examples=tuple(examples),
        from_dev=from_dev,
        media=tuple(content_key(ids) for ids in media_of(examples, space)),
        scores=scores,
        index=index,
        null_gap=score.null_gap(conditions["correct"].items[:NULL_CONTROL_EXAMPLES], label=f"{task}: null control"),
        canary_gap=score.canary_gap,
    )


def joined(blocks: Sequence[Ablation]) -> Ablation:
    """One ablation out of several of the same task, each of examples of its own, as if they had been ablated at once.

    Args:
        blocks: at least one; a condition that only some of them have covers the examples of those.
    """
    starts = np.cumsum([0, *(len(block.examples) for block in blocks)])
    names = dict.fromkeys(name for block in blocks for name in block.scores)
    having = {
        name: [(start, b) for start, b in zip(starts, blocks, strict=False) if name in b.scores] for name in names
    }
    return Ablation(
        task=blocks[0].task,
        examples=tuple(example for block in blocks for example in block.examples),
        from_dev=sum(block.from_dev for block in blocks),
        media=tuple(key for block in blocks for key in block.media),
        scores={name: _joined_scores([block.scores[name] for _, block in having[name]]) for name in names},
        index={name: np.concatenate([start + block.index[name] for start, block in having[name]]) for name in names},
        # np.max, unlike max, lets no NaN get lost.
        null_gap=float(np.max([block.null_gap for block in blocks])),
        canary_gap=float(np.max([block.canary_gap for block in blocks])),
    )


def _joined_scores(blocks: Sequence[Scores]) -> Scores:
    per_item = [each.name for each in fields(Scores) if each.name != "names"]
    arrays = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in per_item}
    return Scores(names=blocks[0].names, **arrays)


def check_losses_differ(losses: dict[str, np.ndarray], index: dict[str, np.ndarray], where: str) -> None:
    """Make sure that no two conditions have bit-equal losses throughout: that is a cache or a format bug.

    Args:
        losses: condition -> (M,) nats per label.
        index: condition -> (M,) the examples that they are of; two conditions are compared on those they share.
        where: what was measured, for the message.

    Raises:
        EvidenceError: two conditions have the same losses on every example.
    """
    for one, other in itertools.combinations(losses, 2):
        _, left, right = np.intersect1d(index[one], index[other], return_indices=True)
        if len(left) and np.array_equal(losses[one][left], losses[other][right]):
            raise EvidenceError(
                where,
                f"losses under {other!r} bit-equal to those under {one!r} on all {len(left)} examples",
                "different losses for different inputs",
                "The condition never reached the model: look for a cache or a wrong mask.",
            )
