"""Packed sequences: labels on the target block, and the variants that are made when a sequence is drawn."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ExampleError, HarnessError, TokenSpaceError
from harness.examples import IGNORED, TASKS, Task, labels_of, regions
from harness.files import write_jsonl
from harness.token_space import TokenSpace, parse_token_space
from tests.packed import MEDIA, example, pack, pool, row
from tests.tiny import token_space_object
from training.batches import labels_of_sequence
from training.sequences import FIRST_OF_EACH, Draw, joined, pack_texts, read_sequences
from training.sequences import TrainSequence as Sequence

SPACE = parse_token_space(token_space_object())
TAG = {"audio": "aud", "image": "img"}


@pytest.mark.parametrize("task", get_args(Task))
def test_labels_are_exactly_the_target_block(task: Task) -> None:
    examples = [example(task, i, SPACE, 2 + i) for i in range(3)]
    packed = pack(examples, SPACE)
    for index, one in enumerate(examples):
        sequence, name = packed[Draw(index, task)]
        assert name == task
        np.testing.assert_array_equal(sequence.ids, one.input_ids)
        np.testing.assert_array_equal(labels_of_sequence(sequence), labels_of(one, SPACE))
        assert packed.length(Draw(index, task)) == len(sequence.ids)


@pytest.mark.parametrize("task", ["t2a", "t2i"])
def test_an_emptied_prompt_leaves_the_target_as_it_was(task: Task) -> None:
    one = example(task, 0, SPACE, n_words=5)
    emptied, _ = pack([one], SPACE)[Draw(0, task, "empty")]
    target = one.input_ids[regions(one, SPACE).target]
    text_start, text_end = SPACE.special("text_start"), SPACE.special("text_end")

    assert emptied.ids.tolist() == [text_start, text_end, SPACE.special(f"gen_{TAG[MEDIA[task]]}"), *target]
    assert labels_of_sequence(emptied).tolist() == [IGNORED] * 3 + target.tolist()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", ["copy", "denoise"])
def test_a_medium_is_given_then_the_switch_then_asked_for_again(task: Task, variant: str) -> None:
    one = example(task, 1, SPACE)
    packed = pack([one], SPACE, noise=0.0)
    draw = Draw(0, f"{variant}_{MEDIA[task]}", variant)  # type: ignore[arg-type]
    sequence, name = packed[draw]
    tag = TAG[MEDIA[task]]
    block = [SPACE.special(f"{tag}_start"), *one.input_ids[regions(one, SPACE).media], SPACE.special(f"{tag}_end")]

    assert name == f"{variant}_{MEDIA[task]}"
    assert sequence.ids.tolist() == [*block, SPACE.special(f"gen_{tag}"), *block]
    assert labels_of_sequence(sequence).tolist() == [IGNORED] * (len(block) + 1) + block
    assert packed.length(draw) == len(sequence.ids)


@pytest.mark.parametrize("task", ["a2t", "i2t"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_noise_replaces_its_share_by_ids_whose_turn_it_is_and_never_the_target(task: Task, share: float) -> None:
    one = example(task, 2, SPACE, n_codes=600)
    media = one.input_ids[regions(one, SPACE).media]
    sequence, _ = pack([one], SPACE, noise=share)[Draw(0, "denoise", "denoise", seed=5)]
    given_, wanted = sequence.ids[1 : 1 + len(media)], sequence.ids[sequence.target_start + 1 : -1]

    np.testing.assert_array_equal(wanted, media)
    assert SPACE.in_turn(MEDIA[task], given_).all()  # type: ignore[arg-type]
    size = 24 if task == "i2t" else 16  # a drawn id is the old one by chance once in so many
    assert (given_ != media).mean() == pytest.approx(share * (1 - 1 / size), abs=0.07)


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_noise_is_that_of_the_draws_seed(one: int, other: int) -> None:
    packed = pack([example("i2t", 3, SPACE, n_codes=40)], SPACE, noise=0.9)
    made = [packed[Draw(0, "denoise_image", "denoise", seed)][0].ids.tolist() for seed in (one, one, other)]

    assert made[0] == made[1]
    assert (made[0] == made[2]) == (one == other)


def test_an_emptied_prompt_is_shorter_than_the_plan_takes_it_for() -> None:
    packed = pool(SPACE, {"t2a": 3, "t2i": 3})
    for index, task in enumerate(packed.tasks):
        draw = Draw(index, task, "empty")
        assert len(packed[draw][0].ids) <= packed.length(draw)


def test_joined_sequences_are_the_parts_one_after_the_other() -> None:
    media, texts = pool(SPACE, {"a2t": 2, "t2i": 2}), pack_texts([Sequence(np.arange(5), 2)], SPACE)
    both = joined([media, texts, media])

    assert len(both) == 9
    for index in range(9):
        part, at = (media, index) if index < 4 else (texts, 0) if index == 4 else (media, index - 5)
        np.testing.assert_array_equal(both.sequence(index).ids, part.sequence(at).ids)
        assert both.sequence(index).target_start == part.sequence(at).target_start
        assert both.tasks[index] == part.tasks[at]
        np.testing.assert_array_equal(both.media[index], part.media[at])


@pytest.fixture
def train(tmp_path: Path, space: TokenSpace) -> Path:
    """Twelve examples, three of each task, i2t twice as long as the others."""
    made = [example(task, i, space, n_words=9 if task == "i2t" else 3) for i in range(3) for task in TASKS]
    write_jsonl(tmp_path / "train.jsonl", [row(one, space) for one in made])
    return tmp_path / "train.jsonl"


def test_a_file_is_read_as_its_examples_stand(train: Path, space: TokenSpace) -> None:
    read, kept = read_sequences(train, TASKS, space, max_tokens=100, noise=0.25)
    expected = pack([example(task, i, space, 9 if task == "i2t" else 3) for i in range(3) for task in TASKS], space)

    assert read.tasks.tolist() == expected.tasks.tolist()
    for name in ("ids", "starts", "targets", "media"):
        np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))
    assert read.noise == 0.25
    assert (kept.sources, kept.too_long, kept.other_tasks) == ({"source-0": 8, "source-1": 4}, 0, 0)


def test_too_long_examples_are_dropped_whole_and_counted(train: Path, space: TokenSpace) -> None:
    whole, _ = read_sequences(train, TASKS, space, max_tokens=100)
    longest = int(np.diff(whole.starts)[whole.tasks != "i2t"].max())
    read, kept = read_sequences(train, TASKS, space, max_tokens=longest)

    assert kept.too_long == 3
    assert read.tasks.tolist() == [task for _ in range(3) for task in TASKS if task != "i2t"]
    assert sum(kept.sources.values()) == len(read) == 9


def test_examples_of_other_tasks_are_left_out_and_counted(train: Path, space: TokenSpace) -> None:
    read, kept = read_sequences(train, ["a2t", "t2i"], space, max_tokens=100)

    assert kept.other_tasks == 6
    assert set(read.tasks) == {"a2t", "t2i"}


def test_the_first_of_each_task_are_kept_for_the_audit_at_their_places(tmp_path: Path, space: TokenSpace) -> None:
    made = [example(task, i, space) for i in range(FIRST_OF_EACH + 2) for task in ("a2t", "t2i")]
    write_jsonl(tmp_path / "train.jsonl", [row(one, space) for one in made])
    read, kept = read_sequences(tmp_path / "train.jsonl", TASKS, space, max_tokens=100)

    assert len(kept.first) == 2 * FIRST_OF_EACH
    for index, one in kept.first.items():
        np.testing.assert_array_equal(read.sequence(index).ids, one.input_ids)
        assert read.tasks[index] == one.task


def test_nothing_left_is_refused_with_what_became_of_it(train: Path, space: TokenSpace) -> None:
    said = r"no example to train on \(6 longer than 3 tokens, 6 of other tasks\); expected examples of a2t, i2t"
    with pytest.raises(HarnessError, match=said):
        read_sequences(train, ["i2t", "a2t"], space, max_tokens=3)


def test_an_example_of_another_token_space_is_named(tmp_path: Path, space: TokenSpace) -> None:
    made = [row(example("a2t", i, space), space) for i in range(3)]
    made[1]["token_space_sha256"] = "0" * 64
    write_jsonl(tmp_path / "train.jsonl", made)

    with pytest.raises(TokenSpaceError, match=rf"\(a2t-1\): found token_space_sha256 000.*expected {space.sha256}"):
        read_sequences(tmp_path / "train.jsonl", TASKS, space, max_tokens=100)


def test_an_example_that_declares_no_token_space_is_taken(tmp_path: Path, space: TokenSpace) -> None:
    write_jsonl(tmp_path / "train.jsonl", [row(example("a2t", 0, space), space, token_space_sha256=None)])

    assert len(read_sequences(tmp_path / "train.jsonl", TASKS, space, max_tokens=100)[0]) == 1


def test_labels_beyond_the_target_are_refused(tmp_path: Path, space: TokenSpace) -> None:
    one = example("a2t", 0, space)
    write_jsonl(tmp_path / "train.jsonl", [row(one, space, labels=one.input_ids.tolist())])

    with pytest.raises(ExampleError, match=r"a2t-0.*at position 0; expected -100 there"):
        read_sequences(tmp_path / "train.jsonl", TASKS, space, max_tokens=100)
