"""New vocabulary rows as parameters of their own, over text tables that no optimiser is given.

A table is `cat(text, new)`: the text rows are a buffer, so neither weight decay nor a stray gradient can move them.
A gradient mask over one big table would not do: AdamW decays rows whose gradient is zero.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from harness.errors import BundleError
from harness.model import backbone_and_head


class SplitTable(nn.Module):
    """A vocabulary table in two parts.

    Attributes:
        text: (V_text, d), frozen.
        new: (n, d), trainable; its type may be wider than the text rows', whose type is that of all results.
    """

    text: Tensor

    def __init__(self, text: Tensor, new: nn.Parameter) -> None:
        super().__init__()
        self.register_buffer("text", text.detach(), persistent=False)
        self.new = new

    @property
    def weight(self) -> Tensor:
        """The whole table, (V_text + n, d)."""
        return torch.cat([self.text, self.new.to(self.text.dtype)])


class SplitEmbedding(SplitTable):
    """Ids to vectors."""

    def forward(self, ids: Tensor) -> Tensor:
        """(...) int64 -> (..., d)."""
        # Both tables are looked up everywhere, rather than joined: joining would copy the whole table in every step.
        n_text = len(self.text)
        is_new = ids >= n_text
        text = embedding(ids.masked_fill(is_new, 0), self.text)
        new = embedding((ids - n_text).clamp(min=0), self.new).to(text.dtype)
        return torch.where(is_new[..., None], new, text)


class SplitHead(SplitTable):
    """Hidden states to logits."""

    @property
    def out_features(self) -> int:
        """Rows of the whole table."""
        return len(self.text) + len(self.new)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., d) -> (..., V_text + n)."""
        return torch.cat([linear(hidden, self.text), linear(hidden, self.new.to(hidden.dtype))], dim=-1)


@dataclass(frozen=True)
class NewRows:
    """The new rows of a checkpoint.

    Attributes:
        embeddings: (n, d).
        lm_head: (n, d); None where the head's rows are the embedding's.
    """

    embeddings: Tensor
    lm_head: Tensor | None


def load_base(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A Hugging Face causal LM, frozen, from a folder and from nowhere else.

    Raises:
        BundleError: the folder holds no model, or one whose logits are not its head times its hidden states.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # training has a progress bar of its own
    if not (folder / "config.json").is_file():
        raise BundleError(folder, "no config.json", "a Hugging Face model", "Run the step base, or correct the path.")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
    )
    backbone_and_head(model)  # refused here, not after days: the scorer could not judge it
    return model.eval().requires_grad_(False)


def attach_rows(
    model: Any, rows: NewRows, text_vocab_size: int, *, dtype: torch.dtype = torch.float32, train_head: bool = True
) -> dict[str, nn.Parameter]:
    """Extend a frozen model's tables by new rows, in place.

    A base table longer than V_text (Qwen3 pads its own) is cut to V_text first, as the field does; a token space whose
    V_text counts the padding keeps it. Over a tied backbone the head's new rows follow the embedding's unless
    `rows.lm_head` is given.

    Args:
        model: a causal LM.
        rows: the new rows.
        text_vocab_size: V_text.
        dtype: of the new rows; float32 keeps updates that a narrower type would round away.
        train_head: whether head rows of their own train.

    Returns:
        What is to be trained: `embeddings`, and `lm_head` where the head has rows of its own that train.
    """
    text_in, text_out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    new_embedding = nn.Parameter(rows.embeddings.to(dtype, copy=True))
    new_head = new_embedding
    if rows.lm_head is not None:
        new_head = nn.Parameter(rows.lm_head.to(dtype, copy=True), requires_grad=train_head)
    text_rows = text_in[:text_vocab_size].clone()
    head_rows = text_rows if text_out is text_in else text_out[:text_vocab_size].clone()
    model.set_input_embeddings(SplitEmbedding(text_rows, new_embedding))
    model.set_output_embeddings(SplitHead(head_rows, new_head))
    model.config.vocab_size = model.vocab_size = text_vocab_size + len(new_embedding)
    trained = {"embeddings": new_embedding}
    return trained if new_head is new_embedding or not train_head else trained | {"lm_head": new_head}


def tables_of(model: Any) -> tuple[SplitEmbedding, SplitHead]:
    """The split tables of a model, an adapted one included."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return inner.get_input_embeddings(), inner.get_output_embeddings()
