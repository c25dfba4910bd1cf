"""A stage of training from its config to its checkpoints: what moves, what cannot, and what a resume changes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.fingerprint import fingerprint
from harness.live_parameters import LiveFingerprint, fingerprint_live, trainable_names
from harness.training_record import read_training_record
from tests.training_world import World, write_world
from training import run as run_module
from training.checkpoints import read_rows
from training.config import (
    BatchConfig,
    OptimConfig,
    PrecisionConfig,
    RunConfig,
    StepsConfig,
    StopConfig,
)
from training.run import run_stage
from training.stations import Stations


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), tied=request.param)


def _quiet(_line: str) -> None:
    pass


def _log(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module under training: fingerprints of everything frozen, taken by the test itself, before and after."""
    seen: dict[str, Any] = {}
    right = run_module.prepare

    def spying(config: RunConfig, say: Any) -> Any:
        parts = right(config, say)
        seen["trainee"] = parts.trainee
        seen["before"] = fingerprint_live(parts.trainee, trainable_names(parts.trainee))
        return parts

    monkeypatch.setattr(run_module, "prepare", spying)
    return seen


def _frozen_as_before(watched: dict[str, Any]) -> bool:
    before: LiveFingerprint = watched["before"]
    return not before.moved_in(watched["trainee"], trainable_names(watched["trainee"]))


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight decay 0.1": {"optim": OptimConfig(lr_rows=1e-2, lr_lora=1e-3, warmup_steps=2, weight_decay=0.1)},
    "bfloat16 parameters": {"precision": PrecisionConfig(base="bfloat16", trained="bfloat16")},
    "bfloat16 base, float32 rows": {"precision": PrecisionConfig(base="bfloat16", trained="float32")},
    "accumulation 4": {"batch": BatchConfig(per_device=2, accumulation=4)},
    "adafactor": {"optim": OptimConfig(lr_rows=1e-2, lr_lora=1e-3, name="adafactor", weight_decay=0.1)},
}


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize("name", VARIANTS)
def test_text_rows_stay_bit_identical_and_new_rows_move(
    world: World, stage: int, name: str, watched: dict[str, Any], tmp_path: Path
) -> None:
    config = replace(world.config(stage, **VARIANTS[name]), out=str(tmp_path / "run"))
    outcome = run_stage(config, _quiet)

    assert outcome is not None
    assert _frozen_as_before(watched)
    before, after = read_rows(world.surgery), read_rows(outcome.checkpoint)
    dtype = getattr(torch, config.precision.trained)
    assert (after.embeddings != before.embeddings.to(dtype)).any(1).float().mean() > 0.2
    if before.lm_head is not None:
        assert after.lm_head is not None
        assert (after.lm_head != before.lm_head.to(dtype)).any(1).all()
    # The base on disk is untouched too, and its fingerprint is that of the surgery.
    recorded = json.loads((outcome.checkpoint / "base_fingerprint.json").read_text())
    assert recorded["tensors"] == fingerprint(world.base, world.space.text_vocab_size).tensors


@pytest.mark.parametrize("stage", [3, 4])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    world: World, stage: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = run_stage(replace(world.config(stage), out=str(tmp_path / "whole")), _quiet)
    config = replace(world.config(stage), out=str(tmp_path / "cut"))
    on_step_end = Stations.on_step_end

    def interrupted(self: Stations, args: Any, state: Any, control: Any, **more: Any) -> None:
        on_step_end(self, args, state, control, **more)
        if state.global_step == 5:  # a step after the last checkpoint
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Stations, "on_step_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stage(config, _quiet)
    resumed = run_stage(config, _quiet)

    assert whole is not None
    assert resumed is not None
    one, other = _log(str(tmp_path / "whole")), _log(config.out)
    assert [line["step"] for line in one] == [line["step"] for line in other]
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        np.testing.assert_allclose(list(left.values()), list(right.values()), rtol=1e-5, atol=1e-6)
    for name, tensor in load_file(whole.checkpoint / "trainable_rows.safetensors").items():
        again = load_file(resumed.checkpoint / "trainable_rows.safetensors")[name]
        torch.testing.assert_close(again, tensor, rtol=1e-5, atol=1e-6)


def test_accumulating_four_forwards_is_one_step_of_four_times_the_batch(world: World, tmp_path: Path) -> None:
    logs = []
    for per_device, accumulation in ((8, 1), (2, 4)):
        batch = BatchConfig(per_device=per_device, accumulation=accumulation)
        steps = StepsConfig(max_steps=3, log_every=1, eval_every=0, save_every=3)
        config = replace(world.config(batch=batch, steps=steps), out=str(tmp_path / f"run{accumulation}"))
        run_stage(config, _quiet)
        logs.append(_log(config.out))

    for one, other in zip(*logs, strict=True):
        np.testing.assert_allclose(one["loss_mean"], other["loss_mean"], rtol=1e-5)
        np.testing.assert_allclose(one["grad_norm"], other["grad_norm"], rtol=1e-4)


