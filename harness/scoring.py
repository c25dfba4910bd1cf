"""The scorer: teacher-forced negative log-likelihood of token sequences over their label positions.

Only label positions go through the head, in blocks of the vocabulary, so that logits of shape (batch, length,
vocabulary) never exist. The same pass tells how probability is spread over the parts of the vocabulary, and whether the
label was the most probable id.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.batching import for_each_batch
from harness.head import HeadSums, through_head
from harness.lanes import lanes
from harness.model import backbone_and_head
from harness.progress import Listener, silent
from harness.scores import ScoreItem, Scores
from harness.vocabulary import Part


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
        Scores in input order; between two batchings a result differs by the rounding alone, in float32 by no more than
        1e-5 nats per token on a CPU (harness.canary says what was seen on a GPU).

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
    with lanes(head.device) as run:

        def work(batch: list[list[int]]) -> None:
            pieces = run(lambda piece: _label_states(backbone, [items[i] for i in piece], head.device), batch)
            hidden, labels = (torch.cat(column) for column in zip(*pieces, strict=True))
            order = [i for piece in batch for i in piece]
            owner = np.repeat(order, [items[i].target.stop - items[i].target.start for i in order])
            _collect(scores, owner, labels.cpu().numpy(), through_head(hidden, labels, head, parts, run), parts)

        for_each_batch(
            [_n_read(item) for item in items],
            batch_tokens,
            head.device,
            work,
            lambda done: listener(label, done, len(items), time.monotonic() - started),
        )
    return scores


def _n_read(item: ScoreItem) -> int:
    """Ids that the model reads: what comes after the last label's predecessor changes nothing in a causal model."""
    return item.target.stop - 1


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


def _label_states(backbone: Any, items: list[ScoreItem], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states that predict the labels of the items, in order (P, d), and the labels (P,)."""
    # Padding stands on the right of a causal model: no real position ever attends to it, so no mask is needed and the
    # result does not depend on the neighbours.
    input_ids = torch.zeros(len(items), max(map(_n_read, items)), dtype=torch.int64)
    for row, item in enumerate(items):
        input_ids[row, : _n_read(item)] = torch.from_numpy(item.ids[: _n_read(item)])
    states = backbone(input_ids=input_ids.to(device), use_cache=False).last_hidden_state  # (B, L, d)
    labels = torch.from_numpy(np.concatenate([item.ids[item.target] for item in items]))
    wanted = [states[row, item.target.start - 1 : item.target.stop - 1] for row, item in enumerate(items)]
    return torch.cat(wanted), labels.to(device)


@np.errstate(invalid="ignore")  # a model that computes NaN has NaN for a score
def _collect(scores: Scores, owner: np.ndarray, labels: np.ndarray, sums: HeadSums, parts: Sequence[Part]) -> None:
    """Fill in the rows of `scores` that the positions belong to; owner (P,) is the item of each position."""
    total = np.logaddexp.reduce(sums.logsumexp, axis=1)  # (P,)
    part_of = np.searchsorted([part.stop for part in parts], labels, side="right")
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
    logsumexp: np.ndarray,
    total: np.ndarray,
    part_of: np.ndarray,
    owner: np.ndarray,
    rows: np.ndarray,
    parts: Sequence[Part],
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
    mean: np.ndarray = np.bincount(index, outside[legal], minlength=len(rows)) / counts
    return mean
