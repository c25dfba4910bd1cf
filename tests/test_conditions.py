"""Conditions: what each changes, what it cannot change, and that they really differ."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.conditions import (
    MEDIA_CONDITIONS,
    PROMPT_CONDITIONS,
    Condition,
    check_conditions_differ,
    content_key,
    media_conditions,
    media_of,
    other_order,
    prompt_conditions,
    prompts_of,
)
from harness.errors import EvidenceError, ExampleError
from harness.examples import READ_TASKS, WRITE_TASKS, Example, Task, build_sequence, read_examples, regions
from harness.scores import ScoreItem
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import Tiny, token_space_object


def _written(number: int, text: list[int], space: TokenSpace) -> Example:
    """A t2i example with a picture of its own."""
    media = space.to_ids("image", np.array([number, 8, 9, 10]))
    return Example(f"e{number}", "t2i", "made", build_sequence("t2i", text, media, space), None, None, {})


def _read(number: int, codes: list[int], space: TokenSpace) -> Example:
    """An i2t example with these image codes."""
    media = space.to_ids("image", np.array(codes))
    return Example(f"e{number}", "i2t", "made", build_sequence("i2t", [number], media, space), None, None, {})


@pytest.mark.parametrize("task", WRITE_TASKS)
def test_prompt_conditions_change_the_prompt_and_nothing_else(shared_tiny: Tiny, task: Task) -> None:
    examples = read_examples(shared_tiny.golden, shared_tiny.space, [task])

    conditions = prompt_conditions(examples, shared_tiny.space, np.random.default_rng(0))

    assert tuple(conditions) == PROMPT_CONDITIONS
    check_conditions_differ(conditions, task)
    for condition in conditions.values():
        for i, item in zip(condition.index, condition.items, strict=True):
            target = regions(examples[i], shared_tiny.space).target
            assert np.array_equal(item.ids[item.target], examples[i].input_ids[target])
    assert all(len(item.ids) == item.target.stop for item in conditions["empty"].items)
    assert {item.target.start for item in conditions["empty"].items} == {3}  # text_start, text_end, gen
    for i, item in zip(conditions["reordered"].index, conditions["reordered"].items, strict=True):
        assert Counter(item.ids.tolist()) == Counter(examples[i].input_ids.tolist())


def test_a_shuffled_prompt_has_the_same_length_where_another_has(shared_tiny: Tiny) -> None:
    examples = read_examples(shared_tiny.golden, shared_tiny.space, ["t2i"])

    shuffled = prompt_conditions(examples, shared_tiny.space, np.random.default_rng(0))["shuffled"]

    # The tiny prompts have 3, 4 and 5 ids, each length several times.
    assert [len(item.ids) for item in shuffled.items] == [len(example.input_ids) for example in examples]


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


def test_swapped_media_are_never_of_equal_content(space: TokenSpace) -> None:
    examples = [_read(i, [i // 3, 8], space) for i in range(12)]  # every picture three times

    swapped = media_conditions(examples, space, np.random.default_rng(0))["swapped"]

    own = [content_key(ids) for ids in media_of(examples, space)]
    theirs = [content_key(item.ids[regions(e, space).media]) for e, item in zip(examples, swapped.items, strict=True)]
    assert Counter(theirs) == Counter(own)
    assert all(mine != other for mine, other in zip(own, theirs, strict=True))


def test_an_example_that_a_condition_cannot_change_is_left_out_of_it(space: TokenSpace) -> None:
    # The first has one id, repeated: no other order. The second is what `constant` would make of it, too.
    examples = [_read(0, [5, 5, 5], space), _read(1, [0, 0, 0], space), _read(2, [1, 2, 3], space)]

    conditions = media_conditions(examples, space, np.random.default_rng(0))

    assert {name: each.index.tolist() for name, each in conditions.items()} == {
        "correct": [0, 1, 2], "shuffled": [2], "swapped": [0, 1, 2], "noise": [0, 1, 2], "constant": [0, 2],
    }  # fmt: skip


def test_prompts_of_one_id_have_no_other_order(space: TokenSpace) -> None:
    examples = [_written(0, [1], space), _written(1, [2, 3], space), _written(2, [], space), _written(3, [4, 4], space)]

    conditions = prompt_conditions(examples, space, np.random.default_rng(0))

    assert conditions["reordered"].index.tolist() == [1]
    assert conditions["empty"].index.tolist() == [0, 1, 3]


def test_a_set_of_one_word_prompts_is_measured_without_the_other_order(space: TokenSpace) -> None:
    examples = [_written(i, [i], space) for i in range(4)]

    assert tuple(prompt_conditions(examples, space, np.random.default_rng(0))) == ("correct", "shuffled", "empty")


def test_a_condition_that_changes_no_example_says_so(space: TokenSpace) -> None:
    examples = [_read(i, [i, i], space) for i in range(3)]

    with pytest.raises(ExampleError, match="3 i2t examples: found none that the condition 'shuffled' can change"):
        media_conditions(examples, space, np.random.default_rng(0))


def test_equal_prompts_throughout_say_so(space: TokenSpace) -> None:
    examples = [_written(i, [7], space) for i in range(3)]

    with pytest.raises(ExampleError, match="3 prompts: found 3 with equal content; expected at most half"):
        prompt_conditions(examples, space, np.random.default_rng(0))


def test_equal_media_throughout_say_so(space: TokenSpace) -> None:
    examples = [_read(i, [1, 2], space) for i in range(3)]

    with pytest.raises(ExampleError, match="3 media: found 3 with equal content; expected at most half"):
        media_conditions(examples, space, np.random.default_rng(0))


@given(st.lists(st.integers(0, 2), max_size=6), st.integers(0, 20))
def test_another_order_is_another_one_where_there_is_one(ids: list[int], seed: int) -> None:
    result = other_order(np.array(ids, dtype=np.int64), np.random.default_rng(seed)).tolist()

    assert sorted(result) == sorted(ids)
    assert (result == ids) == (len(set(ids)) < 2)


@given(st.integers(0, 50))
def test_noise_never_equals_the_media(seed: int) -> None:
    obj = token_space_object()
    obj["ranges"]["IMAGE"] |= {"end": obj["ranges"]["IMAGE"]["start"] + 1, "size": 2}  # two codes: a coin a position
    space = parse_token_space(obj)
    examples = [_read(i, codes, space) for i, codes in enumerate([[0, 1], [1, 0], [1, 1, 0]])]

    conditions = media_conditions(examples, space, np.random.default_rng(seed))

    assert conditions["noise"].index.tolist() == [0, 1, 2]
    check_conditions_differ({name: conditions[name] for name in ("correct", "noise")}, "i2t")


def test_the_same_seed_makes_the_same_conditions(shared_tiny: Tiny) -> None:
    examples = read_examples(shared_tiny.golden, shared_tiny.space, ["t2a"])

    first, second = (prompt_conditions(examples, shared_tiny.space, np.random.default_rng(3)) for _ in range(2))

    for name in PROMPT_CONDITIONS:
        assert all(np.array_equal(a.ids, b.ids) for a, b in zip(first[name].items, second[name].items, strict=True))


def test_prompts_are_the_text_without_its_tags(space: TokenSpace) -> None:
    assert [ids.tolist() for ids in prompts_of([_written(0, [3, 1], space)], space)] == [[3, 1]]


def test_an_input_equal_to_the_correct_one_is_an_error() -> None:
    item = ScoreItem(np.arange(4), slice(2, 4))

    condition = Condition((item,), np.arange(1))

    with pytest.raises(EvidenceError, match="1 inputs of the condition 'shuffled' equal to the correct ones"):
        check_conditions_differ({"correct": condition, "shuffled": condition}, "t2i")


def test_two_conditions_that_are_the_same_are_an_error() -> None:
    correct, other = (ScoreItem(np.arange(4) + i, slice(2, 4)) for i in range(2))
    conditions = {
        "correct": Condition((correct, correct), np.arange(2)),
        "noise": Condition((other, other), np.arange(2)),
        "constant": Condition((replace(other),), np.array([1])),
    }

    with pytest.raises(EvidenceError, match="the condition 'noise' equal to those of 'constant' on all 1 examples"):
        check_conditions_differ(conditions, "i2t")
