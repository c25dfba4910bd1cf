"""The constraint for a user's own `model.generate`, as a LogitsProcessor of transformers; see docs/generation.md.

It holds no state: position and turn follow from how many ids are there, so that it works with batches padded on the
left, beams, several sequences a prompt, sampling, and from one call of `generate` to the next.
"""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from harness.constraint import Constraint
from harness.errors import EvidenceError
from harness.token_space import Modality, TokenSpace


class ModalityLogitsProcessor(LogitsProcessor):
    """Leaves only ids that decode: the codes whose turn it is, and the end tag where a frame is whole.

    Args:
        space: the checkpoint's token space.
        modality: `audio` or `image`: what is to be written.
        prompt_length: columns of the `input_ids` given to `generate`, left padding included; the last one holds the
            start tag. 0 where only `inputs_embeds` are given.
        expected: how many codes to write, for all prompts or for each; then the end tag and nothing else. None for
            sounds that end where the model ends them; a picture then has the `n_tokens` of the token space, where
            that declares them.

    Raises:
        EvidenceError: an expected count is no whole number of frames.
    """

    def __init__(
        self,
        space: TokenSpace,
        modality: Modality,
        prompt_length: int,
        expected: int | Sequence[int] | None = None,
    ) -> None:
        self.constraint = Constraint(space, modality)
        self.prompt_length = prompt_length
        if expected is None and modality == "image":
            expected = space.image_tokenizer.get("n_tokens")
        self.expected: list[int | None] = list(expected) if isinstance(expected, Sequence) else [expected]
        for number, count in enumerate(self.expected):
            if count is not None:
                self.constraint.check_expected(count, f"expected count {number}")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores, (rows, V), with -inf for every id that may not come next. input_ids: (rows, L).

        Raises:
            EvidenceError: there is no expected count for each prompt, or the model has no row for an id.
        """
        n_rows, n_ids = scores.shape
        position = input_ids.shape[1] - self.prompt_length
        self._check(n_rows, n_ids, position)
        rows_each = n_rows // len(self.expected)  # beams, or sequences returned: those of one prompt lie together
        left = torch.full_like(scores, float("-inf"))
        for number, expected in enumerate(self.expected):
            rows = slice(number * rows_each, (number + 1) * rows_each)
            for ids in self.constraint.allowed(position, expected):
                left[rows, ids.start : ids.stop] = scores[rows, ids.start : ids.stop]
        return left

    def _check(self, n_rows: int, n_ids: int, position: int) -> None:
        fix = "Make a processor for this batch: prompt_length is input_ids.shape[1], left padding included."
        if position < 0:
            found = f"input_ids of {position + self.prompt_length} columns"
            raise EvidenceError("ModalityLogitsProcessor", found, f"at least {self.prompt_length}", fix)
        if n_rows % len(self.expected):
            raise EvidenceError(
                "ModalityLogitsProcessor", f"{n_rows} rows", f"a multiple of {len(self.expected)} expected counts", fix
            )
        if n_ids < self.constraint.space.vocab_size_total:
            raise EvidenceError(
                "ModalityLogitsProcessor",
                f"logits of {n_ids} ids",
                f"at least {self.constraint.space.vocab_size_total}, as the token space says",
                "Use the model that the token space belongs to, with its new rows.",
            )
