"""The canary: silent on a sound model, loud where a score depends on the batch."""

from typing import Any

import numpy as np
import pytest
import torch

from harness.bundle import open_bundle
from harness.canary import TOLERANCE_NATS, check_alone, tolerance_nats
from harness.errors import EvidenceError
from harness.model import load_model
from harness.scores import ScoreItem
from harness.scoring import score
from harness.vocabulary import parts_of
from tests.tiny import Tiny


@pytest.fixture
def model(shared_tiny: Tiny) -> Any:
    return load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype="float32")


def _items(n: int = 20) -> list[ScoreItem]:
    rng = np.random.default_rng(5)
    return [ScoreItem(rng.integers(0, 100, size=16 + i % 3), slice(6, 16)) for i in range(n)]


def _checked(model: Any, tiny: Tiny, items: list[ScoreItem], dtype: str = "float32") -> float:
    parts = parts_of(tiny.space, tiny.space.vocab_size_total)
    scores = score(model, items, parts=parts, batch_tokens=8192)
    return check_alone(model, items, scores, parts=parts, dtype=dtype, where="correct")


@pytest.mark.parametrize("n", [1, 7, 20])
def test_a_sound_model_passes(model: Any, shared_tiny: Tiny, n: int) -> None:
    assert _checked(model, shared_tiny, _items(n)) <= TOLERANCE_NATS["float32"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_type_is_within_the_tolerance_that_is_stated_for_it(shared_tiny: Tiny, dtype: str) -> None:
    narrow = load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype=dtype)

    assert _checked(narrow, shared_tiny, _items(), dtype) <= TOLERANCE_NATS[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE_NATS)
def test_a_gpu_rounds_otherwise_and_a_mixed_batch_is_still_far_off(dtype: str) -> None:
    on_cpu, on_gpu = (tolerance_nats(dtype, torch.device(name)) for name in ("cpu", "cuda"))

    assert TOLERANCE_NATS[dtype] == on_cpu < on_gpu < 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_sound_model_passes_on_a_gpu(shared_tiny: Tiny) -> None:
    on_gpu = load_model(open_bundle(shared_tiny.ckpt), device="cuda", dtype="float32")

    _checked(on_gpu, shared_tiny, _items())


def test_rows_that_see_their_neighbours_are_an_error(model: Any, shared_tiny: Tiny) -> None:
    def mix(_: Any, args: Any, output: Any) -> None:
        output.last_hidden_state += 0.01 * output.last_hidden_state.roll(1, 0) * (len(output.last_hidden_state) > 1)

    model.model.register_forward_hook(mix)

    with pytest.raises(EvidenceError, match=r"correct: found sequence \d+: .* nats per token in a batch, .* alone"):
        _checked(model, shared_tiny, _items())


def test_scores_that_change_from_call_to_call_are_an_error(model: Any, shared_tiny: Tiny) -> None:
    def drop(_: Any, args: Any, output: Any) -> None:
        output.last_hidden_state *= 1 + 0.1 * torch.rand_like(output.last_hidden_state)

    model.model.register_forward_hook(drop)  # dropout that eval() does not switch off

    with pytest.raises(EvidenceError, match="the same within 1e-05 in float32"):
        _checked(model, shared_tiny, _items())


def test_nan_in_a_batch_alone_is_an_error(model: Any, shared_tiny: Tiny) -> None:
    def break_batches(_: Any, args: Any, output: Any) -> None:
        if len(output.last_hidden_state) > 1:
            output.last_hidden_state.fill_(torch.nan)

    model.model.register_forward_hook(break_batches)

    with pytest.raises(EvidenceError, match="found sequence 0: nan nats per token in a batch"):
        _checked(model, shared_tiny, _items())


def test_nan_in_both_is_the_model_s_own_and_left_to_the_gate(model: Any, shared_tiny: Tiny) -> None:
    model.model.norm.weight.fill_(torch.nan)

    assert _checked(model, shared_tiny, _items()) == 0.0
