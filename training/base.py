"""The text backbone: a small Qwen3, trained from scratch on the run's text, saved as a Hugging Face folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.batches import batch_loss, collate
from training.recipe import BaseRecipe, Recipe
from training.schedule import share_of_peak
from training.sequences import TrainSequence
from training.steps import new_folder, progress
from training.text import line_sequences, save_tokenizer, text_corpus, train_tokenizer

_LR_FLOOR = 0.05  # share of the peak that the cosine ends at
_MAX_POSITIONS = 512


class Deck:
    """Sequences, drawn without replacement and shuffled anew when used up."""

    def __init__(self, sequences: Sequence[TrainSequence], rng: np.random.Generator) -> None:
        self._sequences, self._rng = sequences, rng
        self._order: list[int] = []

    def draw(self, n: int) -> list[TrainSequence]:
        """The next n sequences."""
        while len(self._order) < n:
            self._order = [*self._rng.permutation(len(self._sequences)).tolist(), *self._order]
        return [self._sequences[self._order.pop()] for _ in range(n)]


def run_base(folder: Path, recipe: Recipe) -> None:
    """Train tokenizer and backbone and write them into one folder."""
    corpus = text_corpus(recipe)
    tokenizer = train_tokenizer((line for lines in corpus.values() for line in lines), recipe.text.vocab_size)
    encoded = {group: line_sequences(tokenizer, lines, recipe.text) for group, lines in corpus.items()}
    model = new_backbone(tokenizer.get_vocab_size(), recipe.base, recipe.seed)
    pretrain(model, encoded, recipe.base, np.random.default_rng([recipe.seed, 4]))
    with new_folder(folder) as fresh:
        model.save_pretrained(fresh)
        save_tokenizer(tokenizer, fresh)


def new_backbone(vocab_size: int, recipe: BaseRecipe, seed: int) -> Any:
    """An untrained Qwen3ForCausalLM."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab_size, hidden_size=recipe.hidden, intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim, max_position_embeddings=_MAX_POSITIONS, tie_word_embeddings=recipe.tied,
        attn_implementation="sdpa", bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def pretrain(
    model: Any, lines: Mapping[str, Sequence[TrainSequence]], recipe: BaseRecipe, rng: np.random.Generator
) -> None:
    """Next-token training on groups of lines, mixed by `recipe.mix`; in place."""
    decks = {group: Deck(lines[group], rng) for group in recipe.mix}
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    model.train()
    with progress(recipe.steps, "base") as bar:
        for step in range(recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * share_of_peak(
                    "cosine", step, max_steps=recipe.steps, warmup_steps=recipe.warmup, floor=_LR_FLOOR
                )
            loss = _mixed_loss(model, decks, recipe)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            bar.update()
            bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    model.eval()


def _mixed_loss(model: Any, decks: Mapping[str, Deck], recipe: BaseRecipe) -> Tensor:
    """Σ share x mean loss; a forward for each group, so that short captions are not padded to long lines."""
    losses = []
    for group, share in recipe.mix.items():
        drawn = decks[group].draw(max(1, round(recipe.batch * share)))
        # Padding is never a label, and a causal model never looks at it: any id will do.
        losses.append(share * batch_loss(model.model, model.lm_head, collate(drawn, pad_id=0)))
    return torch.stack(losses).sum()
