"""The scorer: teacher-forced negative log-likelihood of token sequences over their label positions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.model import backbone_and_head
from harness.progress import Listener, silent, track

# Label positions whose logits are in memory at once; 256 positions of 164,021 float32 logits are 168 MB.
HEAD_CHUNK_POSITIONS = 256


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
    """What the scorer returns, in the order of the items.

    Attributes:
        nll: (N,) float64, mean negative log-likelihood per label, nats.
        mass_outside: (N,) float64, mean probability outside the allowed ids at the label positions whose label is an
            allowed id; NaN where no allowed ids were given.
    """

    nll: np.ndarray
    mass_outside: np.ndarray


@torch.inference_mode()
def score(
    model: Any,
    items: Sequence[ScoreItem],
    *,
    batch_tokens: int,
    allowed: np.ndarray | None = None,
    listener: Listener = silent,
    label: str = "scoring",
) -> Scores:
    """Score sequences in batches of like length.

    Args:
        model: a causal LM in eval mode.
        items: the sequences.
        batch_tokens: padded tokens a batch may hold; one longer sequence makes a batch of its own.
        allowed: ids against which `mass_outside` is measured.
        listener: is told of the progress under `label`.
        label: what the progress is called.

    Returns:
        Scores in input order; float64 sums of float32 log-probabilities.
    """
    backbone, head = backbone_and_head(model)
    allowed_ids = None if allowed is None else torch.as_tensor(np.asarray(allowed, np.int64), device=head.device)
    nll = np.full(len(items), np.nan)
    outside = np.full(len(items), np.nan)
    batches = list(_batches(items, batch_tokens))
    for batch in track(batches, len(batches), label, listener):
        hidden, labels, owner = _label_states(backbone, [items[i] for i in batch], head.device)
        losses, masses = _through_head(hidden, labels, head, allowed_ids)
        for row, index in enumerate(batch):
            mine = owner == row
            nll[index] = losses[mine].mean()
            at_codes = mine & np.isfinite(masses)
            outside[index] = masses[at_codes].mean() if at_codes.any() else np.nan
    return Scores(nll=nll, mass_outside=outside)


def _batches(items: Sequence[ScoreItem], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, so that memory runs out at once or not at all."""
    order = sorted(range(len(items)), key=lambda i: -len(items[i].ids))
    batch: list[int] = []
    for index in order:
        width = len(items[batch[0]].ids) if batch else len(items[index].ids)
        if batch and width * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


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
    if (columns == 0).any():
        raise ValueError("a target that starts at position 0: nothing predicts the first token")
    states = backbone(input_ids=input_ids.to(device), use_cache=False).last_hidden_state  # (B, L, d)
    labels = input_ids[rows, columns].to(device)
    return states[torch.as_tensor(rows), torch.as_tensor(columns - 1)], labels, rows


def _through_head(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, allowed: torch.Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (P,) and probability masses outside `allowed` (P,), NaN where the label itself is not allowed."""
    losses, masses = [], []
    for start in range(0, len(labels), HEAD_CHUNK_POSITIONS):
        part = labels[start : start + HEAD_CHUNK_POSITIONS]
        logits = (hidden[start : start + HEAD_CHUNK_POSITIONS] @ head.T).float()  # (P, V)
        total = logits.logsumexp(-1)
        losses.append((total - logits.gather(1, part[:, None])[:, 0]).double())
        if allowed is None:
            masses.append(torch.full_like(total, torch.nan).double())
            continue
        inside = (logits[:, allowed].logsumexp(-1) - total).double().exp()
        masses.append(torch.where(torch.isin(part, allowed), 1 - inside.clamp(max=1), torch.nan))
    return torch.cat(losses).cpu().numpy(), torch.cat(masses).cpu().numpy()
