"""Batches: sequences padded on the right, with labels on the target block and nowhere else, and their losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from harness.examples import IGNORED
from training.sequences import TrainSequence

# Logits held at once, in float32 numbers. A 2,048-id target over Qwen3's vocabulary and the media's has 340 million.
MAX_LOGITS = 2**26


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences.

    Attributes:
        input_ids: (B, L) int64.
        labels: (B, L) int64, -100 outside the targets.
    """

    input_ids: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Collator:
    """Sequences of a forward as tensors, for a DataLoader.

    Attributes:
        pad_id: the id that pads.
        weights: task of the mix -> weight of a sequence's loss, 1 where it is silent.
        tasks: the tasks of the mix, in the order of their numbers.
    """

    pad_id: int
    weights: Mapping[str, float]
    tasks: tuple[str, ...]

    def __call__(self, drawn: Sequence[tuple[TrainSequence, str]]) -> dict[str, Tensor]:
        """`input_ids` and `labels` (B, L), `weights` (B,) float32, `tasks` (B,) int64."""
        batch = collate([sequence for sequence, _ in drawn], self.pad_id)
        return {
            "input_ids": batch.input_ids,
            "labels": batch.labels,
            "weights": torch.tensor([self.weights.get(task, 1.0) for _, task in drawn], dtype=torch.float32),
            "tasks": torch.tensor([self.tasks.index(task) for _, task in drawn]),
        }


def text_sequence(ids: np.ndarray, before: Sequence[int] | np.ndarray = ()) -> TrainSequence:
    """Plain text, (L,) ids: all are labels but what stands `before`, and a first id, which nothing predicts."""
    together = np.concatenate([np.asarray(before, dtype=np.int64), np.asarray(ids, dtype=np.int64)])
    return TrainSequence(together, max(1, len(before)))


def labels_of_sequence(one: TrainSequence) -> np.ndarray:
    """(L,) int64: the ids from the target's start on, -100 before it."""
    labels = np.full(len(one.ids), IGNORED, dtype=np.int64)
    labels[one.target_start :] = one.ids[one.target_start :]
    return labels


def collate(sequences: Sequence[TrainSequence], pad_id: int) -> Batch:
    """Pad on the right to the longest sequence of the batch.

    A causal model never looks right, so padding needs no attention mask; it needs only to carry no label.
    """
    width = max(len(one.ids) for one in sequences)
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    labels = np.full((len(sequences), width), IGNORED, dtype=np.int64)
    for row, one in enumerate(sequences):
        ids[row, : len(one.ids)] = one.ids
        labels[row, : len(one.ids)] = labels_of_sequence(one)
    return Batch(torch.from_numpy(ids), torch.from_numpy(labels))


def sequence_nll(backbone: nn.Module, head: Any, input_ids: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence over its labels, nats; (B,).

    The head is applied at label positions only: over a large vocabulary it costs more than the backbone, and most
    positions of a read example carry no label.

    Args:
        backbone: ids to hidden states, as `Qwen3Model`.
        head: hidden states to logits; `out_features` says how many.
        input_ids: (B, L) int64.
        labels: (B, L) int64, -100 where there is no loss.
    """
    nll, rows = _label_nll(backbone, head, input_ids, labels)
    counts = torch.bincount(rows, minlength=len(labels)).clamp(min=1)
    return torch.zeros(len(labels), dtype=nll.dtype, device=nll.device).index_add(0, rows, nll) / counts


def batch_loss(backbone: nn.Module, head: Any, batch: Batch) -> Tensor:
    """Mean negative log-likelihood over all labels of a batch, nats; a scalar. Arguments as of `sequence_nll`."""
    return _label_nll(backbone, head, batch.input_ids, batch.labels)[0].mean()


def _label_nll(backbone: nn.Module, head: Any, input_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each label its loss, and the sequence that it belongs to; (P,) both."""
    hidden = backbone(input_ids=input_ids[:, :-1], use_cache=False).last_hidden_state  # (B, L-1, d)
    wanted = labels[:, 1:] != IGNORED
    states, targets = hidden[wanted], labels[:, 1:][wanted]  # (P, d), (P,)

    def nll(part: Tensor, ids: Tensor) -> Tensor:
        return cross_entropy(head(part).float(), ids, reduction="none")

    return _in_parts(nll, states, targets, head.out_features), wanted.nonzero()[:, 0]


def _in_parts(nll: Callable[[Tensor, Tensor], Tensor], states: Tensor, targets: Tensor, n_rows: int) -> Tensor:
    """The losses, a part at a time where all logits at once would not fit; these are then computed twice, not kept."""
    step = max(1, MAX_LOGITS // n_rows)
    if len(targets) <= step:
        return nll(states, targets)
    parts = zip(states.split(step), targets.split(step), strict=True)
    return torch.cat([checkpoint(nll, part, ids, use_reentrant=False) for part, ids in parts])
