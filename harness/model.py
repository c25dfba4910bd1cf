"""Loading the model that a bundle describes: the one that would be served, over the whole vocabulary.

Safetensors only, never remote code, never the network.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.bundle import Bundle
from harness.errors import BundleError
from harness.files import read_json
from harness.token_space import TokenSpace

# Set before transformers is imported: a gate must measure the files in front of it, not what a hub serves today.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROWS_JSON = "trainable_rows.json"
ROWS_FILE = "trainable_rows.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"


class _RowsFile(BaseModel):
    """trainable_rows.json at the border; row_end is exclusive, as in the field's own files."""

    model_config = ConfigDict(strict=True, extra="allow")

    row_start: int
    row_end: int
    base_llm: str | None = None
    has_lm_head: bool


def resolve_device(name: str) -> str:
    """A torch device name; `auto` takes cuda where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(bundle: Bundle, *, device: str, dtype: str) -> Any:
    """The bundle's model in eval mode, without gradients.

    Args:
        bundle: an opened bundle.
        device: a torch device, e.g. `cpu` or `cuda`.
        dtype: `float32`, `bfloat16` or `float16`.

    Raises:
        BundleError: weights are missing, or do not fit each other or the token space.
    """
    target = getattr(torch, dtype)
    if bundle.form == "rows":
        model = _load_pretrained(bundle.input("base"), target)
        put_rows(model, bundle.path, bundle.space)
    else:
        model = _load_pretrained(bundle.path, target)
    _check_width(model, bundle)
    if (adapter := bundle.inputs.get("lora")) is not None:
        model = _attach_adapter(model, adapter)
    return model.to(device).eval().requires_grad_(False)


def read_rows(path: Path, space: TokenSpace) -> tuple[int, dict[str, torch.Tensor]]:
    """The trained rows of a checkpoint.

    Returns:
        row_start, and `embeddings` (n, d) with `lm_head` (n, d) where the checkpoint has its own head rows.

    Raises:
        BundleError: the rows are not those of the token space, or the files contradict each other.
    """
    file = path / ROWS_FILE
    try:
        declared = _RowsFile.model_validate(read_json(path / ROWS_JSON))
        tensors = load_file(file)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            path / ROWS_JSON, f"{first['loc']}: {first['msg']}", "row_start, row_end, has_lm_head", "Write it again."
        ) from None
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
    tied = model.config.tie_word_embeddings
    head = model.get_output_embeddings().weight
    # New modules, not resize_token_embeddings, which draws random rows and re-ties behind the caller's back.
    table = _joined(embedding, rows["embeddings"], start)
    model.set_input_embeddings(nn.Embedding.from_pretrained(table, freeze=True))
    if "lm_head" in rows:
        weight = _joined(head, rows["lm_head"], start)
        model.config.tie_word_embeddings = False
    else:
        weight = model.get_input_embeddings().weight if tied else _joined(head, rows["embeddings"], start)
    new_head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    new_head.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, requires_grad=False)
    model.set_output_embeddings(new_head)
    model.config.vocab_size = weight.shape[0]


def _joined(table: torch.Tensor, rows: torch.Tensor, start: int) -> torch.Tensor:
    return torch.cat([table.detach()[:start], rows.to(table.dtype)])


def _load_pretrained(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a gate run has a progress line of its own
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


def _attach_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    if not (folder / ADAPTER_FILE).is_file():
        raise BundleError(folder, f"no {ADAPTER_FILE}", "an adapter saved as safetensors", "Save the adapter again.")
    try:
        with warnings.catch_warnings():
            # PEFT asks for a property that transformers is about to rename: nothing that a gate's reader can mend.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            folder,
            f"an adapter that does not fit ({str(error).splitlines()[0]})",
            "one for this base",
            "Use its own base.",
        ) from error
    # In float32 the merged weights serve the same function several times faster. In a narrower type merging rounds,
    # and would measure another model than the one that is served.
    if next(model.parameters()).dtype == torch.float32:
        return adapted.merge_and_unload(safe_merge=True)
    return adapted


def backbone_and_head(model: Any) -> tuple[nn.Module, torch.Tensor]:
    """The decoder that ends in hidden states, and the head's weight (V, d)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model, inner.get_output_embeddings().weight
