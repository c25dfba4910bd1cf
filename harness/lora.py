"""A stored PEFT adapter: its low-rank pairs, the scale of each, its vocabulary rows, and what else its file holds."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.bundle import ADAPTER_CONFIG, ADAPTER_FILE
from harness.errors import BundleError
from harness.files import read_json
from harness.stored_model import Table, table_of
from harness.tensors import StoredTensor, read_file, to_float32

_PREFIX = "base_model.model."
_PAIR = re.compile(rf"^{re.escape(_PREFIX)}(?P<module>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight$")
# Whole tables, as modules_to_save and save_embedding_layers store them, and rows that take the place of a table's own.
_WHOLE = re.compile(rf"^{re.escape(_PREFIX)}(?P<module>.+?)(\.base_layer|\.modules_to_save)?\.weight$")
_ROWS = re.compile(rf"^{re.escape(_PREFIX)}(?P<module>.+?)(\.token_adapter)?\.trainable_tokens_delta$")


class _Config(BaseModel):
    """What of adapter_config.json decides how the pairs are applied."""

    model_config = ConfigDict(extra="ignore")

    lora_alpha: float = 8.0  # PEFT's own default
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    alpha_pattern: dict[str, float] = {}
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None  # of a LoRA config
    token_indices: list[int] | None = None  # of a TRAINABLE_TOKENS config


@dataclass(frozen=True)
class LowRank:
    """One adapted module: W + scale * B @ A.

    Attributes:
        module: as the base names it, e.g. `model.layers.0.self_attn.q_proj`.
        a, b: (r, in) and (out, r), as stored.
        scale: alpha / r, or alpha / sqrt(r).
        transposed: whether the base stores the weight (in, out).
    """

    module: str
    a: StoredTensor
    b: StoredTensor
    scale: float
    transposed: bool

    @property
    def weight(self) -> str:
        """The base's tensor that it adapts."""
        return f"{self.module}.weight"

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Left (rows, r) and right (r, columns), float32, whose product is the change of the stored weight."""
        a, b = to_float32(self.a.raw(), self.a.dtype), to_float32(self.b.raw(), self.b.dtype)
        return (np.float32(self.scale) * a.T, b.T) if self.transposed else (np.float32(self.scale) * b, a)

    def is_zero(self) -> bool:
        """Whether A or B is all zeros, so that it changes nothing."""
        return any(not np.any(to_float32(t.raw(), t.dtype)) for t in (self.a, self.b))


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk.

    Attributes:
        pairs: the adapted modules.
        tables: vocabulary tables that it holds whole, (rows, d).
        rows: rows of vocabulary tables that it holds, (k, d).
        row_ids: the ids of those rows, ascending.
        others: names of all other tensors.
    """

    pairs: tuple[LowRank, ...] = ()
    tables: dict[Table, StoredTensor] = field(default_factory=dict)
    rows: dict[Table, StoredTensor] = field(default_factory=dict)
    row_ids: tuple[int, ...] = ()
    others: tuple[str, ...] = ()


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's headers and configuration.

    Raises:
        BundleError: a file is missing or malformed.
    """
    if not (folder / ADAPTER_FILE).is_file():
        raise BundleError(folder, f"no {ADAPTER_FILE}", "an adapter saved as safetensors", "Save the adapter again.")
    tensors, config = read_file(folder / ADAPTER_FILE), _read_config(folder / ADAPTER_CONFIG)
    sides: dict[str, dict[str, StoredTensor]] = {}
    tables: dict[Table, StoredTensor] = {}
    rows: dict[Table, StoredTensor] = {}
    others = []
    for name, tensor in tensors.items():
        if len(tensor.shape) == 2 and (match := _PAIR.match(name)):
            sides.setdefault(match["module"], {})[match["side"]] = tensor
        elif table := _table(_WHOLE, name, tensor):
            tables[table] = tensor
        elif table := _table(_ROWS, name, tensor):
            rows[table] = tensor
        else:
            others.append(name)
    pairs = [_low_rank(module, found, config) for module, found in sides.items() if len(found) == 2]
    others += [tensor.name for found in sides.values() if len(found) == 1 for tensor in found.values()]
    return Adapter(tuple(pairs), tables, rows, _row_ids(config), tuple(sorted(others)))


def _table(pattern: re.Pattern[str], name: str, tensor: StoredTensor) -> Table | None:
    match = pattern.match(name)
    return table_of(f"{match['module']}.weight") if match and len(tensor.shape) == 2 else None


def _row_ids(config: _Config) -> tuple[int, ...]:
    declared = config.trainable_token_indices or config.token_indices or []
    lists = list(declared.values()) if isinstance(declared, dict) else [declared]
    return tuple(sorted({token_id for ids in lists for token_id in ids}))


def _low_rank(module: str, sides: dict[str, StoredTensor], config: _Config) -> LowRank:
    rank = sides["A"].shape[0]
    alpha = next((a for key, a in config.alpha_pattern.items() if _matches(key, module)), config.lora_alpha)
    scale = alpha / (math.sqrt(rank) if config.use_rslora else rank) if rank else 0.0
    return LowRank(module, sides["A"], sides["B"], scale, config.fan_in_fan_out)


def _matches(pattern: str, module: str) -> bool:
    """As PEFT matches a key of alpha_pattern: the end of the module's name."""
    return module == pattern or module.endswith(f".{pattern}")


def _read_config(file: Path) -> _Config:
    try:
        return _Config.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the object"
        raise BundleError(file, f"{where}: {first['msg']}", "PEFT's own values", "Save the adapter again.") from None
