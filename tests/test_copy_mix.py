"""The copy mix: media's own ids copied and restored from noise, in a run that has no share of some examples' tasks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training_world import write_world
from training.config import MixConfig, StepsConfig
from training.run import run_stage


@pytest.mark.parametrize(
    "shares", [{"i2t": 1.0, "copy_audio": 1.0, "denoise_image": 1.0}, {"a2t": 1.0, "copy_image": 1.0, "text": 1.0}]
)
def test_media_are_copied_from_examples_whose_own_task_has_no_share(shares: dict[str, float], tmp_path: Path) -> None:
    world = write_world(tmp_path)
    steps = StepsConfig(max_steps=3, log_every=3, eval_every=0, save_every=3)
    config = replace(world.config(3), mix=MixConfig(shares=shares), steps=steps)
    outcome = run_stage(config, lambda _line: None)
    (line,) = [json.loads(line) for line in (Path(config.out) / "train_log.jsonl").read_text().splitlines()]

    assert outcome is not None
    assert {key for key in line if key.endswith("_avg")} == {f"{task}_avg" for task in shares}
