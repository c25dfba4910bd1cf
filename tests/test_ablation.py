"""Ablations: measured on a real checkpoint, joined from blocks, and taken apart."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from harness.ablation import Ablation, ablate, check_losses_differ, joined
from harness.breakdown import by_part, pmi
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.conditions import media_conditions, prompt_conditions
from harness.errors import EvidenceError
from harness.examples import TASKS, Task, regions
from harness.scores import Scores
from harness.settings import Settings
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def checkpoint(shared_tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    out = tmp_path_factory.mktemp("ablation")
    return Checkpoint(open_bundle(shared_tiny.ckpt), _settings(out))


def _settings(out: Path) -> Settings:
    return Settings(device="cpu", dtype="float32", seed=0, batch_tokens=512, max_examples=None, out=out)


def _ablation(checkpoint: Checkpoint, task: Task) -> Ablation:
    return checkpoint.prompt_ablation(task, 12) if task.startswith("t2") else checkpoint.media_ablation(task, 12)


def _blocks(checkpoint: Checkpoint, task: Task, *sizes: int) -> list[Ablation]:
    """Consecutive examples of a task, ablated block by block."""
    space, make = checkpoint.bundle.space, prompt_conditions if task.startswith("t2") else media_conditions
    ends = np.cumsum(sizes)
    blocks = []
    for size, end in zip(sizes, ends, strict=True):
        examples = checkpoint.golden(task)[end - size : end]
        conditions = make(examples, space, np.random.default_rng(0))
        blocks.append(ablate(task, examples, 0, conditions, checkpoint.scorer, space))
    return blocks


@pytest.mark.parametrize("task", TASKS)
def test_every_condition_is_scored_on_the_examples_it_changes(checkpoint: Checkpoint, task: Task) -> None:
    measured = _ablation(checkpoint, task)

    assert measured.null_gap == 0
    for name in measured.scores:
        paired = measured.pair(name)
        assert len(paired.correct) == len(paired.ablated) == len(measured.index[name])
        assert np.isfinite(paired.gaps).all()


@pytest.mark.parametrize("task", ["t2a", "i2t"])
def test_joined_blocks_are_the_blocks_one_after_the_other(checkpoint: Checkpoint, task: Task) -> None:
    blocks = _blocks(checkpoint, task, 5, 4, 3)

    together = joined(blocks)

    assert together.examples == tuple(checkpoint.golden(task))
    assert together.task == task
    for name in blocks[0].scores:
        pairs, whole = [block.pair(name) for block in blocks], together.pair(name)
        for part in fields(whole):
            parts = np.concatenate([getattr(pair, part.name) for pair in pairs])
            assert np.array_equal(getattr(whole, part.name), parts), (name, part.name)
    assert together.scores["correct"].nll == pytest.approx(_ablation(checkpoint, task).scores["correct"].nll, abs=1e-5)


def test_joining_keeps_what_is_left_out_left_out_and_the_worst_gaps(checkpoint: Checkpoint) -> None:
    first, second = _blocks(checkpoint, "t2i", 6, 6)
    # As if the second block's fourth example had no other order, and the first block had none at all.
    kept = np.array([0, 1, 2, 4, 5])
    less = Scores(**{k: v if k == "names" else v[kept] for k, v in second.scores["reordered"].arrays().items()})
    first = replace(first, scores={name: each for name, each in first.scores.items() if name != "reordered"})
    second = replace(
        second,
        scores=second.scores | {"reordered": less},
        index=second.index | {"reordered": kept},
        from_dev=2,
        null_gap=float("nan"),
        canary_gap=1.0,
    )

    together = joined([first, second])

    assert together.index["reordered"].tolist() == [6, 7, 8, 10, 11]
    assert together.index["shuffled"].tolist() == list(range(12))
    assert np.array_equal(together.pair("reordered").ablated, less.nll)
    assert np.array_equal(together.pair("reordered").correct, second.scores["correct"].nll[kept])
    assert together.from_dev == 2
    assert np.isnan(together.null_gap)
    assert together.canary_gap == 1.0


def test_one_block_joined_is_that_block(checkpoint: Checkpoint) -> None:
    (block,) = _blocks(checkpoint, "t2i", 12)

    assert joined([block]).pair("shuffled").gaps.tolist() == block.pair("shuffled").gaps.tolist()


def test_bit_equal_losses_are_an_error() -> None:
    losses, whole = np.array([1.0, 2.0]), np.arange(2)

    with pytest.raises(EvidenceError, match="'empty' bit-equal to those under 'correct' on all 2 examples"):
        check_losses_differ({"correct": losses, "empty": losses.copy()}, {"correct": whole, "empty": whole}, "t2i")


def test_bit_equal_losses_are_an_error_also_where_an_example_was_left_out() -> None:
    losses = {"noise": np.array([1.0, 2.0, 3.0]), "constant": np.array([1.0, 3.0])}
    index = {"noise": np.arange(3), "constant": np.array([0, 2])}

    with pytest.raises(EvidenceError, match="on all 2 examples"):
        check_losses_differ(losses, index, "i2t")


def test_losses_of_different_examples_are_not_compared() -> None:
    index = {"shuffled": np.array([0]), "constant": np.array([1])}

    check_losses_differ({"shuffled": np.ones(1), "constant": np.ones(1)}, index, "i2t")


@pytest.mark.parametrize("task", TASKS)
def test_the_parts_make_up_the_whole(checkpoint: Checkpoint, task: Task) -> None:
    measured = _ablation(checkpoint, task)
    correct = measured.scores["correct"]

    parts = by_part(measured)

    expected = {"t2a": {"AUDIO_CB0", "AUDIO_CB1", "SPECIAL"}, "t2i": {"IMAGE", "SPECIAL"}}.get(
        task, {"TEXT", "SPECIAL"}
    )
    assert {part.name for part in parts} == expected
    labels = sum(regions(e, checkpoint.bundle.space).target.stop - regions(e, checkpoint.bundle.space).target.start
                 for e in measured.examples)  # fmt: skip
    assert sum(part.labels for part in parts) == labels
    assert sum(part.accuracy * part.labels for part in parts) == pytest.approx(correct.hits.sum())
    for name, scores in measured.scores.items():
        assert sum(part.nll[name] * part.labels for part in parts) == pytest.approx(scores.nll_sums.sum())
        if name != "correct":
            gap = sum(part.gaps[name] * part.labels for part in parts)
            assert gap == pytest.approx(scores.nll_sums.sum() - correct.nll_sums.sum(), abs=1e-9)


def test_a_gap_of_a_part_is_over_the_examples_that_the_condition_changed() -> None:
    def scores(*nll: float) -> Scores:
        n = len(nll)
        ones, column = np.ones((n, 1), dtype=np.int64), np.array(nll)[:, None]
        return Scores(np.array(["IMAGE"]), ones, column, column, ones, np.full(n, np.nan))

    measured = Ablation(
        task="t2i", examples=(), from_dev=0, media=(), null_gap=0.0, canary_gap=0.0,
        scores={"correct": scores(1.0, 10.0, 2.0), "reordered": scores(1.5, 3.5)},
        index={"correct": np.arange(3), "reordered": np.array([0, 2])},
    )  # fmt: skip

    (part,) = by_part(measured)

    assert part.gaps == {"reordered": 1.0}  # (1.5 + 3.5)/2 - (1 + 2)/2
    assert part.accuracy == 1.0


@pytest.mark.parametrize(("task", "away"), [("t2i", "empty"), ("a2t", "noise")])
def test_the_information_is_the_total_that_the_context_saves(checkpoint: Checkpoint, task: Task, away: str) -> None:
    measured = _ablation(checkpoint, task)

    labels = measured.scores["correct"].labels.sum(1)
    assert pmi(measured) == pytest.approx(measured.pair(away).gaps * labels)
