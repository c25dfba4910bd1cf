"""Keys and values of a batch that is being written, in memory that is reserved once.

transformers' own layer joins old and new at every step, and so copies the whole cache for every token.
"""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class ReservedLayer(DynamicLayer):
    """Keys and values of one attention layer, (B, heads, positions, d) views of buffers for `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put new positions behind those that are there; (B, heads, new, d) each -> all of them, (B, heads, all, d)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [s.new_empty((*s.shape[:2], self.capacity, s.shape[3])) for s in (key_states, value_states)]
        start = self.get_seq_length()
        stop = start + key_states.shape[2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:stop] = states
        self.keys, self.values = (buffer[:, :, :stop] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows of the batch."""
        length = self.get_seq_length()
        self._buffers = [buffer[indices] for buffer in self._buffers]
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def reserved_cache(config: Any, capacity: int) -> Any:
    """An empty cache for a model; layers that are not plain attention (a sliding window, …) stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [ReservedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
