"""Generation of media ids from golden prompts: free over the whole vocabulary, or constrained to the modality.

Each prompt is expected to yield its own number of ids, taken from its golden meta, never from one fixed maximum.
Prompts of any length share a batch: padded on the left, with a mask and positions of their own, so that none sees the
padding. Each has its own random generator. The ids therefore do not depend on who else is in the batch, up to ties of
two logits within the rounding of one matrix product.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.batching import for_each_batch
from harness.bundle import Decoding
from harness.constraint import Constraint
from harness.key_values import positions_that_fit, reserved_cache
from harness.model import backbone_and_head
from harness.progress import Listener, only_forward, silent
from harness.sampling import Sampling, draw
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
        name: for messages.
    """

    ids: np.ndarray
    expected: int
    seed: int
    name: str = "prompt"

    @property
    def longest(self) -> int:
        """Ids that its sequence may come to."""
        return len(self.ids) + self.expected + MARGIN_IDS


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
        For each prompt the ids written, (S,) int64, the end tag included where it came; in the order of the prompts.

    Raises:
        EvidenceError: constrained, and a prompt expects no whole number of frames; or nothing can be drawn.
        OutOfMemoryError: not even one sequence fits into memory.
    """
    constraint = Constraint(space, modality)
    if decoding == "constrained":
        for prompt in prompts:
            constraint.check_expected(prompt.expected, prompt.name)
    written: list[np.ndarray] = [np.zeros(0, dtype=np.int64)] * len(prompts)
    listener = only_forward(listener)
    finished = 0

    def tell(done: int) -> None:
        listener(label, done, len(prompts), 0.0)

    def work(pieces: list[list[int]]) -> None:
        batch = [number for piece in pieces for number in piece]
        rows = [_Row(prompts[i], np.random.default_rng(prompts[i].seed), []) for i in batch]
        # A batch on a GPU takes minutes: a step of it counts as a share of its sequences.
        steps = max(prompts[i].expected for i in batch) + MARGIN_IDS + 1
        _write(model, rows, constraint, decoding, sampling, lambda step: tell(finished + len(batch) * step // steps))
        for number, row in zip(batch, rows, strict=True):
            written[number] = np.array(row.ids, dtype=np.int64)

    def done(n: int) -> None:
        nonlocal finished
        finished = n
        tell(n)

    tell(0)
    backbone, head = backbone_and_head(model)
    budget = max(batch_tokens, positions_that_fit(backbone))
    for_each_batch([prompt.longest for prompt in prompts], budget, head.device, work, done)
    return written


@dataclass
class _Row:
    """One sequence under way."""

    prompt: Prompt
    rng: np.random.Generator
    ids: list[int]


class _Batch:
    """The rows under way, side by side in one key-value cache."""

    def __init__(self, model: Any, prompts: Sequence[Prompt]) -> None:
        self._backbone, self.head = backbone_and_head(model)
        device = self.head.device
        width = max(len(prompt.ids) for prompt in prompts)
        capacity = max(prompt.longest for prompt in prompts) + width
        ids, seen = np.zeros((2, len(prompts), width), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt.ids) :], seen[row, width - len(prompt.ids) :] = prompt.ids, 1
        self._fed = torch.from_numpy(ids).to(device)  # (B, ids not yet in the cache)
        mask = torch.from_numpy(seen).to(device)
        # The mask covers what is yet to come as well. Without padding there is none, which the attention is faster for.
        self._mask = None if seen.all() else torch.cat([mask, mask.new_ones((len(prompts), capacity - width))], 1)
        self._places = (mask.cumsum(1) - 1).clamp(min=0)  # (B, as many), each row's own positions
        self._cache = reserved_cache(self._backbone.config, capacity)
        self._length = 0

    def hidden(self) -> torch.Tensor:
        """The states that predict the next ids, (B, d)."""
        self._length += self._fed.shape[1]
        out = self._backbone(
            input_ids=self._fed,
            attention_mask=None if self._mask is None else self._mask[:, : self._length],
            position_ids=self._places,
            past_key_values=self._cache,
            use_cache=True,
        )
        return out.last_hidden_state[:, -1]

    def feed(self, ids: torch.Tensor) -> None:
        """Go on with these ids, (B,)."""
        self._fed, self._places = ids[:, None], self._places[:, -1:] + 1

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        chosen = torch.tensor(rows, device=self.head.device)
        self._fed, self._places = self._fed[chosen], self._places[chosen]
        self._mask = None if self._mask is None else self._mask[chosen]
        self._cache.batch_select_indices(chosen)


def _write(
    model: Any,
    rows: list[_Row],
    constraint: Constraint,
    decoding: Decoding,
    sampling: Sampling,
    tell: Callable[[int], None],
) -> None:
    """Continue rows until each is finished; those that are leave the batch. Tells of every position."""
    batch = _Batch(model, [row.prompt for row in rows])
    for position in itertools.count():
        going = [i for i, row in enumerate(rows) if not _finished(row, position, constraint, decoding)]
        if not going:
            return
        if len(going) < len(rows):
            rows = [rows[i] for i in going]
            batch.keep(going)
        codes = constraint.codes(position) if decoding == "constrained" else range(len(batch.head))
        ids = codes.start + _next(batch.hidden(), batch.head[codes.start : codes.stop], rows, sampling)
        for row, token_id in zip(rows, ids.tolist(), strict=True):
            row.ids.append(token_id)
        batch.feed(ids)
        tell(position)


def _finished(row: _Row, position: int, constraint: Constraint, decoding: Decoding) -> bool:
    """Whether nothing more is to be drawn; puts the end tag where it is the only id allowed."""
    if decoding == "free":
        return row.ids[-1:] == [constraint.end_id] or position >= row.prompt.expected + MARGIN_IDS
    if constraint.must_end(position, row.prompt.expected):
        row.ids.append(constraint.end_id)
        return True
    return False


def _next(hidden: torch.Tensor, head: torch.Tensor, rows: list[_Row], sampling: Sampling) -> torch.Tensor:
    """Indices drawn from the rows of a head, (B,). hidden: (B, d); head: (N, d), only the rows that may be drawn."""
    # The head stands on the left: with few columns that is the faster order of a product that memory bounds.
    logits = torch.mm(head, hidden.T).float()  # (N, B)
    if sampling.greedy:
        return logits.argmax(0)
    scores = logits.T.contiguous().cpu().numpy()
    drawn = [draw(of_row, sampling, row.rng) for row, of_row in zip(rows, scores, strict=True)]
    return torch.tensor(drawn, device=head.device)
