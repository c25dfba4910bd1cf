"""The audit of a model in memory: one flipped bit in anything frozen is found and named; what trains is left out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.live_parameters import MAX_NAMED_ROWS, Moved, fingerprint_live, trainable_names

TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
SHAPES = [(), (1,), (7,), (4, 3), (3, 2, 5), (1, 300)]


def _module(tensor: torch.Tensor) -> nn.Module:
    """A module that holds a tensor as a buffer, beside a trained parameter and a frozen one."""
    module = nn.Module()
    module.register_buffer("held", tensor)
    module.trained = nn.Parameter(torch.ones(2, 2))
    module.frozen = nn.Parameter(torch.ones(3, 2), requires_grad=False)
    return module


def _flip(tensor: torch.Tensor, bit: int) -> int:
    """Flip one bit in place; returns the row that it is in."""
    raw = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    raw[bit // 8] ^= np.uint8(1 << bit % 8)
    n_rows = len(tensor) if tensor.ndim else 1
    return bit // 8 // (raw.nbytes // n_rows)


def _values(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(50).to(dtype)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SHAPES), st.sampled_from(TYPES), st.data())
def test_one_flipped_bit_is_found_and_its_row_named(
    shape: tuple[int, ...], dtype: torch.dtype, data: st.DataObject
) -> None:
    held = _values(shape, dtype)
    module = _module(held)
    before = fingerprint_live(module, trainable_names(module))
    row = _flip(held, data.draw(st.integers(0, 8 * held.nbytes - 1)))

    assert before.moved_in(module, trainable_names(module)) == [Moved("held", 1, (row,))]


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight", "1.running_mean", "1.num_batches_tracked"])
def test_any_tensor_of_a_model_is_watched(name: str) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).requires_grad_(False)
    before = fingerprint_live(module, ())
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    row = _flip(tensors[name], 0)

    assert [(moved.name, moved.rows) for moved in before.moved_in(module, ())] == [(name, (row,))]


def test_a_model_left_alone_has_not_moved() -> None:
    module = _module(_values((4, 3), torch.bfloat16))
    before = fingerprint_live(module, trainable_names(module))

    assert before.moved_in(module, trainable_names(module)) == []


def test_what_trains_may_move() -> None:
    module = _module(torch.zeros(2))
    assert trainable_names(module) == {"trained"}
    before = fingerprint_live(module, trainable_names(module))
    module.trained.data.add_(1)

    assert before.moved_in(module, trainable_names(module)) == []
    assert [moved.name for moved in fingerprint_live(module, ()).moved_in(_module(torch.zeros(2)), ())] == ["trained"]


def test_swapped_rows_and_swapped_values_are_changes() -> None:
    held = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    module = _module(held)
    before = fingerprint_live(module, {"trained"})
    held[[0, 2]] = held[[2, 0]]
    assert before.moved_in(module, {"trained"}) == [Moved("held", 2, (0, 2))]

    held[[0, 2]] = held[[2, 0]]
    held[1] = torch.tensor([4.0, 3.0])
    assert before.moved_in(module, {"trained"}) == [Moved("held", 1, (1,))]


def test_minus_zero_is_another_zero() -> None:
    held = torch.zeros(3)
    module = _module(held)
    before = fingerprint_live(module, {"trained"})
    held[1] = -0.0

    assert before.moved_in(module, {"trained"}) == [Moved("held", 1, (1,))]


def test_a_nan_that_stays_has_not_moved() -> None:
    module = _module(torch.tensor([float("nan")]))

    assert fingerprint_live(module, ()).moved_in(module, ()) == []


def test_a_tensor_that_is_gone_or_has_another_shape_has_moved_whole() -> None:
    module = _module(torch.zeros(4, 2))
    before = fingerprint_live(module, {"trained"})
    module.held = torch.zeros(6, 2)
    assert before.moved_in(module, {"trained"}) == [Moved("held", 4, (0, 1, 2, 3))]

    del module.held
    assert before.moved_in(module, {"trained"}) == [Moved("held", 4, (0, 1, 2, 3))]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_tensors_have_nothing_to_move(shape: tuple[int, ...]) -> None:
    module = _module(torch.empty(shape))

    assert fingerprint_live(module, ()).moved_in(module, ()) == []


def test_a_table_that_is_no_block_of_memory_is_read_as_its_values() -> None:
    held = torch.arange(12.0).reshape(3, 4)
    before = fingerprint_live(_module(held.T.contiguous().T), ())

    assert before.moved_in(_module(held), ()) == []


def test_the_first_rows_are_named_and_the_rest_counted() -> None:
    held = torch.zeros(20, 2)
    module = _module(held)
    before = fingerprint_live(module, {"trained"})
    held[3:12] = 1
    (moved,) = before.moved_in(module, {"trained"})

    assert (moved.n_rows, moved.rows) == (9, tuple(range(3, 3 + MAX_NAMED_ROWS)))
    assert str(moved) == "held (9 rows: 3, 4, 5, 6, 7, …)"
    assert str(Moved("x", 1, (4,))) == "x (1 rows: 4)"
