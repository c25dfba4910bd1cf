"""train_log.jsonl: one line every so many steps, averaged since the line before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from harness.examples import TASKS

TEXT = "text"  # plain-text replay: part of loss_mean, without a key of its own


class TrainLog:
    """Collects the losses of each step and writes a line when one is due."""

    def __init__(self, path: Path, every: int) -> None:
        """every: steps between two lines."""
        self._path, self._every = path, every
        self._losses: dict[str, list[float]] = {}
        self._means: list[float] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def add(self, losses: dict[str, float], weights: dict[str, float]) -> None:
        """Note the losses of one step, nats per label by task; loss_mean is their weighted mean."""
        for task, loss in losses.items():
            self._losses.setdefault(task, []).append(loss)
        total = sum(weights[task] for task in losses)
        self._means.append(sum(weights[task] * loss for task, loss in losses.items()) / total)

    def due(self, step: int, last: bool) -> bool:
        """Whether a line is due after this step, counted from 1; the last step always leaves one."""
        return step % self._every == 0 or last

    def write(self, step: int, *, embeddings: Tensor, head: Tensor, lr: float, grad_norm: float) -> dict[str, Any]:
        """Append a line and start the next window.

        Args:
            step: counted from 1.
            embeddings: the new embedding rows, (n, d).
            head: the new head rows, (n, d).
            lr: of the rows, at this step.
            grad_norm: of this step, before clipping.
        """
        line = {
            "step": step,
            "loss_mean": float(np.mean(self._means)),
            **{f"{task}_avg": float(np.mean(self._losses[task])) for task in _order(self._losses)},
            **_norms("emb", embeddings),
            **_norms("head", head),
            "lr": lr,
            "grad_norm": grad_norm,
        }
        # Appended, not replaced: a log that a crash cut short still says how far it came.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        self._losses, self._means = {}, []
        return line


def _order(losses: dict[str, list[float]]) -> list[str]:
    """Write tasks first, as the field's logs have them."""
    return [task for task in reversed(TASKS) if task in losses]


def _norms(name: str, rows: Tensor) -> dict[str, float]:
    norms = rows.detach().norm(dim=1)
    return {f"{name}_norm_mean": norms.mean().item(), f"{name}_norm_std": norms.std().item()}
