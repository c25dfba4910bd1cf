"""Room for keys and values: what a position takes, and that only a GPU is asked."""

from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.key_values import bytes_per_position, positions_that_fit, power_of_two, reserved_cache

CONFIG = Qwen3Config(
    vocab_size=32, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    intermediate_size=16,
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_position_takes_what_the_cache_holds_of_it(dtype: torch.dtype) -> None:
    model = Qwen3ForCausalLM(CONFIG).to(dtype)
    cache: Any = reserved_cache(model.config, 5)

    model.model(input_ids=torch.zeros((2, 5), dtype=torch.int64), past_key_values=cache, use_cache=True)

    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 2 * 5 * bytes_per_position(model.config, dtype)


def test_a_model_without_grouped_heads_is_counted_too() -> None:
    class Plain:
        num_hidden_layers, num_attention_heads, hidden_size = 2, 4, 64

    assert bytes_per_position(Plain, torch.float32) == 2 * 2 * 64 * 4


def test_a_cpu_is_not_asked_for_room() -> None:
    assert positions_that_fit(Qwen3ForCausalLM(CONFIG).model) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_room_for_less_than_what_is_free() -> None:
    model = Qwen3ForCausalLM(CONFIG).to("cuda").model

    n = positions_that_fit(model)

    assert 0 < n * bytes_per_position(model.config, torch.float32) <= torch.cuda.mem_get_info()[0]


@pytest.mark.parametrize(("most", "power"), [(0, 0), (1, 1), (63, 32), (64, 64), (65, 64)])
def test_room_that_wavers_makes_the_same_batches(most: int, power: int) -> None:
    assert power_of_two(most) == power
