"""Run under torchrun: a model shared out over two processes by FSDP is measured and audited as the whole one is.

torchrun --nproc_per_node 2 tests/sharded_model.py WORLD
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from harness.live_parameters import fingerprint_live, trainable_names
from harness.token_space import read_token_space
from tests.training_world import World
from training.measure import evaluate
from training.prepare import prepare
from training.sharded import whole


def main(root: Path) -> None:
    """Evaluate and fingerprint before sharding, and after it within `whole`; outside of it the shards are back."""
    dist.init_process_group("gloo")
    space = read_token_space(root / "shards")
    world = World(root, space, root / "base", root / "surgery/checkpoint_0", root / "train.jsonl")
    parts = prepare(world.config(4), lambda _line: None)
    assert parts.dev is not None
    trainee, trained = parts.trainee, trainable_names(parts.trainee)
    alone, frozen = evaluate(trainee.model, parts.dev, 0, 8192), fingerprint_live(trainee, trained)

    mesh = init_device_mesh("cpu", (2,))
    for layer in trainee.language_model.base_model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(trainee, mesh=mesh)
    assert all(isinstance(p, torch.distributed.tensor.DTensor) for p in trainee.parameters())
    with whole(trainee):
        together = evaluate(trainee.model, parts.dev, 0, 8192)
        assert not frozen.moved_in(trainee, trained)
        embedding = trainee.language_model.get_input_embeddings()
        embedding.text[3, 1] += 1e-3
        assert [str(each) for each in frozen.moved_in(trainee, trained)] == [
            "model.base_model.model.model.embed_tokens.text (1 rows: 3)"
        ]
    assert all(isinstance(p, torch.distributed.tensor.DTensor) for p in trainee.parameters())
    for name, losses in alone.correct.items():
        np.testing.assert_allclose(together.correct[name], losses, rtol=1e-5)
    print("alike", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
