"""What a model folder should hold: its architecture, built from config.json without a byte of weight or remote code."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import BundleError, HarnessError
from harness.files import read_json

# Before transformers is imported: a config must never make it look anything up.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Wider than any model is; what is built on the meta device takes no memory, but buffers of positions may.
MAX_WIDTH = 2**24
# Settings that count modules: num_hidden_layers, n_layer, num_local_experts; not max_window_layers.
_COUNTED = re.compile(r"^(num|n)_(\w+_)?(layers?|experts)$")


@dataclass(frozen=True)
class Architecture:
    """What the files of a model hold.

    Attributes:
        shapes: tensor to shape, by the names that save_pretrained would give them.
        tied: names that share their values: of each group one has to be stored, more may be.
        ignored: patterns of names that older versions stored and nobody reads.
        embedding, head: names of the two vocabulary tables.
        vocab_size: rows that config.json gives them.
    """

    shapes: dict[str, tuple[int, ...]]
    tied: tuple[frozenset[str], ...]
    ignored: tuple[str, ...]
    embedding: str
    head: str
    vocab_size: int

    def is_ignored(self, name: str) -> bool:
        """Whether a stored tensor that is not expected does no harm."""
        return any(re.search(pattern, name) for pattern in self.ignored)

    def group_of(self, name: str) -> frozenset[str]:
        """The names that share a tensor's values, itself included."""
        return next((group for group in self.tied if name in group), frozenset({name}))


def meta_model(folder: Path, n_stored: int, vocab_size: int | None = None) -> Any:
    """The model of a folder's config.json on the meta device: shapes, and no values.

    Args:
        folder: holds config.json.
        n_stored: how many tensors its files hold; a config with more layers than that is refused, not built.
        vocab_size: instead of the config's own.

    Raises:
        BundleError: config.json is no config of a causal language model that transformers itself knows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    file = folder / "config.json"
    try:
        declared = read_json(file)
    except HarnessError as error:
        raise BundleError(error.where, error.found, "a model's config.json", error.fix) from None
    if not isinstance(declared, dict) or not isinstance(declared.get("model_type"), str):
        raise BundleError(file, "no model_type", "a model's config", "Save the model again.")
    _check_sizes(file, declared, n_stored)
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        if vocab_size is not None:
            config.get_text_config().vocab_size = vocab_size
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        # A config that somebody else wrote ends transformers in any way: each means that it describes no such model.
        raise BundleError(
            file, f"a config that builds no model ({first_line(error)})", "one that transformers knows", "Correct it."
        ) from None


def architecture(model: Any) -> Architecture:
    """What the files of a model on the meta device would hold."""
    from transformers.core_model_loading import revert_weight_conversion

    state = model.state_dict()
    # Some are stored otherwise than they are held: experts, one by one.
    stored = revert_weight_conversion(model, dict(state))
    groups: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), set()).add(name)
    names = {id(module): name for name, module in model.named_modules()}
    return Architecture(
        shapes={name: tuple(tensor.shape) for name, tensor in stored.items()},
        tied=tuple(frozenset(group) for group in groups.values() if len(group) > 1),
        ignored=tuple(sorted(model._keys_to_ignore_on_load_unexpected or ())),
        embedding=f"{names[id(model.get_input_embeddings())]}.weight",
        head=f"{names[id(model.get_output_embeddings())]}.weight",
        vocab_size=int(model.get_output_embeddings().weight.shape[0]),
    )


def first_line(error: BaseException) -> str:
    """The beginning of an error's text; its type where it has none."""
    text = str(error).strip()
    return ascii(text.splitlines()[0][:200])[1:-1] if text else type(error).__name__


def _check_sizes(file: Path, declared: dict[str, Any], n_stored: int) -> None:
    """Refuse sizes that would take for ever to build."""
    for part in (declared, *(value for value in declared.values() if isinstance(value, dict))):
        for name, value in part.items():
            if isinstance(value, bool) or not isinstance(value, int):
                continue
            if _COUNTED.search(name) and value > max(n_stored, 1):
                found, expected = f"{name} {value}", f"at most one for each of the {n_stored} tensors stored"
            elif value > MAX_WIDTH and name.endswith(("size", "dim", "heads", "inner", "embd")):
                found, expected = f"{name} {value}", f"at most {MAX_WIDTH}"
            else:
                continue
            raise BundleError(file, found, expected, "Restore the config that the weights were saved with.")
