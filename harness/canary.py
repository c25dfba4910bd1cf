"""The canary: a few examples scored again alone. A score that depends on its batch is no measurement."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.errors import EvidenceError
from harness.model import backbone_and_head
from harness.scores import ScoreItem, Scores
from harness.scoring import score
from harness.vocabulary import Part

CANARY_EXAMPLES = 8

# How far two batchings of one sequence may lie apart, nats per label. float32: rounding of sums in another order.
# bfloat16 keeps 8 bits of a logit, float16 keeps 11: a logit of 16 is known to 0.06 and 0.008.
TOLERANCE_NATS = {"float32": 1e-5, "bfloat16": 0.05, "float16": 0.01}
# A GPU has other kernels for other sizes of a batch, and every layer adds their rounding. Seen on an H200 with a random
# model of Qwen3-8B's shape, labels of 8 to 33: 3.6e-5 in float32, 0.037 in bfloat16. Rows in each other's
# place cost the demo 1 to 14 nats; a tenth of a neighbour in each 0.001 to 0.13, most of which bfloat16 cannot tell.
GPU_TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.2, "float16": 0.03}


def tolerance_nats(dtype: str, device: torch.device) -> float:
    """How far two batchings of one sequence may lie apart there, nats per label."""
    return (TOLERANCE_NATS if device.type == "cpu" else GPU_TOLERANCE_NATS)[dtype]


def check_alone(
    model: Any, items: Sequence[ScoreItem], scores: Scores, *, parts: Sequence[Part], dtype: str, where: str
) -> float:
    """Score eight of the items again, each in a batch of its own and in input order.

    Returns:
        The largest difference, nats per label.

    Raises:
        EvidenceError: they differ by more than the precision explains, or one is NaN and the other is not.
    """
    chosen = np.unique(np.linspace(0, len(items) - 1, min(CANARY_EXAMPLES, len(items))).round().astype(int))
    alone = np.array([score(model, [items[i]], parts=parts, batch_tokens=1).nll[0] for i in chosen])
    together = scores.nll[chosen]
    allowed = tolerance_nats(dtype, backbone_and_head(model)[1].device)
    agree = np.isclose(alone, together, rtol=0, atol=allowed, equal_nan=True)
    if not agree.all():
        worst = int(np.argmax(np.where(agree, 0, np.nan_to_num(np.abs(alone - together), nan=np.inf))))
        raise EvidenceError(
            where,
            f"sequence {chosen[worst]}: {together[worst]:.7g} nats per token in a batch, {alone[worst]:.7g} alone",
            f"the same within {allowed:g} in {dtype}",
            "The scores depend on the batch: look for left padding, dropout, or a kernel that mixes rows.",
        )
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(alone - together)).max(initial=0.0))