def test_a_checkpoint_says_how_its_run_went(world: World, tmp_path: Path) -> None:
    config = replace(world.config(4), out=str(tmp_path / "run"))
    outcome = run_stage(config, _quiet)

    assert outcome is not None
    found = read_training_record(outcome.checkpoint)
    assert found is not None
    assert (found.step, found.stopped, found.effective_batch, found.train_rows) == (6, "steps", 4, 192)
    assert found.sources == {"source-0": 96, "source-1": 96}
    assert found.learning_rates["lr_lora"].peak == config.optim.lr_lora
    midway = read_training_record(Path(config.out) / "checkpoint_2")
    assert midway is not None
    assert midway.stopped == "running"


def test_the_log_holds_losses_by_task_norms_rates_and_evaluations(world: World, tmp_path: Path) -> None:
    config = replace(world.config(4), out=str(tmp_path / "run"))
    run_stage(config, _quiet)
    lines = _log(config.out)

    assert [line["step"] for line in lines] == [0, 2, 4, 4, 6, 6]
    trained, measured = lines[1], lines[0]
    assert {"loss_mean", "t2i_avg", "t2a_avg", "a2t_avg", "i2t_avg", "lr", "lr_lora", "grad_norm"} <= trained.keys()
    assert {"emb_norm_mean", "emb_norm_std", "head_norm_mean", "head_norm_std"} <= trained.keys()
    assert {"delta_shuffle_a2t", "win_noise_i2t", "delta_empty_t2a", "dev_loss_t2i", "text_loss"} <= measured.keys()
    assert trained["lr"] == pytest.approx(1e-2)
    assert trained["lr_lora"] == pytest.approx(1e-3)


def test_stage_4_goes_on_from_a_stage_3_run_and_from_its_own_checkpoint(world: World, tmp_path: Path) -> None:
    third = replace(world.config(3), out=str(tmp_path / "stage3"))
    run_stage(third, _quiet)
    fourth = replace(world.config(4), out=str(tmp_path / "stage4"))
    fourth = replace(fourth, data=replace(fourth.data, parent=third.out))
    first = run_stage(fourth, _quiet)
    scale = replace(fourth, out=str(tmp_path / "scale"), data=replace(fourth.data, parent=fourth.out))
    second = run_stage(scale, _quiet)

    assert first is not None
    assert second is not None
    assert json.loads((first.checkpoint / "bundle.json").read_text())["parent"] == "../../stage3/checkpoint_6"
    before = load_file(first.checkpoint / "adapter" / "adapter_model.safetensors")
    after = load_file(second.checkpoint / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
    step_0 = _log(scale.out)[0]
    last = [line for line in _log(fourth.out) if "dev_loss_t2a" in line][-1]
    assert step_0["dev_loss_t2a"] == pytest.approx(last["dev_loss_t2a"], rel=1e-5)


def test_trackers_get_the_tasks_losses_and_the_evaluations(world: World, tmp_path: Path) -> None:
    """What the Trainer hands to wandb and the others is its log history, which it also keeps to resume from."""
    config = replace(world.config(4), out=str(tmp_path / "run"))
    run_stage(config, _quiet)
    state = json.loads((tmp_path / "run" / ".resume" / "checkpoint-6" / "trainer_state.json").read_text())
    keys = {key for entry in state["log_history"] for key in entry}

    assert {"loss", "a2t_avg", "t2i_avg", "head_norm_mean", "learning_rate", "grad_norm"} <= keys
    assert {"eval_delta_shuffle_a2t", "eval_win_empty_t2a", "eval_text_loss"} <= keys


def test_head_rows_stay_where_they_are_not_asked_to_train(world: World, tmp_path: Path) -> None:
    outcome = run_stage(replace(world.config(3), out=str(tmp_path / "run"), train_head=False), _quiet)

    assert outcome is not None
    before, after = read_rows(world.surgery), read_rows(outcome.checkpoint)
    assert (after.embeddings != before.embeddings).any()
    if before.lm_head is not None:
        assert after.lm_head is not None
        assert torch.equal(after.lm_head, before.lm_head)


def test_the_plateau_rule_ends_a_run_before_its_last_step(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a rate too low to change anything, every gap stands still; how large they are is not asked here."""
    monkeypatch.setattr("training.plateau._near_zero", lambda _gap, _below: False)
    steps = StepsConfig(max_steps=20, log_every=2, eval_every=2, save_every=10)
    config = world.config(3, steps=steps, optim=OptimConfig(lr_rows=1e-7), stop=StopConfig(window=3, max_growth=1.0))
    monkeypatch.setattr("training.plateau._at_most", lambda measured, _bound: measured.value is not None)
    outcome = run_stage(replace(config, out=str(tmp_path / "run")), _quiet)

    assert outcome is not None
    assert (outcome.step, outcome.stopped) == (6, "plateau")
    record = read_training_record(outcome.checkpoint)
    assert record is not None
    assert record.stopped == "plateau"
    assert [line["step"] for line in _log(str(tmp_path / "run"))][-1] == 6
