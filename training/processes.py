"""The processes that share a run: one, or those of `accelerate launch` or `torchrun`."""

import os

import torch
from accelerate import PartialState

from harness.errors import HarnessError


def processes() -> PartialState:
    """The state that accelerate keeps of them: how many, which is the main one, on which device this one works.

    Raises:
        HarnessError: the launcher was asked for several processes and started one.
    """
    # Without `cpu`, accelerate takes a machine without a GPU for one process, whatever the launcher says.
    state = PartialState(cpu=not torch.cuda.is_available())
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if by_accelerate and "MASTER_ADDR" in os.environ and state.num_processes == 1:
        raise HarnessError(
            "accelerate launch",
            "one process, though it was asked for several",
            "as many as --num_processes says",
            "On a machine without GPUs it starts them only with --multi_gpu, which works there too (gloo).",
        )
    return state


def leave() -> None:
    """End the processes' talk with each other, together: one that just exits may take the others' connections along."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
