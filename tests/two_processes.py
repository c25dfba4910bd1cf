"""Run under `accelerate launch`, or alone: the first step's loss and gradients of a run, written to a file.

python tests/two_processes.py WORLD PER_DEVICE OUT
"""

import sys
from pathlib import Path
from typing import Any

import torch

from harness.token_space import read_token_space
from tests.training_world import World
from training.config import BatchConfig, LoraConfig, StepsConfig
from training.processes import leave
from training.run import run_stage
from training.stations import Stations


def main(root: Path, stage: int, per_device: int, out: Path) -> None:
    """Train two steps, with everything that a run does, and keep the gradients of the first."""
    world = World(
        root, read_token_space(root / "shards"), root / "base", root / "surgery/checkpoint_0", root / "train.jsonl"
    )
    kept: dict[str, Any] = {}

    def on_pre_optimizer_step(self: Stations, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
        if state.global_step == 0:
            model = self.trainer.accelerator.unwrap_model(self.trainer.model)
            kept.update({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})

    Stations.on_pre_optimizer_step = on_pre_optimizer_step  # type: ignore[method-assign]
    config = world.config(
        stage, str(out.with_suffix("")), batch=BatchConfig(per_device=per_device, accumulation=2),
        steps=StepsConfig(max_steps=2, log_every=1, eval_every=1, save_every=1),
        lora=LoraConfig(dropout=0.0),  # each process drops out other activations
    )  # fmt: skip
    run_stage(config)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(kept, out)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
