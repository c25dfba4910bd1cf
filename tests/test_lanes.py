"""Pieces of work side by side: results in order, errors as they are, threads given back."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from harness.lanes import lanes

CPU = torch.device("cpu")
TOGETHER = 3  # threads


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(TOGETHER)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_pieces_and_without_gradients() -> None:
    weight = torch.ones(2, 2, requires_grad=True)

    with lanes(CPU) as run:
        results = run(lambda factor: (weight * factor).sum(), range(50))

    assert [float(result) for result in results] == [4.0 * factor for factor in range(50)]
    assert all(result.is_inference() for result in results)


def test_as_many_pieces_at_a_time_as_there_were_threads_and_none_inside() -> None:
    meet = threading.Barrier(TOGETHER, timeout=60)

    def work(_: int) -> int:
        meet.wait()
        return torch.get_num_threads()

    with lanes(CPU) as run:
        assert run(work, range(TOGETHER)) == [1] * TOGETHER
    assert torch.get_num_threads() == TOGETHER


def test_an_error_is_raised_when_nobody_works_any_more_and_the_threads_are_given_back() -> None:
    begun, ended, counts = [], [], []
    failed = threading.Event()

    def work(piece: int) -> None:
        begun.append(piece)
        if piece == 0:
            failed.set()
            raise torch.OutOfMemoryError("piece 0")
        failed.wait(60)
        time.sleep(0.01)
        ended.append(piece)

    def run_and_count() -> None:
        with lanes(CPU) as run:
            try:
                run(work, range(1000))
            finally:
                counts.extend([len(begun), len(ended)])

    with pytest.raises(torch.OutOfMemoryError, match="piece 0"):
        run_and_count()

    assert counts == [len(begun), len(begun) - 1], "who had begun is through"
    assert len(begun) < 1000, "the rest is left"
    assert torch.get_num_threads() == TOGETHER
