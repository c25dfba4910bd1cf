"""How far a checkpoint's text logits lie from its base's, a block of the vocabulary at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from harness.evidence import Arrays
from harness.model import backbone_and_head

# Rows of the head and positions whose logits are held at once: 8 MB of each model's in float32.
BLOCK_ROWS, BLOCK_POSITIONS = 4096, 512


@torch.inference_mode()
def text_logit_gaps(
    load_base: Callable[[], Any], load_ours: Callable[[], Any], sequences: Sequence[np.ndarray], n_text: int
) -> Arrays:
    """Compare the text logits of two models on the same sequences.

    One model is in memory at a time. What stays of the base is its hidden states and its head.

    Args:
        load_base, load_ours: give the models.
        sequences: (L,) ids each, L >= 2.
        n_text: rows of the head that are text's.

    Returns:
        `largest` (K,) and `rows` (K,), as in text_regression.TextLogitGap.
    """
    theirs, their_head = _states(load_base(), sequences, n_text)
    ours, our_head = _states(load_ours(), sequences, n_text)
    tiles = [
        _tile(ours[start : start + BLOCK_POSITIONS], theirs[start : start + BLOCK_POSITIONS], our_head, their_head)
        for start in range(0, len(ours), BLOCK_POSITIONS)
    ]
    largest, rows = (torch.cat(column).cpu() for column in zip(*tiles, strict=True))  # (P,)
    found = [each.max(0) for each in largest.split([len(ids) - 1 for ids in sequences])]
    ends = np.cumsum([0, *(len(ids) - 1 for ids in sequences)])
    at = [int(start + each.indices) for start, each in zip(ends, found, strict=False)]
    return {"largest": np.array([float(each.values) for each in found]), "rows": rows[at].numpy()}


def _states(model: Any, sequences: Sequence[np.ndarray], n_text: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of every position that predicts a token, (P, d), and the head's text rows, (n_text, d)."""
    backbone, head = backbone_and_head(model.eval())
    # Each sequence alone: both models must see the same shapes, for which kernels round alike.
    states = [
        backbone(input_ids=torch.from_numpy(ids[None, :-1]).to(head.device), use_cache=False).last_hidden_state[0]
        for ids in sequences
    ]
    return torch.cat(states), head[:n_text]


def _tile(
    ours: torch.Tensor, theirs: torch.Tensor, our_head: torch.Tensor, their_head: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For some positions (P, d), the largest difference of a text logit, and in which row; (P,) each."""
    tops, rows = [], []
    for start in range(0, len(our_head), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        difference = (ours @ our_head[block].T).float().sub_((theirs @ their_head[block].T).float()).abs_()
        top = difference.max(1)  # of a NaN, that
        tops.append(top.values)
        rows.append(top.indices + start)
    best = torch.stack(tops).max(0)
    return best.values, torch.stack(rows).gather(0, best.indices[None])[0]
