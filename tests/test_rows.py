"""New rows train; text rows cannot move, whatever the optimiser does."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from harness.errors import BundleError
from tests.training_world import rows_of
from training.rows import NewRows, attach_rows, load_base, tables_of

N_TEXT, N_NEW, WIDTH = 24, 6, 16


KINDS: dict[str, tuple[type, bool]] = {
    "untied": (Qwen3Config, False),
    "tied": (Qwen3Config, True),
    "llama": (LlamaConfig, False),
}


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind, tied = KINDS[request.param]
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(_config(kind, tied)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def _config(kind: type, tied: bool) -> Any:
    return kind(
        vocab_size=N_TEXT, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, tie_word_embeddings=tied,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip


def _new_rows(own_head: bool) -> NewRows:
    generator = torch.Generator().manual_seed(1)
    embeddings, head = torch.randn(2, N_NEW, WIDTH, generator=generator)
    return NewRows(embeddings, head if own_head else None)


def _train(model: torch.nn.Module, parameters: Iterable[torch.nn.Parameter], steps: int = 5) -> None:
    optimiser = torch.optim.AdamW(list(parameters), lr=0.05, weight_decay=0.1)
    ids = torch.randint(N_TEXT + N_NEW, (4, 12), generator=torch.Generator().manual_seed(2))
    for _ in range(steps):
        logits = model(input_ids=ids[:, :-1]).logits
        cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("own_head", [True, False], ids=["own head rows", "head follows embedding"])
def test_text_rows_and_backbone_are_bit_identical_after_adamw_with_weight_decay(base: Path, own_head: bool) -> None:
    model = load_base(base)
    before = {name: tensor.clone() for name, tensor in load_base(base).state_dict().items()}
    rows = _new_rows(own_head)
    _train(model, attach_rows(model, rows, N_TEXT).values())

    assert torch.equal(model.model.embed_tokens.weight[:N_TEXT], before["model.embed_tokens.weight"])
    assert torch.equal(model.lm_head.weight[:N_TEXT], before["lm_head.weight"])
    frozen = [name for name in before if name not in ("model.embed_tokens.weight", "lm_head.weight")]
    after = model.state_dict()
    assert frozen
    assert all(torch.equal(after[name], before[name]) for name in frozen)


def test_every_new_row_moves(base: Path) -> None:
    model, rows = load_base(base), _new_rows(own_head=True)
    _train(model, attach_rows(model, rows, N_TEXT).values())
    trained = rows_of(model)

    assert trained.lm_head is not None
    assert rows.lm_head is not None
    assert (trained.lm_head != rows.lm_head).any(dim=1).all()
    assert (trained.embeddings != rows.embeddings).any(dim=1).all()


def test_head_rows_follow_the_embedding_unless_they_are_given(base: Path) -> None:
    model = load_base(base)
    parameters = attach_rows(model, _new_rows(own_head=False), N_TEXT)
    _train(model, parameters.values())

    assert list(parameters) == ["embeddings"]
    assert rows_of(model).lm_head is None
    assert torch.equal(model.lm_head.weight[N_TEXT:], model.model.embed_tokens.weight[N_TEXT:])


def test_a_padded_base_table_is_cut_to_the_text_vocabulary(base: Path) -> None:
    model, n_text = load_base(base), N_TEXT - 4
    attach_rows(model, _new_rows(own_head=True), n_text)

    assert model.lm_head.weight.shape == (n_text + N_NEW, WIDTH)
    assert model.config.vocab_size == n_text + N_NEW


def test_text_logits_are_those_of_the_base(base: Path) -> None:
    plain, extended = load_base(base), load_base(base)
    attach_rows(extended, _new_rows(own_head=True), N_TEXT)
    ids = torch.arange(N_TEXT)[None]

    # Not bit-identical: a wider matrix product may sum in another order.
    torch.testing.assert_close(extended(ids).logits[..., :N_TEXT], plain(ids).logits, rtol=0, atol=1e-5)


def test_head_rows_that_do_not_train_stay_and_are_kept(base: Path) -> None:
    model, rows = load_base(base), _new_rows(own_head=True)
    parameters = attach_rows(model, rows, N_TEXT, train_head=False)
    _train(model, parameters.values())
    trained = rows_of(model)

    assert list(parameters) == ["embeddings"]
    assert trained.lm_head is not None
    assert torch.equal(trained.lm_head, rows.lm_head)
    assert (trained.embeddings != rows.embeddings).any(dim=1).all()
    assert not any(parameter.requires_grad for parameter in model.lm_head.parameters())


def test_the_rows_given_are_copied(base: Path) -> None:
    model, rows = load_base(base), _new_rows(own_head=True)
    before = rows.embeddings.clone()
    _train(model, attach_rows(model, rows, N_TEXT).values(), steps=1)

    assert torch.equal(rows.embeddings, before)


def test_float32_rows_over_a_bfloat16_base_keep_updates_that_bfloat16_rounds_away(base: Path) -> None:
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = load_base(base, torch.bfloat16)
        parameters = attach_rows(model, _new_rows(own_head=True), N_TEXT, dtype=dtype)
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        optimiser = torch.optim.SGD(list(parameters.values()), lr=1e-3)
        logits = model(input_ids=torch.arange(N_TEXT + N_NEW)[None]).logits
        assert logits.dtype == torch.bfloat16
        cross_entropy(logits[0, :-1].float(), torch.arange(1, N_TEXT + N_NEW)).backward()
        optimiser.step()
        moved[dtype] = sum(int((parameters[name] != before[name]).sum()) for name in parameters)

    assert moved[torch.float32] > 0.9 * 2 * N_NEW * WIDTH
    assert moved[torch.bfloat16] < 0.1 * moved[torch.float32]


@pytest.mark.parametrize("counted", [False, True], ids=["cut", "counted as text"])
def test_the_padding_of_a_base_goes_or_stays_as_v_text_says(base: Path, counted: bool) -> None:
    plain, model, n_text = load_base(base), load_base(base), N_TEXT if counted else N_TEXT - 4
    rows = _new_rows(own_head=True)
    attach_rows(model, rows, n_text)
    whole = plain.get_input_embeddings().weight

    assert torch.equal(tables_of(model)[0].weight, torch.cat([whole[:n_text], rows.embeddings]))
    # The first new id is the row after the last text row, wherever that is.
    assert torch.equal(model.get_input_embeddings()(torch.tensor([n_text])), rows.embeddings[:1])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found no config\.json; expected a Hugging Face model"):
        load_base(tmp_path)
