"""Retrieval: among a few prompts, does the true one make what was written the most probable?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.conditions import content_key, correct_items, first_of_each, prompts_of, with_prompt
from harness.examples import Example, Task
from harness.scorer import Scorer
from harness.token_space import TokenSpace

RETRIEVAL_EXAMPLES = 64
CANDIDATES = 8  # the true prompt and seven others


@dataclass(frozen=True)
class Retrieval:
    """Ranks of the true prompts.

    Attributes:
        task: the task.
        candidates: how many prompts each example chose from, the true one included.
        ranks: (M,) float64, 1 where the true prompt has strictly the lowest loss; NaN where a loss is no number.
    """

    task: Task
    candidates: int
    ranks: np.ndarray

    @property
    def n(self) -> int:
        """How many examples were ranked."""
        return len(self.ranks)

    @property
    def hits(self) -> int:
        """How many true prompts came first; over `n`, this is recall@1."""
        return int((self.ranks == 1).sum())

    @property
    def chance(self) -> float:
        """Recall@1 of a model that does not look at the prompt."""
        return 1 / self.candidates

    @property
    def mean_rank(self) -> float:
        """From 1 to `candidates`; (candidates + 1) / 2 by chance."""
        return float(self.ranks.mean())


def retrieve(
    task: Task, examples: Sequence[Example], rng: np.random.Generator, score: Scorer, space: TokenSpace
) -> Retrieval:
    """Rank the true prompt of the first 64 write examples among 8 of different content, drawn from all examples.

    Fewer than 8 where the examples have fewer different prompts.

    Raises:
        ExampleError: all prompts are equal.
        EvidenceError: the canary disagrees.
    """
    prompts = prompts_of(examples, space)
    drawn = other_prompts(prompts, RETRIEVAL_EXAMPLES, CANDIDATES - 1, rng)  # (M, C - 1)
    asked = [(example, prompts[j]) for example, others in zip(examples, drawn, strict=False) for j in others]
    modality = examples[0].modality
    own = score(correct_items(examples, space), label=f"{task}: correct", modality=modality).nll[: len(drawn)]
    others = score(
        [with_prompt(example, prompt, space) for example, prompt in asked],
        label=f"{task}: retrieval",
        modality=modality,
    ).nll.reshape(drawn.shape)
    return Retrieval(task, drawn.shape[1] + 1, ranks_of(own, others))


def other_prompts(prompts: Sequence[np.ndarray], n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """For each of the first n prompts, k others: of other content than it, and than one another.

    Returns:
        (min(n, N), min(k, number of contents - 1)) int64, indices of prompts.

    Raises:
        ExampleError: all prompts are equal.
    """
    first = first_of_each(prompts, "prompts")
    distinct = np.array(list(first.values()))
    own = [first[content_key(ids)] for ids in prompts[:n]]
    size = min(k, len(distinct) - 1)
    return np.array([rng.choice(distinct[distinct != place], size, replace=False) for place in own], dtype=np.int64)


def ranks_of(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Ranks of the true prompts' losses own (M,) among those of others (M, C - 1); equal losses rank before it."""
    ranks = 1.0 + (others <= own[:, None]).sum(1)
    return np.where(np.isfinite(own) & np.isfinite(others).all(1), ranks, np.nan)
