"""A table in two parts is the table that its parts make together: the same values, the same gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from training.rows import SplitEmbedding, SplitHead

WIDTH = 5
SIZES = st.integers(1, 6)


def _parts(n_text: int, n_new: int, seed: int) -> tuple[Tensor, nn.Parameter, nn.Parameter]:
    """Text rows, new rows, and both as one table."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(n_text, WIDTH, generator=generator)
    new = torch.randn(n_new, WIDTH, generator=generator)
    return text, nn.Parameter(new), nn.Parameter(torch.cat([text, new]))


@settings(deadline=None, max_examples=30)
@given(SIZES, SIZES, st.integers(0, 99), st.data())
def test_looking_up_is_that_of_the_joined_table(n_text: int, n_new: int, seed: int, data: st.DataObject) -> None:
    text, new, whole = _parts(n_text, n_new, seed)
    drawn = data.draw(st.lists(st.integers(0, n_text + n_new - 1), min_size=6, max_size=6))
    ids, weights = torch.tensor(drawn).reshape(2, 3), torch.randn(2, 3, WIDTH)
    split = SplitEmbedding(text, new)
    ours, theirs = split(ids), embedding(ids, whole)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()

    assert torch.equal(ours, theirs)
    assert torch.equal(split.weight, whole)
    torch.testing.assert_close(new.grad, whole.grad[n_text:])


@settings(deadline=None, max_examples=30)
@given(SIZES, SIZES, st.integers(0, 99))
def test_logits_are_those_of_the_joined_table(n_text: int, n_new: int, seed: int) -> None:
    text, new, whole = _parts(n_text, n_new, seed)
    head = SplitHead(text, new)
    one, other = (torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(7)).requires_grad_() for _ in "ab")
    ours, theirs = head(one), linear(other, whole)
    ours.square().sum().backward()
    theirs.square().sum().backward()

    assert head.out_features == ours.shape[-1] == n_text + n_new
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(new.grad, whole.grad[n_text:])


def test_text_rows_are_no_parameters_and_are_not_stored() -> None:
    text, new, _ = _parts(4, 2, 0)
    for table in (SplitEmbedding(text, new), SplitHead(text, new)):
        assert [name for name, _ in table.named_parameters()] == ["new"]
        assert list(table.state_dict()) == ["new"]
        assert not table.text.requires_grad


def test_one_row_for_both_tables_takes_the_gradients_of_both() -> None:
    text, new, _ = _parts(4, 2, 0)
    table, head = SplitEmbedding(text, new), SplitHead(text, new)
    head(table(torch.tensor([4, 5, 1]))).sum().backward()
    both, new.grad = new.grad, None
    head(table(torch.tensor([4, 5, 1])).detach()).sum().backward()

    assert new.grad is not None
    assert not torch.equal(both, new.grad)


@pytest.mark.parametrize("table", [SplitEmbedding, SplitHead])
def test_results_have_the_type_of_the_text_rows_and_gradients_that_of_the_new_ones(table: type) -> None:
    text, new, _ = _parts(4, 2, 0)
    split = table(text.bfloat16(), new)
    given_ = torch.tensor([1, 5]) if table is SplitEmbedding else torch.ones(2, WIDTH, dtype=torch.bfloat16)
    found = split(given_)
    found.float().sum().backward()

    assert found.dtype == split.weight.dtype == torch.bfloat16
    assert new.grad is not None
    assert new.grad.dtype == torch.float32


def test_new_rows_that_are_nan_leave_text_alone() -> None:
    text, new, _ = _parts(4, 2, 0)
    new.data.fill_(float("nan"))

    assert torch.equal(SplitEmbedding(text, new)(torch.arange(4)), text)
