"""Vocabulary surgery: new rows for a token space over any text backbone, and the fingerprint of what stays frozen."""

from collections.abc import Mapping
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
from training.checkpoints import write_untrained
from training.config import SurgeryConfig
from training.rows import NewRows, load_base

_BATCH_TOKENS = 8192  # padded tokens, as the gates take by default


def run_surgery(target: Path, shards: Path, pointers: Mapping[str, Path], config: SurgeryConfig) -> None:
    """Write an untrained checkpoint: new rows, and the fingerprint of the base that they stand on.

    Args:
        target: its folder, `checkpoint_0` by custom.
        shards: the folder that holds token_space.json and its sidecar.
        pointers: what its bundle.json points to: `base`, and any of shards, golden, dev, text_eval, codecs.
        config: how the rows begin.

    Raises:
        BundleError: the base has fewer rows than the token space has text ids, or logits that cannot be measured.
    """
    space, base = read_token_space(shards), pointers["base"]
    model = load_base(base, getattr(torch, config.dtype))
    found = model.get_input_embeddings().weight.shape[0]
    if found < space.text_vocab_size:
        raise BundleError(
            base,
            f"{found} rows",
            f"at least text_vocab_size = {space.text_vocab_size}",
            "Use the base that the token space was built for.",
        )
    rows = initial_rows(model, space, config)
    fingerprint = base_fingerprint(model, base, pointers.get("text_eval"), space, config.dtype)
    write_untrained(target, shards, pointers, rows, fingerprint)


def initial_rows(model: Any, space: TokenSpace, config: SurgeryConfig) -> NewRows:
    """New rows around the mean text row; the head's own unless the backbone ties it to the embedding."""
    generator = torch.Generator().manual_seed(config.seed)
    n, n_text = space.vocab_size_total - space.text_vocab_size, space.text_vocab_size
    embeddings = _around_mean(model.get_input_embeddings().weight[:n_text], n, config.noise, generator)
    if model.config.tie_word_embeddings and not config.untie_new_rows:
        return NewRows(embeddings, None)
    head = _around_mean(model.get_output_embeddings().weight[:n_text], n, config.noise, generator)
    return NewRows(embeddings, head)


def base_fingerprint(model: Any, base: Path, text_eval: Path | None, space: TokenSpace, dtype: str) -> dict[str, Any]:
    """base_fingerprint.json: digests of every frozen tensor and text row, shapes, and the base's own text loss."""
    reference = fingerprint(base, space.text_vocab_size)
    written = {
        "format": FINGERPRINT_FORMAT,
        "text_vocab_size": space.text_vocab_size,
        "tensors": reference.tensors,
        "text_rows": {name: list(hashes) for name, hashes in reference.text_rows.items()},
        "stored": _stored(base),
    }
    return written if text_eval is None else written | {"text_only": text_only(model, base, text_eval, space, dtype)}


def text_only(model: Any, base: Path, path: Path, space: TokenSpace, dtype: str = "float32") -> dict[str, Any]:
    """The base's own loss on every text-only example, before any row is added: as the gates measure it."""
    text_eval = read_text_eval(path, space, [base])
    parts = parts_of(space, len(model.get_output_embeddings().weight))
    scores = score(model, text_eval.items, parts=parts, batch_tokens=_BATCH_TOKENS, label="text only")
    return text_only_record(text_eval, TextLosses.of(scores), dtype)


def _around_mean(table: Tensor, n: int, noise: float, generator: torch.Generator) -> Tensor:
    """(n, d): mean text row + noise x standard deviation x N(0, 1). Equal rows would get equal gradients."""
    table = table.detach().float()
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
