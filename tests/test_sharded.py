"""Models that are shared out over processes: measured and audited whole. FSDP itself is run, on two CPU processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from tests.training_world import write_world
from training import sharded

ROOT = Path(__file__).parents[1]


def test_a_model_shared_out_by_fsdp_is_measured_and_audited_whole(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world").root
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "tests/sharded_model.py", str(world)], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("alike") == 2


def test_fsdp_version_1_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not sharded.asked_for()
    monkeypatch.setenv(sharded.FSDP, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert sharded.asked_for()
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(HarnessError, match="found FSDP version 1; expected version 2"):
        sharded.asked_for()
