"""Which settings of a model's config.json are not its base's: weights compute something else under other settings.

A frozen weight under another rope base, epsilon or activation is as good as moved, and no tensor shows it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import read_json

# What surgery and saving may change, or what a model in eval mode does not compute with.
_FREE = frozenset({
    "_name_or_path", "_attn_implementation", "architectures", "attention_dropout", "auto_map", "bos_token_id", "dtype",
    "eos_token_id", "hidden_dropout", "initializer_range", "max_position_embeddings", "output_attentions",
    "output_hidden_states", "pad_token_id", "return_dict", "tie_word_embeddings", "torch_dtype",
    "transformers_version", "use_cache", "vocab_size",
})  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A setting that differs; None where one of the two does not have it."""

    name: str
    now: Any
    base: Any


@dataclass(frozen=True)
class SettingsChanged:
    """What differs, and how many settings were compared."""

    changed: tuple[Setting, ...]
    compared: int


def compare_settings(folder: Path, base: Path) -> SettingsChanged:
    """Hold a model's config.json against its base's.

    transformers reads both where they differ as text, so that one that another version wrote is no change.

    Raises:
        HarnessError: one of them is missing or is no JSON object.
    """
    own, theirs = _read(folder), _read(base)
    now, before = _flat(own), _flat(theirs)
    if _differ(now, before):
        now, before = _flat(_normal(own)), _flat(_normal(theirs))
    names = _differ(now, before)
    compared = {name for name in now.keys() | before.keys() if not _is_free(name)}
    return SettingsChanged(tuple(Setting(n, now.get(n), before.get(n)) for n in names), len(compared))


def _differ(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    return [n for n in sorted(now.keys() | before.keys()) if now.get(n) != before.get(n) and not _is_free(n)]


def _is_free(name: str) -> bool:
    return name.rpartition(".")[2] in _FREE


def _read(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    said = read_json(file)
    if not isinstance(said, dict):
        raise HarnessError(file, type(said).__name__, "a JSON object", "Restore the config of the model.")
    return said


def _normal(said: dict[str, Any]) -> dict[str, Any]:
    """As transformers understands it, defaults filled in; as it is where transformers does not know such a model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = said.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return said
    try:
        known: dict[str, Any] = CONFIG_MAPPING[kind].from_dict(said).to_dict()
    except Exception:  # whether a config makes sense is the bundle gate's question
        return said
    return known


def _flat(said: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in said.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat
