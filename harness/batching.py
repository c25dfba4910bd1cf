"""Cutting sequences into batches of like length, and going on with smaller ones when memory runs out."""

import gc
from collections.abc import Callable, Sequence

import torch

from harness.errors import EvidenceError

# A piece is closed before padding makes up more than this share of it.
MAX_PADDING = 0.1

# A batch is as many pieces as fit its budget; a piece goes through the backbone in one call. On a CPU the activations
# of a small one stay in a core's cache; every core has one of its own, and more than this at once gains nothing. A GPU
# takes all that it is given.
CPU_PIECE_TOKENS = 512
CPU_BATCH_TOKENS = 8192


class OutOfMemoryError(EvidenceError):
    """Not even one sequence fits into memory."""


def for_each_batch(
    lengths: Sequence[int],
    batch_tokens: int,
    device: torch.device,
    work: Callable[[list[list[int]]], None],
    done: Callable[[int], None],
) -> None:
    """Work through sequences, the longest first, so that memory runs out at once or not at all.

    When it runs out the budget is halved, and the batch that failed is cut again.

    Args:
        lengths: tokens of each sequence.
        batch_tokens: padded tokens a batch may hold; one longer sequence makes a batch of its own.
        device: where the work is done.
        work: takes a batch: pieces, each a list of indices into `lengths`. It may be called again for indices on which
            it failed.
        done: is told how many sequences are finished, after every batch.

    Raises:
        OutOfMemoryError: one sequence alone does not fit.
    """
    on_cpu = device.type == "cpu"
    budget = min(batch_tokens, CPU_BATCH_TOKENS) if on_cpu else batch_tokens
    waiting = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while waiting:
        batch = next_batch(waiting, lengths, budget, CPU_PIECE_TOKENS if on_cpu else budget)
        if not _fits(work, batch):
            if sum(map(len, batch)) == 1:
                raise OutOfMemoryError(
                    "the model",
                    f"memory ran out on one sequence of {lengths[waiting[0]]} tokens",
                    "memory for one sequence at least",
                    "Use a device with more memory, or --dtype bfloat16.",
                )
            budget = min(budget, sum(padded_tokens(piece, lengths) for piece in batch)) // 2
            continue
        waiting = waiting[sum(map(len, batch)) :]
        done(len(lengths) - len(waiting))


def next_batch(waiting: Sequence[int], lengths: Sequence[int], batch_tokens: int, piece_tokens: int) -> list[list[int]]:
    """The first of the waiting indices, longest first, in pieces that together are within the batch's budget."""
    batch: list[list[int]] = []
    taken = 0
    while taken < len(waiting):
        piece = next_piece(waiting[taken:], lengths, min(piece_tokens, batch_tokens))
        batch_tokens -= padded_tokens(piece, lengths)
        if batch and batch_tokens < 0:
            break
        batch.append(piece)
        taken += len(piece)
    return batch


def next_piece(waiting: Sequence[int], lengths: Sequence[int], piece_tokens: int) -> list[int]:
    """The first of the waiting indices, longest first, that make one piece within budget and padding."""
    width, tokens = lengths[waiting[0]], 0
    piece: list[int] = []
    for index in waiting:
        padded = width * (len(piece) + 1)
        tokens += lengths[index]
        if piece and (padded > piece_tokens or tokens < (1 - MAX_PADDING) * padded):
            break
        piece.append(index)
    return piece


def padded_tokens(piece: Sequence[int], lengths: Sequence[int]) -> int:
    """Tokens of a piece with its padding."""
    return len(piece) * max(lengths[index] for index in piece)


def _fits(work: Callable[[list[list[int]]], None], batch: list[list[int]]) -> bool:
    try:
        work(batch)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    else:
        return True
    # Outside the handler: the exception would keep the frames alive, and with them the tensors that filled the memory.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
