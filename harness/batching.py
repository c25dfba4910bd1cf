"""Cutting sequences into batches of like length, and going on with smaller ones when memory runs out."""

from collections.abc import Callable, Sequence

import torch

from harness.errors import EvidenceError

# A batch is closed before padding makes up more than this share of it.
MAX_PADDING = 0.1


class OutOfMemoryError(EvidenceError):
    """Not even one sequence fits into memory."""


def for_each_batch(
    lengths: Sequence[int], batch_tokens: int, work: Callable[[list[int]], None], done: Callable[[int], None]
) -> None:
    """Work through sequences, the longest first, so that memory runs out at once or not at all.

    When it runs out the budget is halved, and the batch that failed is cut again.

    Args:
        lengths: tokens of each sequence.
        batch_tokens: padded tokens a batch may hold; one longer sequence makes a batch of its own.
        work: takes a batch, as indices into `lengths`. It may be called again for indices on which it failed.
        done: is told how many sequences are finished, after every batch.

    Raises:
        OutOfMemoryError: one sequence alone does not fit.
    """
    waiting = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while waiting:
        batch = next_batch(waiting, lengths, batch_tokens)
        if not _fits(work, batch):
            if len(batch) == 1:
                raise OutOfMemoryError(
                    "scoring",
                    f"memory ran out on one sequence of {lengths[batch[0]]} tokens",
                    "memory for one sequence at least",
                    "Use a device with more memory, or --dtype bfloat16.",
                )
            batch_tokens = max(1, min(batch_tokens, lengths[batch[0]] * len(batch)) // 2)
            continue
        waiting = waiting[len(batch) :]
        done(len(lengths) - len(waiting))


def next_batch(waiting: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[int]:
    """The first of the waiting indices, longest first, that make one batch within budget and padding."""
    width, tokens = lengths[waiting[0]], 0
    batch: list[int] = []
    for index in waiting:
        padded = width * (len(batch) + 1)
        tokens += lengths[index]
        if batch and (padded > batch_tokens or tokens < (1 - MAX_PADDING) * padded):
            break
        batch.append(index)
    return batch


def _fits(work: Callable[[list[int]], None], batch: list[int]) -> bool:
    try:
        work(batch)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    else:
        return True
    # Outside the handler: the exception would keep the frames alive, and with them the tensors that filled the memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
