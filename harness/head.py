"""The output head in vocabulary blocks: log-sum-exps over parts of the vocabulary, without ever holding its logits.

A block of logits stays in the processor's cache while it is reduced. Whole-vocabulary chunks of logits go to memory and
back several times, which costs more than the matrix product itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.vocabulary import Part

# Rows of the head and positions whose logits are held at once: 1,024 x 512 float32 are 2 MB, a share of the cache.
BLOCK_ROWS = 1024
BLOCK_POSITIONS = 512


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


def through_head(hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, parts: Sequence[Part]) -> HeadSums:
    """Reduce the logits of some positions.

    Args:
        hidden: (P, d) states that predict the labels.
        labels: (P,) int64.
        head: (V, d) the head's weight.
        parts: divide the V rows, in order.

    Returns:
        Sums of float32 exponentials, a block at a time, combined in float64.
    """
    tiles = [
        _tile(hidden[start : start + BLOCK_POSITIONS], labels[start : start + BLOCK_POSITIONS], head, parts)
        for start in range(0, len(labels), BLOCK_POSITIONS)
    ]
    return HeadSums(*(np.concatenate(column) for column in zip(*tiles, strict=True)))


def _tile(
    hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, parts: Sequence[Part]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blocks = [
        (number, start, min(start + BLOCK_ROWS, part.stop))
        for number, part in enumerate(parts)
        for start in range(part.start, part.stop, BLOCK_ROWS)
    ]
    tops = hidden.new_empty((len(blocks), len(labels)), dtype=torch.float32)
    sums = torch.empty_like(tops)
    of_label = hidden.new_empty(len(labels), dtype=torch.float32)
    order = labels.argsort()
    edges = torch.searchsorted(labels[order], torch.tensor([b[1] for b in blocks] + [len(head)], device=labels.device))
    owned = edges.tolist()
    for i, (_, start, stop) in enumerate(blocks):
        logits = (hidden @ head[start:stop].T).float()  # (P, rows)
        if owned[i + 1] > owned[i]:
            mine = order[owned[i] : owned[i + 1]]
            of_label[mine] = logits[mine, labels[mine] - start]
        torch.amax(logits, 1, out=tops[i])
        torch.sum(logits.sub_(tops[i, :, None]).exp_(), 1, out=sums[i])
    of_block = tops.double() + sums.double().log()
    owners = torch.tensor([block[0] for block in blocks])
    whole = torch.stack([of_block[owners == number].logsumexp(0) for number in range(len(parts))], 1)  # (P, n_parts)
    return whole.cpu().numpy(), tops.amax(0).cpu().numpy(), of_label.cpu().numpy()
