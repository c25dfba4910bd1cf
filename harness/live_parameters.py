"""The parameter audit of a model in memory, while it trains: what may not move is as it was, bit for bit.

The audit on disk (harness.parameters) sees what was saved; form 1 of a checkpoint saves no text row, so that only the
running model can tell whether a wrong mask moves them.
"""

import hashlib
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

MAX_NAMED_ROWS = 5


@dataclass(frozen=True)
class Moved:
    """A tensor that differs from what it was.

    Attributes:
        name: of the tensor.
        n_rows: how many of its rows differ.
        rows: the first of them.
    """

    name: str
    n_rows: int
    rows: tuple[int, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.rows)) + (", …" if self.n_rows > len(self.rows) else "")
        return f"{self.name} ({self.n_rows} rows: {shown})"


@dataclass(frozen=True)
class LiveFingerprint:
    """What a model's frozen tensors were.

    Attributes:
        digests: name -> SHA-256 hex of the tensor's bytes.
        rows: name -> a checksum of each row, which tells where a tensor changed.
    """

    digests: dict[str, str]
    rows: dict[str, np.ndarray]

    def moved_in(self, model: nn.Module, trained: Collection[str]) -> list[Moved]:
        """The frozen tensors that are not what they were, or are gone, in the model's order.

        Args:
            model: the same model, later.
            trained: names of the parameters that may have moved.
        """
        now = fingerprint_live(model, trained)
        changed = [name for name, digest in self.digests.items() if now.digests.get(name) != digest]
        return [self._moved(name, now) for name in changed]

    def _moved(self, name: str, now: "LiveFingerprint") -> Moved:
        before, after = self.rows[name], now.rows.get(name, np.empty(0))
        rows = np.flatnonzero(before != after) if len(before) == len(after) else np.arange(len(before))
        return Moved(name, len(rows), tuple(int(row) for row in rows[:MAX_NAMED_ROWS]))


def fingerprint_live(model: nn.Module, trained: Collection[str]) -> LiveFingerprint:
    """The fingerprint of everything in a model but the parameters that are meant to train; buffers included.

    Args:
        model: any module; tensors on other devices are read through the CPU one at a time.
        trained: names of parameters, as `named_parameters` gives them.
    """
    frozen = {name: tensor for name, tensor in _tensors(model) if name not in trained}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(frozen, pool.map(_digest, frozen.values()), strict=True))
    return LiveFingerprint(
        {name: digest for name, (digest, _) in found.items()}, {name: rows for name, (_, rows) in found.items()}
    )


def trainable_names(model: nn.Module) -> set[str]:
    """Names of the parameters that take gradients."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


@torch.no_grad()
def _digest(tensor: Tensor) -> tuple[str, np.ndarray]:
    """SHA-256 of the bytes, and the sum of each row's bytes, weighted by place so that swapped values show."""
    stored = tensor.detach().contiguous()
    # Bytes, not values, which a copy may tidy up; a copy, since numpy would fix the storage that FSDP takes back.
    copied = stored.reshape(-1).view(torch.uint8).to("cpu", copy=True).numpy()
    n_rows = len(stored) if stored.ndim else 1
    raw = copied.reshape(n_rows, copied.size // max(1, n_rows))  # (rows, bytes)
    weights = np.arange(1, raw.shape[1] + 1, dtype=np.uint64)
    sums = [block.astype(np.uint64) @ weights for block in np.array_split(raw, max(1, raw.nbytes // 2**24))]
    return hashlib.sha256(raw.data).hexdigest(), np.concatenate(sums)
