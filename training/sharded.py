"""Models whose parameters are shared out over the processes, made whole for a while.

Measuring and auditing look at whole tensors. With FSDP (version 2) every module gathers its own, with DeepSpeed ZeRO-3
all at once. Every process must come here, and holds the whole model meanwhile.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule

from harness.errors import HarnessError

# Set by accelerate where a model is sharded over the processes: it is then not put on a device whole.
FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"


def asked_for() -> bool:
    """Whether the launcher asks for a sharded model.

    Raises:
        HarnessError: it asks for FSDP version 1, whose flattened parameters nothing here can look into.
    """
    on = [name for name in (FSDP, DEEPSPEED) if os.environ.get(name, "").lower() in ("1", "true", "yes")]
    if FSDP in on and os.environ.get("FSDP_VERSION", "1") != "2":
        raise HarnessError(
            "accelerate launch",
            f"FSDP version {os.environ.get('FSDP_VERSION', '1')}",
            "version 2",
            "Pass --fsdp_version 2, or set fsdp_version: 2 in accelerate's config.",
        )
    return bool(on)


@contextlib.contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Within the block every parameter of the model is a whole tensor; nothing happens where none is shared out."""
    shared = [module for module in model.modules() if isinstance(module, FSDPModule)]
    with _gathered_by_deepspeed(model):
        for module in shared:
            module.unshard()
            # Else a forward would give back its shards behind itself; scoring gathers nothing in inference mode.
            module.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for module in shared:
                module.reshard()
                module.set_reshard_after_forward(True, recurse=False)  # FSDP's own default, which saves memory


def _gathered_by_deepspeed(model: nn.Module) -> Any:
    parameters = [parameter for parameter in model.parameters() if hasattr(parameter, "ds_id")]  # ZeRO-3 marks them so
    if not parameters:
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters)
