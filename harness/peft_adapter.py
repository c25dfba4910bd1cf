"""PEFT adapters: what their files should hold, worked out by PEFT itself on a model without values; and loading them.

PEFT semantics that matter here: modules_to_save hold whole tables; `trainable_tokens_delta` holds rows that take the
place of the table's own, not differences.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bundle import ADAPTER_CONFIG, ADAPTER_FILE
from harness.errors import BundleError, HarnessError
from harness.expected_tensors import first_line
from harness.files import read_json
from harness.tensors import StoredTensor

os.environ.setdefault("HF_HUB_OFFLINE", "1")

PREFIX = "base_model.model."
PEFT_TYPES = ("LORA", "TRAINABLE_TOKENS")
# Settings of adapter_config.json that make PEFT import a module by name, or rebuild the model in another way.
_REFUSED = {"megatron_config": "imports the module that megatron_core names", "layer_replication": "repeats layers"}


@dataclass(frozen=True)
class AdapterArchitecture:
    """What an adapter's file holds.

    Attributes:
        required: tensor to shape.
        optional: whole vocabulary tables, which PEFT saves beside the adapter when the vocabulary was resized.
        token_rows: vocabulary table (`embedding`, `head`) to the ids whose rows the adapter replaces.
        whole_tables: those of which it replaces all rows.
    """

    required: dict[str, tuple[int, ...]]
    optional: dict[str, tuple[int, ...]]
    token_rows: dict[str, frozenset[int]]
    whole_tables: frozenset[str]


def read_adapter_config(folder: Path) -> Any:
    """The PEFT config of an adapter's folder.

    Raises:
        BundleError: it is missing, is none that PEFT knows, or asks for code by name.
    """
    file = folder / ADAPTER_CONFIG
    try:
        declared = read_json(file)
    except HarnessError as error:
        raise BundleError(error.where, error.found, f"PEFT's {ADAPTER_CONFIG}", error.fix) from None
    if not isinstance(declared, dict) or declared.get("peft_type") not in PEFT_TYPES:
        found = f"peft_type {declared.get('peft_type')!a}" if isinstance(declared, dict) else "no object"
        raise BundleError(file, found, f"one of {', '.join(PEFT_TYPES)}", "Train a LoRA adapter.")
    for name, why in _REFUSED.items():
        if declared.get(name):
            raise BundleError(file, f"{name}, which {why}", "an adapter without it", "Remove it; it is not opened.")
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        # A config that somebody else wrote ends PEFT in any way.
        found = f"a config that PEFT does not read ({first_line(error)})"
        raise BundleError(file, found, "one that it saved", "Save the adapter again.") from None


def saved_width(tensors: dict[str, StoredTensor]) -> int | None:
    """Rows of the whole vocabulary tables that an adapter holds; None where it holds none."""
    endings = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")
    names = [f"{ending}{layer}.weight" for ending in endings for layer in ("", ".base_layer")]
    rows = [t.shape[0] for name, t in tensors.items() if name.endswith(tuple(names)) and len(t.shape) == 2]
    return max(rows, default=None)


def adapter_architecture(model: Any, folder: Path) -> AdapterArchitecture:
    """What an adapter over a model on the meta device would hold, were it saved now. Changes the model.

    Raises:
        BundleError: the adapter's config does not fit the model.
    """
    import torch
    from peft import get_peft_model, get_peft_model_state_dict

    config = read_adapter_config(folder)
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # only shapes count here; other ways to begin would decompose the weights
    try:
        with torch.device("meta"), quiet():
            adapted = get_peft_model(model, config)
            required = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            everything = get_peft_model_state_dict(adapted, save_embedding_layers=True)
            inner = adapted.get_base_model()
            tables = {"embedding": inner.get_input_embeddings(), "head": inner.get_output_embeddings()}
            token_rows = {name: _token_rows(table) for name, table in tables.items()}
    except Exception as error:
        found = f"an adapter that does not fit its base ({first_line(error)})"
        raise BundleError(folder / ADAPTER_CONFIG, found, "modules that the base has", "Use its own base.") from None
    return AdapterArchitecture(
        required={name: tuple(tensor.shape) for name, tensor in required.items()},
        optional={n: tuple(tensor.shape) for n, tensor in everything.items() if n not in required},
        token_rows=token_rows,
        whole_tables=frozenset(name for name, table in tables.items() if hasattr(table, "modules_to_save")),
    )


def attach_adapter(model: Any, folder: Path, *, merge: bool, low_rank: bool = True) -> Any:
    """The model with an adapter's vocabulary rows put in place and its low-rank part attached or merged.

    Args:
        model: the base, its tables as wide as the adapter's.
        folder: the adapter's.
        merge: fold the low-rank part into the weights.
        low_rank: False leaves that part away and keeps the rows, to see what it changes.

    Raises:
        BundleError: the adapter is missing, or does not fit.
    """
    from peft import PeftModel

    read_adapter_config(folder)
    if not (folder / ADAPTER_FILE).is_file():
        raise BundleError(folder, f"no {ADAPTER_FILE}", "an adapter saved as safetensors", "Save the adapter again.")
    try:
        with quiet():
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
            _put_tables(adapted.get_base_model(), low_rank=low_rank)
            if not low_rank:
                return adapted.unload()
            return adapted.merge_and_unload(safe_merge=True) if merge else adapted
    except Exception as error:
        found = f"an adapter that does not fit ({first_line(error)})"
        raise BundleError(folder, found, "one for this base", "Use its own base.") from error


def _token_rows(table: Any) -> frozenset[int]:
    indices = getattr(getattr(table, "token_adapter", table), "token_indices", {})
    return frozenset(int(index) for index in indices.get("default", ()))


def _put_tables(inner: Any, *, low_rank: bool) -> None:
    """Plain tables in the place of PEFT's wrappers, so that whoever asks for the head's weight gets what is served."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for side in ("input", "output"):
        table = getattr(inner, f"get_{side}_embeddings")()
        if isinstance(table, AuxiliaryTrainingWrapper):
            plain = table.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        elif isinstance(table, TrainableTokensLayer) or (isinstance(table, BaseTunerLayer) and low_rank):
            table.merge(safe_merge=True)
            plain = table.get_base_layer()
        else:
            continue
        getattr(inner, f"set_{side}_embeddings")(plain)


@contextmanager
def quiet() -> Iterator[None]:
    """Without PEFT's advice to trainers, which a gate's reader cannot act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
