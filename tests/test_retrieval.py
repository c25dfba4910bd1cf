"""Retrieval: the true prompt's rank among others of different content."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import retrieval as module
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.conditions import prompts_of, with_prompt
from harness.errors import ExampleError
from harness.retrieval import Retrieval, other_prompts, ranks_of
from harness.settings import Settings
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def checkpoint(shared_tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return _checkpoint(shared_tiny, tmp_path_factory.mktemp("retrieval"))


def _checkpoint(tiny: Tiny, out: Path) -> Checkpoint:
    settings = Settings(device="cpu", dtype="float32", seed=0, batch_tokens=512, max_examples=None, out=out)
    return Checkpoint(open_bundle(tiny.ckpt), settings)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.integers(1, 12), st.integers(1, 8), st.integers(0, 3))
def test_the_others_differ_from_the_true_prompt_and_from_each_other(
    contents: list[int], n: int, k: int, seed: int
) -> None:
    if len(set(contents)) < 2:
        contents.append(10)

    drawn = other_prompts([np.array([c]) for c in contents], n, k, np.random.default_rng(seed))

    assert drawn.shape == (min(n, len(contents)), min(k, len(set(contents)) - 1))
    for i, others in enumerate(drawn):
        assert len({contents[i], *(contents[j] for j in others)}) == 1 + len(others)


def test_equal_prompts_throughout_are_an_error() -> None:
    with pytest.raises(ExampleError, match="3 prompts: found all of equal content"):
        other_prompts([np.array([1])] * 3, 3, 7, np.random.default_rng(0))


def test_ranks_count_the_losses_that_are_not_higher() -> None:
    own = np.array([1.0, 1.0, 1.0, np.nan, 1.0])
    others = np.array([[2.0, 3.0], [1.0, 2.0], [0.5, 0.1], [1.0, 2.0], [np.inf, 2.0]])

    ranks = ranks_of(own, others)

    assert ranks[:3].tolist() == [1, 2, 3]
    assert np.isnan(ranks[3:]).all()


def test_recall_and_chance() -> None:
    ranked = Retrieval("t2i", 8, np.array([1.0, 1.0, 1.0, 8.0]))

    assert (ranked.hits, ranked.n, ranked.chance, ranked.mean_rank) == (3, 4, 0.125, 2.75)


def test_ranks_are_those_of_scoring_one_prompt_at_a_time(checkpoint: Checkpoint) -> None:
    examples, space = checkpoint.golden("t2a"), checkpoint.bundle.space

    measured = checkpoint.retrieval("t2a", 12)

    assert measured.candidates == 8
    assert measured.n == len(examples) == 12
    prompts = prompts_of(examples, space)
    drawn = other_prompts(prompts, 64, 7, checkpoint.rng("retrieval", "t2a"))
    for i, others in enumerate(drawn):
        losses = [
            checkpoint.scorer([with_prompt(examples[i], prompts[j], space)], label="one", modality="audio").nll[0]
            for j in (i, *others)
        ]
        assert measured.ranks[i] == 1 + sum(loss <= losses[0] for loss in losses[1:])


def test_only_the_first_examples_are_ranked(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.RETRIEVAL_EXAMPLES == 64
    monkeypatch.setattr(module, "RETRIEVAL_EXAMPLES", 5)
    monkeypatch.setattr(module, "CANDIDATES", 99)

    measured = checkpoint.retrieval("t2i", 12)

    # Fewer different prompts than candidates: as many as there are.
    assert (measured.n, measured.candidates, measured.chance) == (5, 12, 1 / 12)


def test_the_true_prompts_scores_are_the_ablations(shared_tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = _checkpoint(shared_tiny, tmp_path)
    checkpoint.prompt_ablation("t2i", 12)
    checkpoint.retrieval("t2i", 12)

    assert [use.label for use in checkpoint.evidence.uses if not use.measured] == ["t2i: correct"]
