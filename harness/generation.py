"""Generation of media ids from golden prompts: free over the whole vocabulary, or constrained to the modality.

Each prompt is expected to yield its own number of ids, taken from its golden meta, never from one fixed maximum.
Prompts of equal length share a batch, so no padding is seen by the model; each example has its own random generator, so
results do not depend on the batch.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.bundle import Decoding
from harness.model import backbone_and_head
from harness.progress import Listener, silent
from harness.sampling import Sampling
from harness.token_space import Modality, TokenSpace

# Free generation may run this far past the expected length before it is cut off, so that a late end tag is seen.
MARGIN_IDS = 16


@dataclass(frozen=True)
class Prompt:
    """What to continue.

    Attributes:
        ids: (L,) int64, up to and including the block's start tag.
        expected: how many media ids the golden meta says.
        seed: of this example's own generator.
    """

    ids: np.ndarray
    expected: int
    seed: int


@dataclass
class _Row:
    """One sequence under way."""

    prompt: Prompt
    rng: np.random.Generator
    ids: list[int]
    done: bool = False


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Prompt],
    modality: Modality,
    space: TokenSpace,
    *,
    decoding: Decoding,
    sampling: Sampling,
    batch_tokens: int,
    listener: Listener = silent,
    label: str = "generating",
) -> list[np.ndarray]:
    """Continue each prompt until its end tag.

    Constrained: at position p only the range whose turn it is, until the expected count, then the end tag.
    Free: over the whole vocabulary, until the end tag or the expected count and a margin.

    Returns:
        For each prompt the ids written, the end tag included where it came; in the order of the prompts.
    """
    rows = [_Row(prompt, np.random.default_rng(prompt.seed), []) for prompt in prompts]
    by_shape: dict[tuple[int, int], list[_Row]] = defaultdict(list)
    for row in rows:
        by_shape[len(row.prompt.ids), row.prompt.expected].append(row)
    done = 0
    listener(label, 0, len(rows), 0.0)
    for (length, expected), group in by_shape.items():
        size = max(1, batch_tokens // (length + expected + MARGIN_IDS))
        for start in range(0, len(group), size):
            batch = group[start : start + size]
            _continue(model, batch, modality, space, decoding, sampling)
            done += len(batch)
            listener(label, done, len(rows), 0.0)
    return [np.array(row.ids, dtype=np.int64) for row in rows]


def _continue(
    model: Any, batch: list[_Row], modality: Modality, space: TokenSpace, decoding: Decoding, sampling: Sampling
) -> None:
    backbone, head = backbone_and_head(model)
    expected = batch[0].prompt.expected
    steps = expected + 1 if decoding == "constrained" else expected + MARGIN_IDS
    end_id = space.end_id(modality)
    fed = torch.from_numpy(np.stack([row.prompt.ids for row in batch])).to(head.device)
    cache = None
    for position in range(steps):
        out = backbone(input_ids=fed, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        allowed = _allowed(position, expected, modality, space) if decoding == "constrained" else None
        hidden = out.last_hidden_state[:, -1]  # (B, d)
        rows = head if allowed is None else head[allowed.start : allowed.stop]
        logits = (hidden @ rows.T).float().cpu().numpy()  # (B, V), or only the rows that may be emitted
        offset = 0 if allowed is None else allowed.start
        for row, scores in zip(batch, logits, strict=True):
            if not row.done:
                row.ids.append(offset + _draw(scores, sampling, row.rng))
                row.done = row.ids[-1] == end_id
        if all(row.done for row in batch):
            return
        fed = torch.tensor([[row.ids[-1]] for row in batch], device=head.device)


def _allowed(position: int, expected: int, modality: Modality, space: TokenSpace) -> range:
    if position >= expected:
        end_id = space.end_id(modality)
        return range(end_id, end_id + 1)
    turn = space.range_at(modality, position)
    return range(turn.start, turn.end + 1)


def _draw(scores: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> int:
    """An index drawn from logits, (V,) float32."""
    if not sampling.do_sample or sampling.temperature == 0:
        return int(scores.argmax())
    order = np.argsort(-scores, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    kept = scores[order].astype(np.float64) / sampling.temperature
    probabilities = np.exp(kept - kept.max())
    probabilities /= probabilities.sum()
    # The id that crosses top_p is kept, so that at least one always is.
    before = np.cumsum(probabilities) - probabilities
    probabilities = np.where(before < sampling.top_p, probabilities, 0.0)
    return int(order[rng.choice(len(order), p=probabilities / probabilities.sum())])
