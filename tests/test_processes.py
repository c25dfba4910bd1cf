"""Two processes train as one with twice the batch does: the same sequences, losses, gradients and checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training_world import write_world

ROOT = Path(__file__).parents[1]
# --multi_gpu: without it, and without GPUs, accelerate starts one process. On CPUs the two then talk through gloo.
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip


def _train(
    world: Path, stage: int, n_processes: int, out: Path
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    launch = LAUNCH if n_processes == 2 else []
    command = [sys.executable, *launch, "tests/two_processes.py"]
    arguments = [str(world), str(stage), str(4 // n_processes), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    log = (out.with_suffix("") / "train_log.jsonl").read_text().splitlines()
    return torch.load(out, weights_only=True), [json.loads(line) for line in log]


@pytest.mark.parametrize("stage", [3, 4])
def test_two_processes_give_the_loss_and_gradients_of_one_with_twice_the_batch(stage: int, tmp_path: Path) -> None:
    world = write_world(tmp_path / "world").root
    one, log_of_one = _train(world, stage, 1, tmp_path / "one.pt")
    two, log_of_two = _train(world, stage, 2, tmp_path / "two.pt")

    assert one.keys() == two.keys()
    assert any(gradient.abs().max() > 0 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-4, atol=1e-7)
    assert len(log_of_one) == len(log_of_two) > 2
    for left, right in zip(log_of_one, log_of_two, strict=True):
        assert left.keys() == right.keys()
        np.testing.assert_allclose(list(left.values()), list(right.values()), rtol=1e-4, atol=1e-6)
    rows = [load_file(tmp_path / name / "checkpoint_2" / "trainable_rows.safetensors") for name in ("one", "two")]
    for name, tensor in rows[0].items():
        torch.testing.assert_close(rows[1][name], tensor, rtol=1e-4, atol=1e-6)


def test_one_process_where_several_were_asked_for_is_an_error(tmp_path: Path) -> None:
    """Without GPUs accelerate starts a single process, silently; half the batch would pass for the whole."""
    world = write_world(tmp_path / "world").root
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--mixed_precision", "no"]
    done = subprocess.run(
        [sys.executable, *launch, "tests/two_processes.py", str(world), "3", "2", str(tmp_path / "x.pt")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert done.returncode != 0
    assert "found one process, though it was asked for several" in done.stderr
    assert not (tmp_path / "x").exists()
