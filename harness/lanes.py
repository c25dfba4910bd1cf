"""Work side by side on the cores of a CPU: every piece on one core, with everything it touches in that core's cache."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch

# Applies a function to every piece and returns the results in the order of the pieces.
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


def in_turn(work: Callable[[Any], Any], pieces: Sequence[Any]) -> list[Any]:
    """One piece after the other."""
    return [work(piece) for piece in pieces]


@contextmanager
def lanes(device: torch.device) -> Iterator[Run]:
    """As many pieces at a time as torch has threads, each without threads of its own; in turn on any other device.

    Threads inside an operation meet after every operation, and need operands too large for a cache to be worth it.
    torch lets go of Python's lock in its kernels, so that threads around whole pieces hardly meet.
    """
    n = torch.get_num_threads()
    if device.type != "cpu" or n == 1:
        yield in_turn
        return
    torch.set_num_threads(1)
    try:
        # Said in every thread of the pool too: a new one's matrix products else go by the cores of the machine until
        # some other operation has told it better, and sum in another order in some runs.
        with ThreadPoolExecutor(n, "lane", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda work, pieces: _side_by_side(pool, work, pieces)
    finally:
        torch.set_num_threads(n)


def _side_by_side(pool: Executor, work: Callable[[Any], Any], pieces: Sequence[Any]) -> list[Any]:
    # Inference mode belongs to a thread.
    futures = [pool.submit(torch.inference_mode()(work), piece) for piece in pieces]
    wait(futures, return_when=FIRST_EXCEPTION)
    # When one fails, its caller may try again: with the others' memory free again, so not before they are through.
    for future in futures:
        future.cancel()
    wait(futures)
    return [future.result() for future in futures]
