"""Batches: sequences of one task at a time, padded on the right, with labels on the target block and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.examples import IGNORED, Example, build_sequence, regions
from harness.token_space import TokenSpace


@dataclass(frozen=True)
class TrainSequence:
    """One sequence to train on.

    Attributes:
        ids: (L,) int64.
        target_start: first label position; everything from there on carries the loss.
        emptied: the same target after an empty prompt, for prompt dropout; None where there is no prompt to drop.
    """

    ids: np.ndarray
    target_start: int
    emptied: "TrainSequence | None" = None


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences.

    Attributes:
        input_ids: (B, L) int64.
        labels: (B, L) int64, -100 outside the targets.
    """

    input_ids: Tensor
    labels: Tensor


def task_sequence(example: Example, space: TokenSpace) -> TrainSequence:
    """An example as a sequence; one that writes media also knows itself with an empty prompt."""
    found = regions(example, space)
    ids = example.input_ids
    if not example.writes:
        return TrainSequence(ids, found.target.start)
    without = build_sequence(example.task, [], ids[found.media], space)
    shorter = found.text.stop - found.text.start
    return TrainSequence(ids, found.target.start, TrainSequence(without, found.target.start - shorter))


def text_sequence(ids: np.ndarray, before: Sequence[int] | np.ndarray = ()) -> TrainSequence:
    """Plain text, (L,) ids: all are labels but what stands `before`, and a first id, which nothing predicts."""
    together = np.concatenate([np.asarray(before, dtype=np.int64), np.asarray(ids, dtype=np.int64)])
    return TrainSequence(together, max(1, len(before)))


def collate(sequences: Sequence[TrainSequence], pad_id: int) -> Batch:
    """Pad on the right to the longest sequence of the batch.

    A causal model never looks right, so padding needs no attention mask; it needs only to carry no label.
    """
    width = max(len(one.ids) for one in sequences)
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    labels = np.full((len(sequences), width), IGNORED, dtype=np.int64)
    for row, one in enumerate(sequences):
        ids[row, : len(one.ids)] = one.ids
        labels[row, one.target_start : len(one.ids)] = one.ids[one.target_start :]
    return Batch(torch.from_numpy(ids), torch.from_numpy(labels))


def batch_loss(backbone: nn.Module, head: nn.Module, batch: Batch) -> Tensor:
    """Mean negative log-likelihood over the labels of a batch, nats; a scalar.

    The head is applied at label positions only: over a large vocabulary it costs more than the backbone, and most
    positions of a read example carry no label.

    Args:
        backbone: ids to hidden states, as `Qwen3Model`.
        head: hidden states to logits.
    """
    hidden = backbone(input_ids=batch.input_ids[:, :-1], use_cache=False).last_hidden_state  # (B, L-1, d)
    labels = batch.labels[:, 1:]
    wanted = labels != IGNORED
    return cross_entropy(head(hidden[wanted]).float(), labels[wanted])


class Deck:
    """Sequences of one task, drawn without replacement and shuffled anew when used up."""

    def __init__(self, sequences: Sequence[TrainSequence], rng: np.random.Generator, prompt_dropout: float = 0.0):
        """prompt_dropout: probability that a sequence is drawn with its prompt emptied, where it has one."""
        self._sequences, self._rng, self._prompt_dropout = sequences, rng, prompt_dropout
        self._order: list[int] = []

    def draw(self, n: int) -> list[TrainSequence]:
        """The next n sequences."""
        while len(self._order) < n:
            self._order = [*self._rng.permutation(len(self._sequences)).tolist(), *self._order]
        return [self._with_dropout(self._sequences[self._order.pop()]) for _ in range(n)]

    def _with_dropout(self, one: TrainSequence) -> TrainSequence:
        # Without dropout an empty prompt is never seen in training, and its high loss says nothing about the prompt.
        if one.emptied is not None and self._rng.random() < self._prompt_dropout:
            return one.emptied
        return one
