"""Batches: labels on the target block and nowhere else, and the loss that transformers would compute."""

from typing import get_args

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.examples import IGNORED, Example, Task, build_sequence, labels_of
from harness.token_space import TokenSpace
from training.batches import Deck, batch_loss, collate, task_sequence, text_sequence
from training.recipe import TokenSpaceRecipe
from training.token_space import build_token_space

N_TEXT = 20


@pytest.fixture(scope="module")
def space() -> TokenSpace:
    audio = {"n_codebooks": 2, "codebook_size": 4}
    return build_token_space(N_TEXT, {"codebook_size": 8}, audio, TokenSpaceRecipe())


@pytest.fixture(scope="module")
def model(space: TokenSpace) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=space.vocab_size_total, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
    )).eval()  # fmt: skip


def _example(task: Task, space: TokenSpace, text_length: int = 3) -> Example:
    audio = task in ("a2t", "t2a")
    codes = np.array([[0, 1, 2], [3, 2, 1]]) if audio else np.array([7, 0, 3, 3])
    media = space.to_ids("audio" if audio else "image", codes)
    ids = build_sequence(task, range(1, 1 + text_length), media, space)
    return Example(f"x-{task}", task, "test", ids, space.sha256, None, {})


@pytest.mark.parametrize("task", get_args(Task))
def test_labels_are_exactly_the_target_block(task: Task, space: TokenSpace) -> None:
    examples = [_example(task, space, text_length) for text_length in (2, 5)]
    batch = collate([task_sequence(example, space) for example in examples], space.special("pad_mm"))

    for row, example in enumerate(examples):
        length = len(example.input_ids)
        np.testing.assert_array_equal(batch.labels[row, :length].numpy(), labels_of(example, space))
        np.testing.assert_array_equal(batch.input_ids[row, :length].numpy(), example.input_ids)


def test_padding_carries_pad_ids_and_no_label(space: TokenSpace) -> None:
    pad = space.special("pad_mm")
    short, long = (task_sequence(_example("t2i", space, n), space) for n in (1, 6))
    batch = collate([short, long], pad)

    assert (batch.input_ids[0, len(short.ids) :] == pad).all()
    assert (batch.labels[0, len(short.ids) :] == IGNORED).all()
    assert not (batch.labels == pad).any()


def test_padding_never_changes_the_loss(space: TokenSpace, model: Qwen3ForCausalLM) -> None:
    short, long = (task_sequence(_example("i2t", space, n), space) for n in (2, 8))
    with torch.no_grad():
        alone = [batch_loss(model.model, model.lm_head, collate([one], 0)) for one in (short, long)]
        padded = batch_loss(model.model, model.lm_head, collate([short, long], space.special("pad_mm")))
        otherwise = batch_loss(model.model, model.lm_head, collate([short, long], 0))
    n_labels = [len(one.ids) - one.target_start for one in (short, long)]
    expected = sum(n * loss for n, loss in zip(n_labels, alone, strict=True)) / sum(n_labels)

    torch.testing.assert_close(padded, expected)
    assert padded == otherwise


@pytest.mark.parametrize("task", get_args(Task))
def test_the_loss_is_transformers_own(task: Task, space: TokenSpace, model: Qwen3ForCausalLM) -> None:
    sequences = [task_sequence(_example(task, space, n), space) for n in (2, 4, 4)]
    batch = collate(sequences, space.special("pad_mm"))
    mask = torch.tensor([[column < len(one.ids) for column in range(batch.labels.shape[1])] for one in sequences])
    with torch.no_grad():
        ours = batch_loss(model.model, model.lm_head, batch)
        theirs = model(input_ids=batch.input_ids, attention_mask=mask.long(), labels=batch.labels).loss

    torch.testing.assert_close(ours, theirs)


def test_plain_text_is_supervised_from_its_second_token() -> None:
    batch = collate([text_sequence(np.array([5, 6, 7]))], pad_id=0)

    assert batch.labels.tolist() == [[IGNORED, 6, 7]]


@pytest.mark.parametrize("task", ["t2a", "t2i"])
def test_an_emptied_prompt_leaves_the_target_as_it_was(task: Task, space: TokenSpace) -> None:
    one = task_sequence(_example(task, space), space)

    assert one.emptied is not None
    assert one.emptied.ids[:2].tolist() == [space.special("text_start"), space.special("text_end")]
    np.testing.assert_array_equal(one.emptied.ids[one.emptied.target_start :], one.ids[one.target_start :])


def test_read_examples_have_no_prompt_to_drop(space: TokenSpace) -> None:
    deck = Deck([task_sequence(_example("a2t", space), space)], np.random.default_rng(0), prompt_dropout=1.0)

    assert deck.draw(1)[0].emptied is None
    assert len(deck.draw(1)[0].ids) == len(_example("a2t", space).input_ids)


def test_a_deck_draws_each_sequence_once_before_any_again() -> None:
    sequences = [text_sequence(np.array([0, i])) for i in range(7)]
    deck = Deck(sequences, np.random.default_rng(0))
    drawn = [int(one.ids[1]) for _ in range(7) for one in deck.draw(2)]

    assert sorted(drawn[:7]) == sorted(drawn[7:]) == list(range(7))
