"""What a run takes: its folder, its data, the checkpoint that it begins at; and what it refuses, leaving no trace."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from tests.training_world import World, write_world
from training import claim, prepare
from training.config import (
    LoraConfig,
    MixConfig,
    OptimConfig,
)
from training.measure import read_evaluations
from training.run import run_stage


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


def _quiet(_line: str) -> None:
    pass


def test_a_folder_of_another_run_is_refused_and_left_alone(world: World, tmp_path: Path) -> None:
    config = replace(world.config(3), out=str(tmp_path / "run"))
    run_stage(config, _quiet)
    log = (tmp_path / "run" / "train_log.jsonl").read_bytes()

    with pytest.raises(HarnessError, match="a run that has ended"):
        run_stage(config, _quiet)
    with pytest.raises(HarnessError, match="a run with another seed"):
        run_stage(replace(config, seed=1), _quiet)
    assert (tmp_path / "run" / "train_log.jsonl").read_bytes() == log
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(HarnessError, match="files of something else"):
        run_stage(replace(config, out=str(tmp_path / "mine")), _quiet, fresh=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_other_training_data_under_the_same_path_are_another_run(world: World, tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_bytes(world.train.read_bytes())
    config = replace(world.config(3), out=str(tmp_path / "run"))
    config = replace(config, data=replace(config.data, train=str(train)))
    claim.take(config, fresh=False)
    assert claim.can_go_on(config)
    train.write_bytes(b"".join(world.train.read_bytes().splitlines(keepends=True)[:-1]))

    assert not claim.can_go_on(config)
    with pytest.raises(HarnessError, match="a run with another train"):
        claim.check_free(config, fresh=False)


def test_a_dry_run_writes_nothing(world: World, tmp_path: Path) -> None:
    said: list[str] = []
    config = replace(world.config(3), out=str(tmp_path / "run"))

    assert run_stage(config, said.append, dry_run=True) is None
    assert not (tmp_path / "run").exists()
    assert any(line.startswith("effective batch: 4 a device x 1 accumulated x 1 process = 4") for line in said)
    assert any(line.startswith("audit:") for line in said)


def test_long_examples_are_dropped_and_counted_never_cut(world: World, tmp_path: Path) -> None:
    said: list[str] = []
    config = replace(world.config(3), out=str(tmp_path / "run"))
    config = replace(config, data=replace(config.data, max_tokens=12))
    parts = prepare.prepare(config, said.append)

    assert parts.kept.too_long > 0
    assert (np.diff(parts.plan.sequences.starts) <= 12).all()
    assert f"dropped: {parts.kept.too_long} longer than 12 tokens" in said[0]


def test_what_was_wrong_with_a_config_leaves_no_trace(world: World, tmp_path: Path) -> None:
    """Else the corrected config would be refused as another run's."""
    config = replace(world.config(3), out=str(tmp_path / "run"))
    wrong = {
        "no file|nothing": replace(config, data=replace(config.data, train=str(tmp_path / "typo.jsonl"))),
        "'adamw_torhc'": replace(config, optim=replace(config.optim, name="adamw_torhc")),
    }
    for message, broken in wrong.items():
        with pytest.raises(HarnessError, match=message):
            run_stage(broken, _quiet)
        assert not (tmp_path / "run").exists()
    with pytest.raises(HarnessError, match=r"lora\.targets"):
        run_stage(replace(world.config(4), out=config.out, lora=LoraConfig(targets=["no_such_layer"])), _quiet)
    assert not (tmp_path / "run").exists()


def test_only_tasks_that_are_trained_to_the_end_are_measured(world: World, tmp_path: Path) -> None:
    """A task that is only copied, or ramped away, has no gap to show, and none is asked of it."""
    mix = MixConfig(shares={"i2t": 1.0, "copy_audio": 1.0, "text": 0.0}, start={"a2t": 1.0}, ramp_steps=2)
    config = replace(world.config(3, mix=mix), out=str(tmp_path / "run"), data=replace(world.config(3).data, text=""))
    parts = prepare.prepare(config, _quiet)

    assert parts.dev is not None
    assert [each.task for each in parts.dev.tasks] == ["i2t"]


def test_an_adapter_to_go_on_with_must_have_the_shape_of_the_config(world: World, tmp_path: Path) -> None:
    first = replace(world.config(4), out=str(tmp_path / "trial"))
    run_stage(first, _quiet)
    scale = replace(first, out=str(tmp_path / "scale"), data=replace(first.data, parent=first.out))

    with pytest.raises(HarnessError, match="found rank 8, alpha 16; expected rank 4, alpha 16"):
        run_stage(replace(scale, lora=LoraConfig(rank=4)), _quiet)
    with pytest.raises(HarnessError, match="found a checkpoint with an adapter; expected rows alone"):
        run_stage(replace(world.config(3), out=scale.out, data=scale.data), _quiet)


def test_text_is_held_against_the_base_and_not_against_where_the_run_began(world: World, tmp_path: Path) -> None:
    first = replace(world.config(4), out=str(tmp_path / "trial"), optim=OptimConfig(lr_rows=1e-2, lr_lora=1e-2))
    run_stage(first, _quiet)
    scale = replace(first, out=str(tmp_path / "scale"), data=replace(first.data, parent=first.out))
    parts = prepare.prepare(scale, _quiet)
    run_stage(scale, _quiet)
    began, *_ = read_evaluations(Path(scale.out) / "evals")
    base, *_ = read_evaluations(Path(first.out) / "evals")

    assert parts.base_text is not None
    np.testing.assert_allclose(parts.base_text, base.text, rtol=1e-5)
    assert not np.allclose(parts.base_text, began.text, rtol=1e-5)
