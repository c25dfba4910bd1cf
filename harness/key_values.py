"""Keys and values of a batch that is being written, in memory that is reserved once.

transformers' own layer joins old and new at every step, and so copies the whole cache for every token.
"""

from typing import Any

import torch
from torch import nn
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


# At most, of the memory that a GPU has left. The other half is for what a step computes and for a copy of a layer's
# keys and values when rows leave the batch.
SHARE_OF_FREE = 0.5


def positions_that_fit(backbone: nn.Module) -> int:
    """Positions whose keys and values a GPU has room for beside the model; 0 on any other device.

    A step costs a GPU nearly the same for one sequence as for many, so that as many as possible should be under way.
    Rounded down to a power of two: what is free wavers, and two runs are to make the same batches.
    """
    weight = next(backbone.parameters())
    if weight.device.type != "cuda":
        return 0
    free_bytes, _ = torch.cuda.mem_get_info(weight.device)
    free_bytes += torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device)
    return power_of_two(int(SHARE_OF_FREE * free_bytes) // bytes_per_position(backbone.config, weight.dtype))


def power_of_two(most: int) -> int:
    """The largest one that is not above it; 0 of 0."""
    return 1 << most.bit_length() - 1 if most else 0


def bytes_per_position(config: Any, dtype: torch.dtype) -> int:
    """Of the keys and values of one position, over all layers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)
