"""The output head in vocabulary blocks: log-sum-exps over parts of the vocabulary, without ever holding its logits.

A block of logits stays in the processor's cache while it is reduced. Whole-vocabulary chunks of logits go to memory and
back several times, which costs more than the matrix product itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.lanes import Run, in_turn
from harness.vocabulary import Part

# Rows of the head and positions whose logits are held at once. 512 x 512 float32 are 1 MB, the second-level cache of a
# core; a GPU wants kernels that fill it, and has the 100 MB that they take.
BLOCK_ROWS = {"cpu": 512, "cuda": 8192}
BLOCK_POSITIONS = {"cpu": 512, "cuda": 2048}
SPANS = 16  # pieces of work that the blocks are divided into: enough for many cores, and all of them alike


@dataclass(frozen=True)
class HeadSums:
    """What is left of the logits of P positions.

    Attributes:
        logsumexp: (P, n_parts) float64, over the rows of each part.
        largest: (P,) float32, the largest logit of the whole vocabulary.
        of_label: (P,) float32, the label's logit, out of the same matrix product.
    """

    logsumexp: np.ndarray
    largest: np.ndarray
    of_label: np.ndarray


@dataclass(frozen=True)
class _Block:
    """Consecutive rows of the head, all of one part."""

    part: int
    start: int
    stop: int


def through_head(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, parts: Sequence[Part], run: Run = in_turn
) -> HeadSums:
    """Reduce the logits of some positions.

    Args:
        hidden: (P, d) states that predict the labels.
        labels: (P,) int64.
        head: (V, d) the head's weight.
        parts: divide the V rows, in order.
        run: works through the pieces.

    Returns:
        Sums of float32 exponentials, a block at a time, combined in float64.
    """
    rows, positions = BLOCK_ROWS[head.device.type], BLOCK_POSITIONS[head.device.type]
    blocks = [
        _Block(number, start, min(start + rows, part.stop))
        for number, part in enumerate(parts)
        for start in range(part.start, part.stop, rows)
    ]
    tiles = [
        _tile(states, ids, head, blocks, run)
        for states, ids in zip(hidden.split(positions), labels.split(positions), strict=True)
    ]
    return HeadSums(*(np.concatenate(column) for column in zip(*tiles, strict=True)))


def _tile(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, blocks: list[_Block], run: Run
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three fields of HeadSums for positions few enough to be held at once."""
    states = hidden.T.contiguous()  # (d, P)
    of_label = states.new_empty(len(labels), dtype=torch.float32)
    order = labels.argsort()
    ends = torch.searchsorted(labels[order], torch.tensor([block.stop for block in blocks], device=labels.device))
    owned = list(zip(blocks, order.tensor_split(ends[:-1].cpu()), strict=True))  # each with its labels' positions
    per_span = -(-len(owned) // SPANS)
    spans = [owned[start : start + per_span] for start in range(0, len(owned), per_span)]
    reduced = run(lambda span: _span(states, labels, head, span, of_label), spans)
    tops, sums = (torch.cat(column) for column in zip(*reduced, strict=True))  # (n_blocks, P)
    of_block = tops.double() + sums.double().log()
    part_of = torch.tensor([block.part for block in blocks])
    whole = torch.stack([of_block[part_of == number].logsumexp(0) for number in range(blocks[-1].part + 1)], 1)
    return whole.cpu().numpy(), tops.amax(0).cpu().numpy(), of_label.cpu().numpy()


def _span(
    states: torch.Tensor,
    labels: torch.Tensor,
    head: torch.Tensor,
    span: list[tuple[_Block, torch.Tensor]],
    of_label: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each block its largest logit and the sum of exponentials below it, (n, P) both; puts the labels' logits in."""
    width = states.shape[1]
    # One buffer for all blocks: fresh ones would be paged in by the kernel again and again. The head stands on the left
    # because reducing over rows is the faster direction.
    held = states.new_empty((max(block.stop - block.start for block, _ in span), width))
    tops = states.new_empty((len(span), width), dtype=torch.float32)
    sums = torch.empty_like(tops)
    for i, (block, mine) in enumerate(span):
        rows = head[block.start : block.stop]
        logits = torch.mm(rows, states, out=held[: len(rows)]).float()  # (rows, P)
        of_label[mine] = logits[labels[mine] - block.start, mine]
        torch.amax(logits, 0, out=tops[i])
        torch.sum(logits.sub_(tops[i]).exp_(), 0, out=sums[i])
    return tops, sums
