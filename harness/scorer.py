"""Scores as evidence: what was scored before with the same weights is found, everything else is scored and checked."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.evidence import Arrays, EvidenceStore
from harness.progress import Listener
from harness.scores import ScoreItem, Scores
from harness.token_space import Modality, TokenSpace
from harness.vocabulary import parts_of


@dataclass
class Scorer:
    """Scores sequences with one model.

    Attributes:
        model: loads the model, when first needed.
        provenance: what the figures depend on beside the sequences: weights, token space, precision, device.
        evidence: where scores are kept, by what was scored.
        space: divides the vocabulary.
        dtype: name of the precision, which says how far the canary may be off.
        batch_tokens: padded tokens a batch may hold.
        listener: is told of the progress.
        canary_gap: the largest difference that the canary has found so far, nats per token.
    """

    model: Callable[[], Any]
    provenance: dict[str, Any]
    evidence: EvidenceStore
    space: TokenSpace
    dtype: str
    batch_tokens: int
    listener: Listener
    canary_gap: float = 0.0

    def __call__(self, items: Sequence[ScoreItem], *, label: str, modality: Modality | None = None) -> Scores:
        """Scores of the items, in their order.

        Args:
            items: the sequences.
            label: what the progress and the evidence file are called; no part of what is looked for.
            modality: what is written, for the probability outside its ranges; None for text.

        Raises:
            EvidenceError: the canary disagrees, or memory does not hold one sequence.
        """
        provenance = self.provenance | {
            "measurement": "scores",
            "sequences_sha256": sequences_sha256(items),
            "n": len(items),
            "modality": modality,
        }
        arrays = self.evidence.get(provenance, lambda: self._score(items, modality, label), label)
        self.canary_gap = max(self.canary_gap, float(arrays.pop("canary_gap")))
        return Scores(**arrays)

    def null_gap(self, items: Sequence[ScoreItem], *, label: str) -> float:
        """The largest difference between the losses of the same sequences scored twice, nats per label."""
        provenance = self.provenance | {"measurement": "null", "sequences_sha256": sequences_sha256(items)}

        def measure() -> Arrays:
            first, second = (self._score(items, None, label)["nll_sums"] for _ in range(2))
            return {"gap": np.abs(first - second).max()}

        return float(self.evidence.get(provenance, measure, label)["gap"])

    def _score(self, items: Sequence[ScoreItem], modality: Modality | None, label: str) -> Arrays:
        # Imported here: whoever finds all scores does not wait for torch.
        from harness.canary import check_alone
        from harness.model import backbone_and_head
        from harness.scoring import score

        model = self.model()
        parts = parts_of(self.space, len(backbone_and_head(model)[1]), modality)
        scores = score(
            model, items, parts=parts, batch_tokens=self.batch_tokens, listener=self.listener, label=label
        )  # fmt: skip
        gap = check_alone(model, items, scores, parts=parts, dtype=self.dtype, where=label)
        return scores.arrays() | {"canary_gap": np.array(gap)}


def sequences_sha256(items: Sequence[ScoreItem]) -> str:
    """SHA-256 hex over the ids and targets of sequences, in order."""
    digest = hashlib.sha256()
    for item in items:
        head = np.array([len(item.ids), item.target.start, item.target.stop], dtype="<i8")
        digest.update(head.tobytes() + item.ids.astype("<i8").tobytes())
    return digest.hexdigest()
