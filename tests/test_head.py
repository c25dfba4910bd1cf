"""The head in blocks against the softmax of all logits at once, in float64."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import head
from harness.head import through_head
from harness.lanes import lanes
from harness.vocabulary import Part

WIDTH = 8


@st.composite
def _divided(draw: Any) -> tuple[Part, ...]:
    """Parts of random sizes."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    ends = np.cumsum(sizes).tolist()
    return tuple(Part(f"PART{i}", end - size, end) for i, (size, end) in enumerate(zip(sizes, ends, strict=True)))


@given(
    parts=_divided(),
    rows=st.integers(1, 50),
    positions=st.integers(1, 50),
    n=st.integers(1, 60),
    scale=st.floats(0.1, 30),
)
@settings(max_examples=60, deadline=None)
def test_sums_over_parts_are_the_softmax_s_whatever_the_blocks(
    parts: tuple[Part, ...], rows: int, positions: int, n: int, scale: float
) -> None:
    hidden, weight, labels = _random(n, parts[-1].stop, scale)

    with patch.dict(head.BLOCK_ROWS, cpu=rows), patch.dict(head.BLOCK_POSITIONS, cpu=positions):
        sums = through_head(hidden, labels, weight, parts)

    logits = hidden.double() @ weight.double().T
    expected = torch.stack([logits[:, part.start : part.stop].logsumexp(1) for part in parts], 1)
    within = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(sums.logsumexp, expected, **within)
    np.testing.assert_allclose(sums.largest, logits.amax(1), **within)
    np.testing.assert_allclose(sums.of_label, logits[torch.arange(n), labels], **within)


def test_the_largest_logit_is_bit_for_bit_the_label_s_where_the_label_is_the_most_probable() -> None:
    hidden, weight, _ = _random(700, 1500, 1.0)
    labels = (hidden @ weight.T).argmax(1)

    sums = through_head(hidden, labels, weight, [Part("TEXT", 0, 1000), Part("IMAGE", 1000, 1500)])

    np.testing.assert_array_equal(sums.of_label, sums.largest)


def test_lanes_change_no_bit() -> None:
    hidden, weight, labels = _random(600, 3000, 1.0)
    parts = [Part("TEXT", 0, 3000)]
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with lanes(torch.device("cpu")) as run:
            assert torch.get_num_threads() == 1, "threads inside threads"
            beside = through_head(hidden, labels, weight, parts, run)
            in_turn = through_head(hidden, labels, weight, parts)
        assert torch.get_num_threads() == 3, "the caller's threads are given back"
    finally:
        torch.set_num_threads(threads)

    np.testing.assert_array_equal(beside.logsumexp, in_turn.logsumexp)
    np.testing.assert_array_equal(beside.of_label, in_turn.of_label)


@pytest.mark.parametrize("largest", [80.0, 500.0])
def test_logits_that_overflow_an_exponential_are_summed(largest: float) -> None:
    hidden, weight = torch.ones(1, 1), torch.full((100, 1), largest)

    sums = through_head(hidden, torch.tensor([3]), weight, [Part("TEXT", 0, 100)])

    assert sums.logsumexp[0, 0] == pytest.approx(largest + np.log(100))


def test_what_the_model_computes_as_nan_stays_nan() -> None:
    hidden, weight, labels = _random(2, 10, 1.0)
    hidden[0, 0] = torch.nan

    sums = through_head(hidden, labels, weight, [Part("TEXT", 0, 10)])

    assert np.isnan(sums.logsumexp).tolist() == [[True], [False]]
    assert np.isnan(sums.largest).tolist() == [True, False]


def _random(n: int, vocabulary: int, scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States (n, WIDTH), a head (vocabulary, WIDTH) and labels (n,)."""
    generator = torch.Generator().manual_seed(n)
    return (
        scale * torch.randn(n, WIDTH, generator=generator),
        torch.randn(vocabulary, WIDTH, generator=generator) / WIDTH**0.5,
        torch.randint(0, vocabulary, (n,), generator=generator),
    )
