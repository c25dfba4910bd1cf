"""train_log.jsonl: a line every so many steps, averaged since the line before, and a line for every evaluation."""

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.errors import HarnessError
from harness.files import write_text


class TrainLog:
    """Appends lines; a run that resumes first takes back those beyond the step that it resumes at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, step: int) -> None:
        """Begin at a step: lines of later steps were of a run that did not come to its next checkpoint.

        An evaluation at the very step that a run resumes at is kept: it is not made again.
        """
        kept = self.lines() if step else []
        write_text(self.path, "".join(line + "\n" for line in kept if json.loads(line)["step"] <= step))

    def lines(self) -> list[str]:
        """The whole lines of the file; the last may have been cut short by a crash."""
        if not self.path.is_file():
            return []
        *whole, _ = self.path.read_text(encoding="utf-8").split("\n")
        return whole

    def append(self, step: int, values: dict[str, float]) -> None:
        """Add a line of finite values."""
        # Appended, not replaced: a log that a crash cut short still says how far it came.
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")


def check_finite(step: int, values: dict[str, float], where: str) -> None:
    """Refuse to go on from nowhere.

    Raises:
        HarnessError: a value is NaN or infinite.
    """
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise HarnessError(
            f"{where}, step {step}",
            f"{', '.join(bad)} not finite",
            "finite losses, norms and gradients",
            "Lower optim.lr_rows or optim.lr_lora, clip gradients, or look at the batch.",
        )


def norms(embedding: Any, head: Any) -> dict[str, float]:
    """Mean and standard deviation of the norms of the new rows of both tables."""
    return {**_norms("emb", embedding.new), **_norms("head", head.new)}


def _norms(name: str, rows: Tensor) -> dict[str, float]:
    found = rows.detach().float().norm(dim=1)
    return {
        f"{name}_norm_mean": found.mean().item(),
        f"{name}_norm_std": found.std(correction=min(1, len(found) - 1)).item(),
    }
