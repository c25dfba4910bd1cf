"""The scorer: teacher-forced negative log-likelihood of token sequences over their label positions.

Only label positions go through the head, in blocks of the vocabulary, so that logits of shape (batch, length,
vocabulary) never exist. The same pass tells how probability is spread over the parts of the vocabulary, and whether the
label was the most probable id.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from harness.batching import for_each_batch
from harness.head import through_head
from harness.model import backbone_and_head
from harness.progress import Listener, silent
from harness.vocabulary import Part


@dataclass(frozen=True)
class ScoreItem:
    """A sequence to score.

    Attributes:
        ids: (L,) int64.
        target: the half-open slice of `ids` that carries the loss; it cannot start at 0, which nothing predicts.
    """

    ids: np.ndarray
    target: slice


@dataclass(frozen=True)
class Scores:
    """What the scorer returns, in the order of the items. G is the number of names that the parts have.

    Attributes:
        names: (G,) str: `TEXT`, `SPECIAL`, `IMAGE`, `AUDIO_CB0` …; a label belongs to the part that holds its id.
        labels: (N, G) int64, how many labels belong to each.
        nll_sums: (N, G) float64, negative log-likelihood of those labels over the whole vocabulary, nats.
        nll_within_sums: (N, G) float64, the same over the label's own part alone: what is left when only that part may
            be chosen.
        hits: (N, G) int64, how many of those labels have the largest logit of the whole vocabulary.
        mass_outside: (N,) float64, mean probability outside the allowed parts at the labels that are allowed; NaN where
            there is none.
    """

    names: np.ndarray
    labels: np.ndarray
    nll_sums: np.ndarray
    nll_within_sums: np.ndarray
    hits: np.ndarray
    mass_outside: np.ndarray

    @property
    def nll(self) -> np.ndarray:
        """(N,) float64, mean negative log-likelihood per label, nats."""
        mean: np.ndarray = self.nll_sums.sum(1) / self.labels.sum(1)
        return mean

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, to be kept as evidence: `Scores(**arrays)` is the way back."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@torch.inference_mode()
def score(
    model: Any,
    items: Sequence[ScoreItem],
    *,
    parts: Sequence[Part],
    batch_tokens: int,
    listener: Listener = silent,
    label: str = "scoring",
) -> Scores:
    """Score sequences in batches of like length; the result does not depend on how they were batched.

    Args:
        model: a causal LM; it is put into eval mode.
        items: the sequences.
        parts: divide the rows of the head, in order (harness.vocabulary.parts_of).
        batch_tokens: padded tokens a batch may hold; one longer sequence makes a batch of its own. When memory runs
            out, it is halved.
        listener: is told of the progress under `label`.
        label: what the progress is called.

    Returns:
        Scores in input order; a result differs by no more than 1e-5 nats per token in float32 between two batchings.

    Raises:
        ValueError: a target is empty or starts at position 0.
        OutOfMemoryError: one sequence alone does not fit into memory.
    """
    for item in items:
        if not 0 < item.target.start < item.target.stop <= len(item.ids):
            raise ValueError(f"target {item.target} of {len(item.ids)} ids: nothing predicts the first token")
    backbone, head = backbone_and_head(model.eval())
    scores = _empty(len(items), parts)
    started = time.monotonic()
    listener(label, 0, len(items), 0.0)

    def work(batch: list[int]) -> None:
        hidden, labels, owner = _label_states(backbone, [items[i] for i in batch], head.device)
        _collect(scores, np.array(batch)[owner], hidden, labels, head, parts)

    for_each_batch(
        [len(item.ids) for item in items],
        batch_tokens,
        work,
        lambda done: listener(label, done, len(items), time.monotonic() - started),
    )
    return scores


def _empty(n: int, parts: Sequence[Part]) -> Scores:
    names = list(dict.fromkeys(part.name for part in parts))
    shape = n, len(names)
    return Scores(
        names=np.array(names),
        labels=np.zeros(shape, dtype=np.int64),
        nll_sums=np.full(shape, np.nan),
        nll_within_sums=np.full(shape, np.nan),
        hits=np.zeros(shape, dtype=np.int64),
        mass_outside=np.full(n, np.nan),
    )


def _label_states(
    backbone: Any, items: list[ScoreItem], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Hidden states that predict the labels (P, d), the labels (P,), and each position's row in the batch (P,)."""
    width = max(len(item.ids) for item in items)
    # Padding stands on the right of a causal model: no real position ever attends to it, so no mask is needed and the
    # result does not depend on the neighbours.
    input_ids = torch.zeros(len(items), width, dtype=torch.int64)
    for row, item in enumerate(items):
        input_ids[row, : len(item.ids)] = torch.from_numpy(item.ids)
    rows = np.concatenate([np.full(item.target.stop - item.target.start, row) for row, item in enumerate(items)])
    columns = np.concatenate([np.arange(item.target.start, item.target.stop) for item in items])
    labels = input_ids[rows, columns].to(device)
    states = backbone(input_ids=input_ids.to(device), use_cache=False).last_hidden_state  # (B, L, d)
    return states[torch.as_tensor(rows), torch.as_tensor(columns - 1)], labels, rows


def _collect(
    scores: Scores, owner: np.ndarray, hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, parts: Any
) -> None:
    """Fill in the rows of `scores` that the positions belong to; owner (P,) is the item of each position."""
    sums = through_head(hidden, labels, head, parts)
    total = np.logaddexp.reduce(sums.logsumexp, axis=1)  # (P,)
    part_of = np.searchsorted([part.stop for part in parts], labels.cpu().numpy(), side="right")
    group_of_part = np.array([int(np.flatnonzero(scores.names == part.name)[0]) for part in parts])
    group = group_of_part[part_of]
    own = np.full(len(owner), -np.inf)
    for number, of_part in enumerate(group_of_part):
        own = np.where(of_part == group, np.logaddexp(own, sums.logsumexp[:, number]), own)
    rows = np.unique(owner)
    for array in (scores.nll_sums, scores.nll_within_sums):
        array[rows] = 0.0
    at = owner, group
    for array in (scores.labels, scores.hits):
        array[rows] = 0
    np.add.at(scores.labels, at, 1)
    np.add.at(scores.nll_sums, at, total - sums.of_label)
    np.add.at(scores.nll_within_sums, at, own - sums.of_label)
    np.add.at(scores.hits, at, sums.of_label >= sums.largest)
    scores.mass_outside[rows] = _mass_outside(sums.logsumexp, total, part_of, owner, rows, parts)


def _mass_outside(
    logsumexp: np.ndarray, total: np.ndarray, part_of: np.ndarray, owner: np.ndarray, rows: np.ndarray, parts: Any
) -> np.ndarray:
    """(len(rows),) mean probability outside the allowed parts over each item's allowed labels; NaN without any."""
    allowed = np.array([part.allowed for part in parts])
    if not allowed.any():
        return np.full(len(rows), np.nan)
    # The sum of what is outside, not 1 minus what is inside, which would lose a small mass to rounding.
    outside = np.exp(logsumexp[:, ~allowed] - total[:, None]).sum(1)
    legal = allowed[part_of]
    index = np.searchsorted(rows, owner[legal])
    counts = np.bincount(index, minlength=len(rows))
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.bincount(index, outside[legal], minlength=len(rows)) / counts
    return mean
