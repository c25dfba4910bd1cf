"""Vocabulary surgery: new rows for a token space over any text backbone, and the fingerprint of what stays frozen."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from harness.errors import BundleError
from harness.fingerprint import FINGERPRINT_FORMAT, fingerprint
from harness.scoring import score
from harness.text_eval import read_text_eval
from harness.text_losses import TextLosses
from harness.text_reference import text_only_record
from harness.token_space import TokenSpace, read_token_space
from harness.vocabulary import parts_of
from training.checkpoints import Run, write_untrained
from training.recipe import Recipe, SurgeryRecipe
from training.rows import NewRows, load_base

_BATCH_TOKENS = 8192  # padded tokens, as the gates take by default


def run_surgery(run: Run, recipe: Recipe) -> None:
    """Write surgery/checkpoint_0: new rows, and the fingerprint of the base that they stand on.

    Raises:
        BundleError: the base has fewer rows than the token space has text ids.
    """
    space = read_token_space(run.shards)
    model = load_base(run.base)
    found = model.get_input_embeddings().weight.shape[0]
    if found < space.text_vocab_size:
        raise BundleError(
            run.base,
            f"{found} rows",
            f"at least text_vocab_size = {space.text_vocab_size}",
            "Use the base that the token space was built for.",
        )
    rows = initial_rows(model, space, recipe.surgery, recipe.seed)
    write_untrained(run, space, rows, base_fingerprint(run, model, space))


def initial_rows(model: Any, space: TokenSpace, recipe: SurgeryRecipe, seed: int) -> NewRows:
    """New rows around the mean text row; the head's own unless the backbone ties it to the embedding."""
    generator = torch.Generator().manual_seed(seed)
    n, n_text = space.vocab_size_total - space.text_vocab_size, space.text_vocab_size
    embeddings = _around_mean(model.get_input_embeddings().weight[:n_text], n, recipe.noise, generator)
    if model.config.tie_word_embeddings and not recipe.untie_new_rows:
        return NewRows(embeddings, None)
    head = _around_mean(model.get_output_embeddings().weight[:n_text], n, recipe.noise, generator)
    return NewRows(embeddings, head)


def base_fingerprint(run: Run, model: Any, space: TokenSpace) -> dict[str, Any]:
    """base_fingerprint.json: digests of every frozen tensor and text row, shapes, and the base's own text loss."""
    reference = fingerprint(run.base, space.text_vocab_size)
    return {
        "format": FINGERPRINT_FORMAT,
        "text_vocab_size": space.text_vocab_size,
        "tensors": reference.tensors,
        "text_rows": {name: list(hashes) for name, hashes in reference.text_rows.items()},
        "stored": _stored(run.base),
        "text_only": text_only(run, model, space),
    }


def text_only(run: Run, model: Any, space: TokenSpace) -> dict[str, Any]:
    """The base's own loss on every text-only example, before any row is added: as the gates measure it."""
    text_eval = read_text_eval(run.data / "text_eval.jsonl", space, [run.base])
    parts = parts_of(space, len(model.get_output_embeddings().weight))
    scores = score(model, text_eval.items, parts=parts, batch_tokens=_BATCH_TOKENS, label="text only")
    return text_only_record(text_eval, TextLosses.of(scores), dtype="float32")


def _around_mean(table: Tensor, n: int, noise: float, generator: torch.Generator) -> Tensor:
    """(n, d): mean text row + noise x standard deviation x N(0, 1). Equal rows would get equal gradients."""
    table = table.detach()
    drawn: Tensor = table.mean(0) + noise * table.std(0) * torch.randn(n, table.shape[1], generator=generator)
    return drawn


def _stored(base: Path) -> dict[str, dict[str, Any]]:
    """Name to type and shape of every tensor in the base's safetensors files."""
    found = {}
    for file in sorted(base.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a safetensors handle, not a dict
                part = tensors.get_slice(name)
                found[name] = {"dtype": part.get_dtype(), "shape": list(part.get_shape())}
    return found
