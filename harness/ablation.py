"""Ablations: a task's examples scored under every condition, kept pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.conditions import Condition, Conditions, check_conditions_differ, content_key
from harness.errors import EvidenceError
from harness.examples import Example, Task, regions
from harness.scorer import Scorer
from harness.scoring import Scores
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
    modality = examples[0].modality if examples[0].writes else None

    def scored(condition: Condition, name: str) -> Scores:
        return score(condition.items, label=f"{task}: {name}", modality=modality)

    scores = {name: scored(condition, name) for name, condition in conditions.items()}
    check_losses_differ({name: each.nll for name, each in scores.items()}, f"the {task} ablation")
    return Ablation(
        task=task,
        examples=tuple(examples),
        from_dev=from_dev,
        media=tuple(content_key(e.input_ids[regions(e, space).media]) for e in examples),
        scores=scores,
        index={name: condition.index for name, condition in conditions.items()},
        null_gap=score.null_gap(conditions["correct"].items[:NULL_CONTROL_EXAMPLES], label=f"{task}: null control"),
        canary_gap=score.canary_gap,
    )


def check_losses_differ(losses: dict[str, np.ndarray], where: str) -> None:
    """Make sure that no two conditions have bit-equal losses throughout: that is a cache or a format bug.

    Raises:
        EvidenceError: two conditions have the same losses on every example.
    """
    names = list(losses)
    for i, name in enumerate(names):
        for other in names[:i]:
            if len(losses[name]) and np.array_equal(losses[name], losses[other]):
                raise EvidenceError(
                    where,
                    f"losses under {name!r} bit-equal to those under {other!r} on all {len(losses[name])} examples",
                    "different losses for different inputs",
                    "The condition never reached the model: look for a cache or a wrong mask.",
                )
