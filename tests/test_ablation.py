"""Ablation conditions: derangements over content, and conditions that really differ."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.ablation import check_losses_differ
from harness.conditions import (
    MEDIA_CONDITIONS,
    PROMPT_CONDITIONS,
    Condition,
    check_conditions_differ,
    derangement,
    media_conditions,
    prompt_conditions,
)
from harness.errors import EvidenceError, ExampleError
from harness.examples import READ_TASKS, WRITE_TASKS, Task, read_examples, regions
from harness.scoring import ScoreItem
from tests.tiny import Tiny


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40), st.integers(0, 5))
def test_a_derangement_never_gives_equal_content(keys: list[str], seed: int) -> None:
    assume(2 * max(Counter(keys).values()) <= len(keys))

    result = derangement(keys, np.random.default_rng(seed), what="prompts")

    assert sorted(result) == list(range(len(keys)))
    assert all(keys[i] != keys[j] for i, j in enumerate(result))


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=20))
def test_an_impossible_derangement_says_so(keys: list[str]) -> None:
    assume(2 * max(Counter(keys).values()) > len(keys))

    with pytest.raises(ExampleError, match="with equal content; expected at most half of them equal"):
        derangement(keys, np.random.default_rng(0), what="prompts")


@pytest.mark.parametrize("task", WRITE_TASKS)
def test_prompt_conditions_change_the_prompt_and_nothing_else(shared_tiny: Tiny, task: Task) -> None:
    examples = read_examples(shared_tiny.golden, shared_tiny.space, [task])

    conditions = prompt_conditions(examples, shared_tiny.space, np.random.default_rng(0))

    assert tuple(conditions) == PROMPT_CONDITIONS
    check_conditions_differ(conditions, task)
    for condition in conditions.values():
        for example, item in zip(examples, condition.items, strict=True):
            target = regions(example, shared_tiny.space).target
            assert np.array_equal(item.ids[item.target], example.input_ids[target])
    assert all(len(item.ids) == item.target.stop for item in conditions["empty"].items)
    assert {item.target.start for item in conditions["empty"].items} == {3}  # text_start, text_end, gen


@pytest.mark.parametrize("task", READ_TASKS)
def test_media_conditions_are_legal_and_keep_the_text(shared_tiny: Tiny, task: Task) -> None:
    space = shared_tiny.space
    examples = read_examples(shared_tiny.golden, space, [task])

    conditions = media_conditions(examples, space, np.random.default_rng(0))

    assert tuple(conditions) == MEDIA_CONDITIONS
    check_conditions_differ(conditions, task)
    for name, condition in conditions.items():
        for example, item in zip(examples, condition.items, strict=True):
            span = item.ids[regions(example, space).media]
            assert np.array_equal(item.ids[item.target], example.input_ids[regions(example, space).target])
            assert space.in_range(example.modality, span).all()
            # Permuting audio ids moves them out of turn, as the field's own shuffle does; the others stay in turn.
            assert name == "shuffled" or space.in_turn(example.modality, span).all()
    for example, item in zip(examples, conditions["shuffled"].items, strict=True):
        assert Counter(item.ids.tolist()) == Counter(example.input_ids.tolist())


def test_conditions_that_do_not_differ_are_an_error() -> None:
    item = ScoreItem(np.arange(4), slice(2, 4))

    condition = Condition((item,), np.arange(1))

    with pytest.raises(EvidenceError, match="1 inputs of the condition 'shuffled' equal to the correct ones"):
        check_conditions_differ({"correct": condition, "shuffled": condition}, "t2i")


def test_bit_equal_losses_are_an_error() -> None:
    losses = np.array([1.0, 2.0])

    with pytest.raises(EvidenceError, match="bit-equal to those under 'correct' on all 2 examples"):
        check_losses_differ({"correct": losses, "empty": losses.copy()}, "t2i")
