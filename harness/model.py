"""Loading the model that a bundle describes: the one that would be served, over the whole vocabulary.

Safetensors only, never remote code, never the network.
"""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.bundle import ADAPTER_CONFIG, ADAPTER_FILE, ROWS_FILE, ROWS_JSON, Bundle, read_rows_file
from harness.errors import BundleError
from harness.lora import read_adapter
from harness.merge import check_merge
from harness.model_audit import same_bits
from harness.peft_adapter import attach_adapter, saved_width
from harness.tensors import read_file, read_folder
from harness.token_space import TokenSpace

# Set before transformers is imported: a gate must measure the files in front of it, not what a hub serves today.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def load_model(bundle: Bundle, *, device: str, dtype: str, low_rank: bool = True) -> Any:
    """The bundle's model in eval mode, without gradients.

    Args:
        bundle: an opened bundle.
        device: a torch device, e.g. `cpu` or `cuda`.
        dtype: `float32`, `bfloat16` or `float16`.
        low_rank: False leaves the adapter's low-rank part away; the vocabulary's rows stay.

    Raises:
        BundleError: weights are missing, or do not fit each other or the token space.
    """
    target = getattr(torch, dtype)
    model = _load_pretrained(bundle.path if bundle.form == "whole" else bundle.input("base"), target)
    if bundle.form == "rows":
        put_rows(model, bundle.path, bundle.space)
    adapter = bundle.input("lora") if bundle.form == "adapter" else bundle.inputs.get("lora")
    if bundle.form == "adapter" and adapter is not None:
        resize_tables(model, _adapted_width(model, adapter, bundle.space))
    if adapter is not None and (low_rank or bundle.form == "adapter") and not is_merged(bundle, adapter):
        # In float32 the merged weights serve the same function several times faster. In a narrower type merging
        # rounds, and would measure another model than the one that is served.
        model = attach_adapter(model, adapter, merge=target == torch.float32, low_rank=low_rank)
    _check_width(model, bundle)
    return model.to(device).eval().requires_grad_(False)


def load_base(folder: Path, *, device: str, dtype: str) -> Any:
    """A base model alone, over its own vocabulary, in eval mode, without gradients.

    Raises:
        BundleError: the folder holds no model.
    """
    return _load_pretrained(folder, getattr(torch, dtype)).to(device).eval().requires_grad_(False)


def is_merged(bundle: Bundle, adapter: Path) -> bool:
    """Whether a whole model holds its adapter already: a weight that it adapts has moved along the adapter.

    Without a base nothing can tell, and the adapter is taken for one that is still to be attached.
    """
    base = bundle.inputs.get("base")
    if bundle.form != "whole" or base is None:
        return False
    now, before = read_folder(bundle.path), read_folder(base)
    return any(
        not same_bits(now[pair.weight], before[pair.weight])
        and check_merge(now[pair.weight], before[pair.weight], pair).holds_adapter
        for pair in read_adapter(adapter).pairs
        if pair.weight in now.keys() & before.keys()
    )


def read_rows(path: Path, space: TokenSpace) -> tuple[int, dict[str, torch.Tensor]]:
    """The trained rows of a checkpoint.

    Returns:
        row_start, and `embeddings` (n, d) with `lm_head` (n, d) where the checkpoint has its own head rows.

    Raises:
        BundleError: the rows are not those of the token space, or the files contradict each other.
    """
    file = path / ROWS_FILE
    declared = read_rows_file(path)
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BundleError(file, f"an unreadable file ({error})", "safetensors", "Save the checkpoint again.") from None
    wanted = (space.text_vocab_size, space.vocab_size_total)
    if (declared.row_start, declared.row_end) != wanted:
        raise BundleError(
            path / ROWS_JSON,
            f"rows {declared.row_start} to {declared.row_end}",
            f"rows {wanted[0]} to {wanted[1]}, as the token space says",
            "The checkpoint was trained on another token space: use the one it was trained with.",
        )
    expected_names = {"embeddings", "lm_head"} if declared.has_lm_head else {"embeddings"}
    if set(tensors) != expected_names:
        raise BundleError(file, f"tensors {sorted(tensors)}", f"{sorted(expected_names)}", "Save the rows again.")
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or tensor.shape[0] != wanted[1] - wanted[0]:
            raise BundleError(
                file, f"{name} of shape {tuple(tensor.shape)}", f"({wanted[1] - wanted[0]}, d)", "Save the rows again."
            )
    return declared.row_start, tensors


