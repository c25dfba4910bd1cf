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


class SplitTable(nn.Module):
    """A vocabulary table in two parts.

    Attributes:
        text: (V_text, d), frozen.
        new: (n, d), trainable.
    """

    text: Tensor

    def __init__(self, text: Tensor, new: nn.Parameter) -> None:
        super().__init__()
        self.register_buffer("text", text.detach(), persistent=False)
        self.new = new

    @property
    def weight(self) -> Tensor:
        """The whole table, (V_text + n, d)."""
        return torch.cat([self.text, self.new])


class SplitEmbedding(SplitTable):
    """Ids to vectors."""

    def forward(self, ids: Tensor) -> Tensor:
        """(...) int64 -> (..., d)."""
        return embedding(ids, self.weight)


class SplitHead(SplitTable):
    """Hidden states to logits."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., d) -> (..., V_text + n)."""
        return linear(hidden, self.weight)


@dataclass(frozen=True)
class NewRows:
    """The new rows of a checkpoint.

    Attributes:
        embeddings: (n, d).
        lm_head: (n, d); None where the head's rows are the embedding's.
    """

    embeddings: Tensor
    lm_head: Tensor | None


def load_base(folder: Path) -> Any:
    """A Hugging Face causal LM in float32, frozen, from a folder and from nowhere else.

    Raises:
        BundleError: the folder holds no model.
    """
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise BundleError(folder, "no config.json", "a Hugging Face model", "Run the step base, or correct the path.")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, attn_implementation="sdpa"
    )
    return model.eval().requires_grad_(False)


def attach_rows(model: Any, rows: NewRows, text_vocab_size: int) -> list[nn.Parameter]:
    """Extend a frozen model's tables by new rows, in place, and return these as the parameters to train.

    A base table longer than V_text (Qwen3 pads its own) is cut to V_text first, as the field does.
    Over a tied backbone the head's new rows follow the embedding's unless `rows.lm_head` is given.
    """
    text_in, text_out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    new_embedding = nn.Parameter(rows.embeddings.clone())
    new_head = new_embedding if rows.lm_head is None else nn.Parameter(rows.lm_head.clone())
    model.set_input_embeddings(SplitEmbedding(text_in[:text_vocab_size].clone(), new_embedding))
    model.set_output_embeddings(SplitHead(text_out[:text_vocab_size].clone(), new_head))
    model.config.vocab_size = model.vocab_size = text_vocab_size + len(new_embedding)
    return [new_embedding] if new_head is new_embedding else [new_embedding, new_head]


def rows_of(model: Any) -> NewRows:
    """The rows that `attach_rows` attached, as they are now."""
    table, head = tables_of(model)
    shared = head.new is table.new
    return NewRows(table.new.detach().clone(), None if shared else head.new.detach().clone())


def tables_of(model: Any) -> tuple[SplitEmbedding, SplitHead]:
    """The split tables of a model, an adapted one included."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return inner.get_input_embeddings(), inner.get_output_embeddings()
