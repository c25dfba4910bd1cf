"""Vocabulary surgery: new rows for a token space over any text backbone, and the fingerprint of what stays frozen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.errors import BundleError
from harness.examples import IGNORED
from harness.files import file_sha256
from harness.fingerprint import FINGERPRINT_FORMAT, fingerprint
from harness.token_space import TokenSpace, read_token_space
from training.batches import collate, text_sequence
from training.checkpoints import Run, write_untrained
from training.recipe import Recipe, SurgeryRecipe
from training.rows import NewRows, load_base
from training.text import read_tokenizer

_EVAL_BATCH = 32  # lines


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
    lines = run.data / "text_eval.jsonl"
    loss, n_tokens = text_loss(model, lines, read_tokenizer(run.base))
    return {
        "format": FINGERPRINT_FORMAT,
        "text_vocab_size": space.text_vocab_size,
        "tensors": reference.tensors,
        "text_rows": {name: list(hashes) for name, hashes in reference.text_rows.items()},
        "stored": _stored(run.base),
        # Of the base over its own vocabulary, before any row was added: mean over all label tokens, nats.
        "text_only": {"loss": loss, "n_tokens": n_tokens, "text_eval_sha256": file_sha256(lines)},
    }


@torch.inference_mode()
def text_loss(model: Any, lines: Path, tokenizer: Any) -> tuple[float, int]:
    """Mean negative log-likelihood a token of text_eval.jsonl, nats, and the number of tokens."""
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    ids = [np.array(row.get("input_ids") or tokenizer.encode(row["text"]).ids, dtype=np.int64) for row in rows]
    sequences = [text_sequence(one) for one in sorted(ids, key=len)]
    total, n_tokens = 0.0, 0
    for start in range(0, len(sequences), _EVAL_BATCH):
        batch = collate(sequences[start : start + _EVAL_BATCH], pad_id=0)
        logits = model(input_ids=batch.input_ids[:, :-1], use_cache=False).logits.float()
        labels = batch.labels[:, 1:]
        total += float(cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"))
        n_tokens += int((labels != IGNORED).sum())
    return total / n_tokens, n_tokens


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