def put_rows(model: Any, checkpoint: Path, space: TokenSpace) -> None:
    """Extend a base model's tables, cut to V_text rows, by the checkpoint's rows. In place."""
    start, rows = read_rows(checkpoint, space)
    embedding = model.get_input_embeddings().weight
    if embedding.shape[0] < start or embedding.shape[1] != rows["embeddings"].shape[1]:
        raise BundleError(
            checkpoint / ROWS_FILE,
            f"rows of width {rows['embeddings'].shape[1]} from id {start}",
            f"width {embedding.shape[1]} and at least {start} text rows in the base",
            "Use the base that the rows were trained over.",
        )
    own_head, tied = "lm_head" in rows, model.config.tie_word_embeddings
    head = model.get_output_embeddings().weight
    table = _joined(embedding, rows["embeddings"], start)
    # A tied head without rows of its own is the embedding.
    _put_tables(
        model, table, None if tied and not own_head else _joined(head, rows.get("lm_head", rows["embeddings"]), start)
    )


def resize_tables(model: Any, n_rows: int) -> None:
    """Cut a model's tables to so many rows, or lengthen them by zeros, which an adapter's rows take the place of."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tables = [_resized(table, n_rows) for table in (embedding, head)]
    _put_tables(model, tables[0], None if head is embedding else tables[1])


def _put_tables(model: Any, table: torch.Tensor, head: torch.Tensor | None) -> None:
    """Replace the weights of both tables, (V, d) each; a head of None is the embedding itself."""
    # In place, not by resize_token_embeddings, which draws random rows and re-ties behind the caller's back.
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    inputs.weight = nn.Parameter(table, requires_grad=False)
    outputs.weight = inputs.weight if head is None else nn.Parameter(head, requires_grad=False)
    inputs.num_embeddings = outputs.out_features = model.config.vocab_size = len(table)
    model.config.tie_word_embeddings = head is None


def _adapted_width(model: Any, adapter: Path, space: TokenSpace) -> int:
    """Rows of the tables that an adapter was saved over: those of its own tables, else the base's or the space's."""
    base_rows = model.get_input_embeddings().weight.shape[0]
    file = adapter / ADAPTER_FILE
    width = saved_width(read_file(file)) if file.is_file() else None
    return width or max(base_rows, space.vocab_size_total)


def _resized(table: torch.Tensor, n_rows: int) -> torch.Tensor:
    new = table.new_zeros((max(0, n_rows - len(table)), table.shape[1]))
    return torch.cat([table.detach()[:n_rows], new])


def _joined(table: torch.Tensor, rows: torch.Tensor, start: int) -> torch.Tensor:
    return torch.cat([table.detach()[:start], rows.to(table.dtype)])


def _load_pretrained(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a gate run has a progress line of its own
    if (folder / ADAPTER_CONFIG).is_file():
        # transformers would quietly load the model that the adapter names instead of the one that lies here.
        raise BundleError(folder, f"{ADAPTER_CONFIG} beside a model", "one of the two", "Move the adapter out.")
    if not any(folder.glob("*.safetensors")):
        raise BundleError(folder, "no .safetensors file", "model.safetensors", "Save the model as safetensors.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(
            folder, f"a model that does not load ({first_line})", "a Hugging Face model", "Save it again."
        ) from error


def _check_width(model: Any, bundle: Bundle) -> None:
    for name, table in (("embedding", model.get_input_embeddings()), ("lm_head", model.get_output_embeddings())):
        if table.weight.shape[0] < bundle.space.vocab_size_total:
            raise BundleError(
                bundle.path,
                f"{table.weight.shape[0]} rows in the {name}",
                f"at least {bundle.space.vocab_size_total}, as the token space says",
                "Extend the tables with the vocabulary surgery before training.",
            )


# What some architectures do to the logits after the head's product, by the key of their config.json.
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def backbone_and_head(model: Any) -> tuple[nn.Module, torch.Tensor]:
    """The decoder that ends in hidden states, and the head's weight (V, d): logits are their product.

    Raises:
        BundleError: the model's logits are something else, so that every figure would be that of another model.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = inner.get_output_embeddings()
    changes = [key for key in LOGIT_CHANGES if getattr(inner.config, key, None) not in (None, 1, 1.0)]
    if getattr(head, "bias", None) is not None:
        changes.append("a bias of the head")
    if changes:
        raise BundleError(
            inner.config.model_type,
            f"logits changed by {', '.join(changes)}",
            "logits that are the head's weight times the hidden state, as Qwen3's are",
            "This architecture is not supported yet.",
        )
    return inner.base_model, head.weight
