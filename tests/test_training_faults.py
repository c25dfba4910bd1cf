"""Faults planted in the training code path: each is noticed within 200 steps, most of them before the first.

docs/training.md has the table of these; a test holds it to this one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.examples import IGNORED
from harness.files import write_jsonl
from tests.gating import outcomes, run_gates
from tests.training_world import World, write_world
from training import batches, prepare, stations
from training.config import OptimConfig, RunConfig
from training.config_files import read_config
from training.rows import SplitTable, tables_of
from training.run import run_stage
from training.sequences import TrainSequence
from training.trainee import Trainee

ROOT = Path(__file__).parents[1]
Plant = Callable[[pytest.MonkeyPatch, RunConfig], RunConfig]


@dataclass(frozen=True)
class Fault:
    """Attributes: noticed: by what, as docs/training.md says; message: part of the error; plant: plants it."""

    noticed: str
    message: str
    plant: Plant


def _table_trains(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    """The text rows become a parameter like the new ones."""

    def everything(model: Any) -> Trainee:
        for table in tables_of(model):
            text = table.text
            del table._buffers["text"]
            table.register_parameter("text", torch.nn.Parameter(text))
        return Trainee(model)

    patch.setattr(prepare, "Trainee", everything)
    return config


def _table_decays(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    """A masked gradient under weight decay: nothing asks for gradients, and text rows shrink all the same."""
    step = stations.Stations.on_step_end

    def decaying(self: stations.Stations, args: Any, state: Any, control: Any, **more: Any) -> None:
        embedding: SplitTable = tables_of(self.trainer.model.model)[0]
        embedding.text.mul_(1 - 1e-3)
        step(self, args, state, control, **more)

    patch.setattr(stations.Stations, "on_step_end", decaying)
    return config


def _labels(change: Callable[[np.ndarray, TrainSequence], np.ndarray]) -> Plant:
    """Other labels of each sequence."""

    def plant(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
        right = batches.labels_of_sequence
        patch.setattr(batches, "labels_of_sequence", lambda one: change(right(one).copy(), one))
        return config

    return plant


def _without_end(labels: np.ndarray, _one: TrainSequence) -> np.ndarray:
    labels[-1] = IGNORED
    return labels


def _pads_in_loss(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    right = batches.collate

    def padded(sequences: Any, pad_id: int) -> batches.Batch:
        batch = right(sequences, pad_id)
        return batches.Batch(batch.input_ids, batch.labels.masked_fill(batch.input_ids == pad_id, pad_id))

    patch.setattr(batches, "collate", padded)
    return config


def _loss_shifted(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    """Each state predicts the id after the next: the labels are right, and the loss shifts once too often."""
    right = batches._label_nll

    def shifted(backbone: Any, head: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        return right(backbone, head, input_ids, torch.roll(labels, -1, dims=1))

    patch.setattr(batches, "_label_nll", shifted)
    return config


def _media_never_fed(patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    forward = Trainee.forward

    def blind(self: Trainee, input_ids: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Any:
        first_code = len(tables_of(self.model)[0].text) + 16
        return forward(self, input_ids.masked_fill(input_ids >= first_code, first_code - 1), labels, weights)

    patch.setattr(Trainee, "forward", blind)
    return config


def _no_rate(_patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    return replace(config, optim=replace(config.optim, lr_rows=0.0))


def _exploding(_patch: pytest.MonkeyPatch, config: RunConfig) -> RunConfig:
    return replace(config, optim=OptimConfig(lr_rows=1e30, warmup_steps=0, clip=0.0))


FAULTS = {
    "the whole table is trainable": Fault("audit before the first step", "gradients for model.", _table_trains),
    "weight decay on masked text rows": Fault(
        "audit after the first step", "embed_tokens.text (48 rows: 0, 1, 2, 3, 4, …)", _table_decays
    ),
    "pads in the loss": Fault("audit before the first step", "which is a pad", _pads_in_loss),
    "the prompt in the loss": Fault(
        "audit before the first step",
        "the target block with both its tags is supervised, and nothing else",
        _labels(lambda _labels, one: one.ids.copy()),
    ),
    "labels shifted by one": Fault(
        "audit before the first step",
        "the target block with both its tags is supervised",
        _labels(lambda labels, _one: np.roll(labels, 1)),
    ),
    "the loss shifted once too often": Fault("audit before the first step", "a training loss of", _loss_shifted),
    "the end tag unsupervised": Fault("audit before the first step", "which is <|text_end|>", _labels(_without_end)),
    "media never fed": Fault("audit before the first step", "a training loss of", _media_never_fed),
    "learning rate 0": Fault("audit after the first step", "no change in embeddings", _no_rate),
    "a learning rate that explodes": Fault("the log, at its next line", "not finite", _exploding),
}
BY_LEARNING = {"captions rolled by one": "stop rule: the gap is still near zero; S3.4 is red"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("stage", [3, 4])
def test_a_planted_fault_is_noticed(
    name: str, stage: int, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    config = fault.plant(monkeypatch, replace(world.config(stage), out=str(tmp_path / "run")))

    with pytest.raises(HarnessError, match=re.escape(fault.message)):
        run_stage(config, lambda _line: None)
    assert not list((tmp_path / "run").glob("checkpoint_*")), "a checkpoint was written all the same"


def test_without_a_fault_nothing_is_noticed(world: World, tmp_path: Path) -> None:
    assert run_stage(replace(world.config(3), out=str(tmp_path / "run")), lambda _line: None) is not None


def _small(run_folder: Path, train: Path, out: Path) -> RunConfig:
    """Stage 3 of the small demo, with a look for a gap after 100 steps."""
    overrides = ["steps.max_steps=120", "stop.on_plateau=false", "stop.near_zero_after=100"]
    config = read_config("demo-stage3", overrides=overrides)
    data = replace(
        config.data, parent=str(run_folder / "surgery"), train=str(train),
        text=str(run_folder / "data" / "text_train.jsonl"),
    )  # fmt: skip
    return replace(config, out=str(out), data=data)


def _rolled(path: Path, target: Path) -> Path:
    """The training examples, each with the caption of the one before it."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if '"task": "i2t"' in line or '"a2t"' in line]
    by_task = {task: [row for row in rows if row["task"] == task] for task in ("a2t", "i2t")}
    turned = []
    for same in by_task.values():
        for row, other in zip(same, [*same[1:], same[0]], strict=True):
            start, theirs = row["labels"].count(IGNORED), other["labels"].count(IGNORED)
            ids = row["input_ids"][:start] + other["input_ids"][theirs:]
            labels = [IGNORED] * start + other["input_ids"][theirs:]
            turned.append({**row, "input_ids": ids, "labels": labels, "length": len(ids)})
    write_jsonl(target, turned)
    return target


