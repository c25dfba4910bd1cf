"""How ids are drawn when a checkpoint writes: greedily, or as its generation_config.json says. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import BundleError, EvidenceError
from harness.files import read_json

FILE_NAME = "generation_config.json"
# What `transformers` takes where a file that samples says nothing of top_k (GenerationConfig's defaults).
TRANSFORMERS_TOP_K = 50
# What else would change the ids, and the value at which it changes nothing.
_NEUTRAL: dict[str, Any] = {
    "num_beams": 1, "repetition_penalty": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0, "penalty_alpha": 0.0, "guidance_scale": 1.0, "bad_words_ids": None,
    "suppress_tokens": None, "sequence_bias": None, "min_length": 0, "min_new_tokens": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How ids are drawn: the checkpoint's generation_config, or greedy.

    Attributes:
        do_sample: False takes the most probable id.
        temperature: divides the logits.
        top_k: keeps the k most probable ids, and those as probable as the last of them; 0 keeps all.
        top_p: keeps the smallest set of ids that holds this probability.
        min_p: keeps ids of at least this share of the largest probability.
        ignored: settings of generation_config.json that would change the ids and are not applied.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    ignored: tuple[str, ...] = ()

    @property
    def greedy(self) -> bool:
        """Whether the most probable id is taken."""
        return not self.do_sample or self.temperature == 0


def read_sampling(folder: Path) -> Sampling:
    """The sampling of a checkpoint's generation_config.json; greedy where there is none, or it does not sample.

    Raises:
        BundleError: the file holds no such settings.
    """
    file = folder / FILE_NAME
    config = read_json(file) if file.is_file() else {}
    if not isinstance(config, dict):
        raise BundleError(file, f"a JSON {type(config).__name__}", "an object", "Save the generation config again.")
    ignored = tuple(name for name, neutral in _NEUTRAL.items() if config.get(name) not in (None, neutral))
    if not config.get("do_sample"):
        return Sampling(ignored=ignored)
    given = {name: config[name] for name in ("temperature", "top_p", "min_p") if config.get(name) is not None}
    top_k = TRANSFORMERS_TOP_K if config.get("top_k") is None else config["top_k"]
    for name, value in (given | {"top_k": top_k}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise BundleError(file, f"{name} of {value!r}", "a number, 0 or more", "Correct the generation config.")
    return Sampling(do_sample=True, top_k=int(top_k), ignored=ignored, **{n: float(v) for n, v in given.items()})


def draw(scores: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> int:
    """An index drawn from logits, (N,) float32; one number of the generator is used up.

    Temperature, top_k, top_p and min_p in the order and with the meaning of transformers' logits warpers.

    Raises:
        EvidenceError: there is no finite logit to draw from, or one is NaN.
    """
    if not np.isfinite(top := scores.max()):
        raise EvidenceError("logits", f"a largest logit of {top}", "a number", "Look at P0.0: weights must be finite.")
    kept = np.arange(len(scores))
    if 0 < sampling.top_k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -sampling.top_k)[-sampling.top_k])
    weights = np.exp((scores[kept] - top).astype(np.float64) / sampling.temperature)
    weights /= weights.sum()
    if sampling.top_p < 1:
        inside = _nucleus(weights, sampling.top_p)
        kept, weights = kept[inside], weights[inside]
    if sampling.min_p > 0:
        inside = weights >= sampling.min_p * weights.max()
        kept, weights = kept[inside], weights[inside]
    reached = weights.cumsum()
    # In the order of the ids, not of their probabilities: near ties must not change places with the batch.
    chosen = int(reached.searchsorted(rng.random() * reached[-1], side="right"))
    return int(kept[min(chosen, len(kept) - 1)])


def _nucleus(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """Indices, ascending, of the smallest set that holds top_p; the one that crosses it included. (N,) -> (M,)."""
    # Less than 1 - top_p of all probability lies below this, however it is spread: the tail need not be sorted.
    candidates = np.flatnonzero(probabilities >= (1 - top_p) / len(probabilities))
    ordered = candidates[np.argsort(-probabilities[candidates], kind="stable")]
    sizes = probabilities[ordered]
    return np.sort(ordered[np.cumsum(sizes) - sizes < max(top_p, np.finfo(float).tiny)])
