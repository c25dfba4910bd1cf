"""How ids are drawn when a checkpoint writes: greedily, or as its generation_config.json says."""

from dataclasses import dataclass
from pathlib import Path

from harness.files import read_json


@dataclass(frozen=True)
class Sampling:
    """How ids are drawn: the checkpoint's generation_config, or greedy.

    Attributes:
        do_sample: False takes the most probable id.
        temperature: divides the logits.
        top_k: keeps the k most probable ids; 0 keeps all.
        top_p: keeps the smallest set of ids that holds this probability.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def read_sampling(folder: Path) -> Sampling:
    """The sampling of a checkpoint's generation_config.json; greedy where there is none, or it does not sample."""
    file = folder / "generation_config.json"
    config = read_json(file) if file.is_file() else {}
    if not config.get("do_sample"):
        return Sampling()
    return Sampling(
        do_sample=True,
        temperature=float(config.get("temperature") or 1.0),
        top_k=int(config.get("top_k") or 0),
        top_p=float(config.get("top_p") or 1.0),
    )