def test_rolled_captions_end_the_run_since_no_gap_appears(
    small_run: Path, pytester: pytest.Pytester, tmp_path: Path
) -> None:
    train = _rolled(small_run / "data" / "train.jsonl", tmp_path / "rolled.jsonl")
    outcome = run_stage(_small(small_run, train, tmp_path / "rolled"), lambda _line: None)

    assert outcome is not None
    assert (outcome.stopped, outcome.step) == ("near_zero", 100)
    assert "still near zero at step 100" in outcome.sentence
    code, verdict = run_gates(pytester, "stage3", outcome.checkpoint)
    assert code == 1
    assert outcomes(verdict)["S3.4"] == "fail"


def test_right_captions_make_a_gap_by_then(small_run: Path, tmp_path: Path) -> None:
    config = _small(small_run, small_run / "data" / "train.jsonl", tmp_path / "right")
    outcome = run_stage(config, lambda _line: None)

    assert outcome is not None
    assert (outcome.stopped, outcome.step) == ("steps", 120)


def test_the_docs_have_the_table_of_these_faults() -> None:
    docs = (ROOT / "docs" / "training.md").read_text()
    expected = {name: fault.noticed for name, fault in FAULTS.items()} | BY_LEARNING

    for name, noticed in expected.items():
        assert f"| {name} | {noticed} |" in docs
