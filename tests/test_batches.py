"""Batches: labels on the target block and nowhere else, and the loss that transformers would compute."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.examples import IGNORED, Task, labels_of
from harness.token_space import TokenSpace, parse_token_space
from tests.packed import example, pack
from tests.tiny import token_space_object
from training import batches
from training.base import Deck
from training.batches import Batch, Collator, batch_loss, collate, sequence_nll, text_sequence
from training.sequences import Draw, TrainSequence

SPACE = parse_token_space(token_space_object())
PAD = SPACE.special("pad_mm")


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=SPACE.vocab_size_total, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
    )).eval()  # fmt: skip


def _sequence(task: Task, n_words: int = 3) -> TrainSequence:
    return pack([example(task, n_words, SPACE, n_words)], SPACE).sequence(0)


def _mask(batch: Batch, sequences: list[TrainSequence]) -> Tensor:
    width = batch.labels.shape[1]
    return torch.tensor([[column < len(one.ids) for column in range(width)] for one in sequences]).long()


@pytest.mark.parametrize("task", get_args(Task))
def test_labels_are_exactly_the_target_block(task: Task, space: TokenSpace) -> None:
    examples = [example(task, 0, space, n_words) for n_words in (2, 5)]
    packed = pack(examples, space)
    batch = collate([packed.sequence(0), packed.sequence(1)], PAD)

    for row, one in enumerate(examples):
        length = len(one.input_ids)
        np.testing.assert_array_equal(batch.labels[row, :length].numpy(), labels_of(one, space))
        np.testing.assert_array_equal(batch.input_ids[row, :length].numpy(), one.input_ids)


def test_padding_carries_pad_ids_and_no_label() -> None:
    short, long = _sequence("t2i", 1), _sequence("t2i", 6)
    batch = collate([short, long], PAD)

    assert (batch.input_ids[0, len(short.ids) :] == PAD).all()
    assert (batch.labels[0, len(short.ids) :] == IGNORED).all()
    assert not (batch.labels == PAD).any()


def test_a_forward_carries_weights_and_numbers_of_its_tasks() -> None:
    packed = pack([example("a2t", 0, SPACE), example("t2i", 1, SPACE, 6)], SPACE)
    drawn = [packed[Draw(0, "a2t")], packed[Draw(0, "copy_audio", "copy")], packed[Draw(1, "t2i")]]
    found = Collator(PAD, {"t2i": 2.5}, ("a2t", "copy_audio", "t2i"))(drawn)

    assert found["weights"].tolist() == [1.0, 1.0, 2.5]
    assert found["tasks"].tolist() == [0, 1, 2]
    plain = collate([sequence for sequence, _ in drawn], PAD)
    assert torch.equal(found["input_ids"], plain.input_ids)
    assert torch.equal(found["labels"], plain.labels)


@settings(deadline=None, max_examples=10)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(get_args(Task)), st.integers(1, 8)), min_size=1, max_size=4),
    pad=st.sampled_from([0, PAD]),
)
def test_padding_and_company_never_change_the_loss_of_a_sequence(
    model: Qwen3ForCausalLM, kinds: list[tuple[Task, int]], pad: int
) -> None:
    sequences = [_sequence(task, n_words) for task, n_words in kinds]
    batch = collate(sequences, pad)
    with torch.no_grad():
        together = sequence_nll(model.model, model.lm_head, batch.input_ids, batch.labels)
        alone = [batch_loss(model.model, model.lm_head, collate([one], pad)) for one in sequences]

    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("task", get_args(Task))
def test_losses_are_transformers_own(task: Task, model: Qwen3ForCausalLM) -> None:
    sequences = [_sequence(task, n) for n in (2, 4, 4)]
    batch = collate(sequences, PAD)
    mask = _mask(batch, sequences)
    with torch.no_grad():
        ours = batch_loss(model.model, model.lm_head, batch)
        theirs = model(input_ids=batch.input_ids, attention_mask=mask, labels=batch.labels).loss
        each = sequence_nll(model.model, model.lm_head, batch.input_ids, batch.labels)
        rows = zip(batch.input_ids.split(1), mask.split(1), batch.labels.split(1), strict=True)
        theirs_each = [model(input_ids=ids, attention_mask=one, labels=labels).loss for ids, one, labels in rows]

    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(each, torch.stack(theirs_each))


def _loss_and_gradients(model: Qwen3ForCausalLM, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    nll = sequence_nll(model.model, model.lm_head, batch.input_ids, batch.labels)
    (nll * torch.tensor([1.0, 2.0, 0.5])).sum().backward()
    return nll.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("labels_at_once", [1, 3, 7])
def test_logits_in_parts_give_the_same_loss_and_the_same_gradients(
    labels_at_once: int, model: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = collate([_sequence("t2a", 2), _sequence("a2t", 5), _sequence("t2i", 3)], PAD)
    whole, gradients = _loss_and_gradients(model, batch)
    calls: list[int] = []
    counting = model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(batches, "MAX_LOGITS", labels_at_once * SPACE.vocab_size_total)
    parts, again = _loss_and_gradients(model, batch)
    counting.remove()

    n_labels = int((batch.labels != IGNORED).sum())
    assert len(calls) == 2 * -(-n_labels // labels_at_once)  # forward, and again in the backward pass
    torch.testing.assert_close(parts, whole)
    assert again.keys() == gradients.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_the_loss_of_a_half_precision_model_is_summed_in_float32(model: Qwen3ForCausalLM) -> None:
    class HalfHead:
        out_features = SPACE.vocab_size_total

        def __call__(self, states: Tensor) -> Any:
            return model.lm_head(states).bfloat16()

    batch = collate([_sequence("t2a")], PAD)
    with torch.no_grad():
        assert sequence_nll(model.model, HalfHead(), batch.input_ids, batch.labels).dtype == torch.float32


def test_plain_text_is_supervised_from_its_second_token_or_after_what_stands_before() -> None:
    assert collate([text_sequence(np.array([5, 6, 7]))], pad_id=0).labels.tolist() == [[IGNORED, 6, 7]]
    batch = collate([text_sequence(np.array([6, 7]), before=[3, 4, 5])], pad_id=0)
    assert batch.labels.tolist() == [[IGNORED] * 3 + [6, 7]]


def test_a_deck_draws_each_sequence_once_before_any_again() -> None:
    sequences = [text_sequence(np.array([0, i])) for i in range(7)]
    deck = Deck(sequences, np.random.default_rng(0))
    drawn = [int(one.ids[1]) for _ in range(7) for one in deck.draw(2)]

    assert sorted(drawn[:7]) == sorted(drawn[7:]) == list(range(7))
