"""The scorer against transformers' own loss, lm-eval's, and the softmax of all logits at once; its independence of
batches.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from harness import head
from harness.bundle import open_bundle
from harness.canary import TOLERANCE_NATS
from harness.errors import BundleError
from harness.model import load_base, load_model, put_rows
from harness.peft_adapter import attach_adapter
from harness.scores import ScoreItem, Scores
from harness.scoring import score
from harness.vocabulary import Part, parts_of
from tests.tiny import TEXT, Tiny, write_tiny

LM_EVAL_BATCH = 7


@dataclass(frozen=True)
class Subject:
    """A model in one of the forms that are scored, and how its rows are divided."""

    model: Any
    parts: tuple[Part, ...]


@pytest.fixture(scope="module", params=["untied", "tied"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write_tiny(tmp_path_factory.mktemp("scoring"), tied=request.param == "tied")


@pytest.fixture(scope="module", params=["no LoRA", "merged LoRA", "LoRA beside the weights"])
def subject(request: pytest.FixtureRequest, bundle: Tiny) -> Subject:
    parts = parts_of(bundle.space, bundle.space.vocab_size_total)
    if request.param == "LoRA beside the weights":
        base = load_base(bundle.base, device="cpu", dtype="float32")
        put_rows(base, bundle.ckpt, bundle.space)
        return Subject(attach_adapter(base, bundle.ckpt / "adapter", merge=False).eval(), parts)
    low_rank = request.param == "merged LoRA"
    return Subject(load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32", low_rank=low_rank), parts)


def _items(lengths: str, n: int = 40) -> list[ScoreItem]:
    """Sequences of equal or of mixed lengths; the target ends before the sequence does in every third."""
    rng = np.random.default_rng(2)
    sizes = np.full(n, 30) if lengths == "equal lengths" else rng.integers(8, 60, size=n)
    return [
        ScoreItem(rng.integers(0, 120, size=size), slice(int(rng.integers(1, 6)), int(size - (i % 3 == 0))))
        for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("lengths", ["equal lengths", "mixed lengths"])
def test_scores_are_transformers_own_losses(subject: Subject, lengths: str) -> None:
    items = _items(lengths)

    ours = score(subject.model, items, parts=subject.parts, batch_tokens=8192).nll

    theirs = []
    for item in items:
        labels = np.full(len(item.ids), -100)
        labels[item.target] = item.ids[item.target]
        with torch.inference_mode():
            output = subject.model(torch.from_numpy(item.ids)[None], labels=torch.from_numpy(labels)[None])
        theirs.append(float(output.loss))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", ["equal lengths", "mixed lengths"])
def test_scores_are_lm_evals(subject: Subject, lengths: str) -> None:
    items = _items(lengths)

    ours = score(subject.model, items, parts=subject.parts, batch_tokens=8192)

    answers = _lm_eval(subject.model, items)
    labels = ours.labels.sum(1)
    np.testing.assert_allclose(ours.nll, -np.array([log for log, _ in answers]) / labels, rtol=0, atol=1e-4)
    assert ((ours.hits.sum(1) == labels) == [greedy for _, greedy in answers]).all()


def _lm_eval(model: Any, items: list[ScoreItem]) -> list[tuple[float, bool]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at its import
        from lm_eval.models.huggingface import HFLM

    words = Tokenizer(models.WordLevel({"w0": 0}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", pad_token="w0")
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=LM_EVAL_BATCH)
    requests = [
        ((None, None), item.ids[: item.target.start].tolist(), item.ids[item.target].tolist()) for item in items
    ]
    answers: list[tuple[float, bool]] = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    return answers


@pytest.mark.parametrize("batch_tokens", [1, 100, 700, 100_000])
def test_scores_do_not_depend_on_the_batch(subject: Subject, batch_tokens: int) -> None:
    items = _items("mixed lengths")
    whole = score(subject.model, items, parts=subject.parts, batch_tokens=8192)

    other = score(subject.model, items[::-1], parts=subject.parts, batch_tokens=batch_tokens)

    np.testing.assert_allclose(other.nll[::-1], whole.nll, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(other.labels[::-1], whole.labels)


def test_training_mode_changes_nothing_and_is_left(subject: Subject) -> None:
    items = _items("mixed lengths", 5)
    before = score(subject.model, items, parts=subject.parts, batch_tokens=500)

    after = score(subject.model.train(), items, parts=subject.parts, batch_tokens=500)

    assert not subject.model.training
    np.testing.assert_array_equal(after.nll_sums, before.nll_sums)


@st.composite
def _divided(draw: Any) -> tuple[Part, ...]:
    """The 120 rows in parts, some of the same name, some allowed."""
    cuts = sorted(draw(st.sets(st.integers(1, 119), max_size=6)))
    bounds = list(zip([0, *cuts], [*cuts, 120], strict=True))
    return tuple(Part(draw(st.sampled_from("ABC")), start, stop, draw(st.booleans())) for start, stop in bounds)


@given(parts=_divided(), rows=st.integers(1, 130), positions=st.integers(1, 99), batch_tokens=st.integers(1, 2000))
@settings(max_examples=25, deadline=None)
def test_every_figure_is_what_the_softmax_says(
    sound: Any, parts: tuple[Part, ...], rows: int, positions: int, batch_tokens: int
) -> None:
    items = _items("mixed lengths", 6)

    with patch.dict(head.BLOCK_ROWS, cpu=rows), patch.dict(head.BLOCK_POSITIONS, cpu=positions):
        ours = score(sound, items, parts=parts, batch_tokens=batch_tokens)

    for number, item in enumerate(items):
        _held_against_softmax(ours, number, item, parts, _log_softmax(sound, item))


@pytest.fixture(scope="module")
def sound(shared_tiny: Tiny) -> Any:
    return load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype="float32")


def _log_softmax(model: Any, item: ScoreItem) -> np.ndarray:
    """(labels, V) float64 at the positions that predict the labels."""
    with torch.inference_mode():
        logits = model(torch.from_numpy(item.ids)[None]).logits[0, item.target.start - 1 : item.target.stop - 1]
    found: np.ndarray = logits.double().log_softmax(-1).numpy()
    return found


def _held_against_softmax(
    ours: Scores, number: int, item: ScoreItem, parts: tuple[Part, ...], log_p: np.ndarray
) -> None:
    labels = item.ids[item.target]
    of_label = log_p[np.arange(len(labels)), labels]
    names = np.repeat([part.name for part in parts], [part.stop - part.start for part in parts])
    for column, name in enumerate(ours.names):
        mine = names[labels] == name
        within = np.log(np.exp(log_p[:, names == name]).sum(1))
        assert ours.labels[number, column] == mine.sum()
        assert ours.hits[number, column] == (log_p.argmax(1) == labels)[mine].sum()
        assert ours.nll_sums[number, column] == pytest.approx(-of_label[mine].sum(), abs=1e-4)
        assert ours.nll_within_sums[number, column] == pytest.approx((within - of_label)[mine].sum(), abs=1e-4)
    allowed = np.repeat([part.allowed for part in parts], [part.stop - part.start for part in parts])
    if not allowed[labels].any():
        assert np.isnan(ours.mass_outside[number])
    else:
        outside = np.exp(log_p[:, ~allowed]).sum(1)[allowed[labels]].mean()
        assert ours.mass_outside[number] == pytest.approx(outside, abs=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_type_is_near_float32(sound: Any, shared_tiny: Tiny, dtype: str) -> None:
    parts = parts_of(shared_tiny.space, shared_tiny.space.vocab_size_total)
    narrow = load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype=dtype)

    ours = score(narrow, _items("mixed lengths"), parts=parts, batch_tokens=8192).nll

    exact = score(sound, _items("mixed lengths"), parts=parts, batch_tokens=8192).nll
    np.testing.assert_allclose(ours, exact, rtol=0, atol=TOLERANCE_NATS[dtype])


@pytest.mark.parametrize("target", [slice(0, 2), slice(1, 1), slice(1, 4)], ids=["at the start", "empty", "too long"])
def test_a_target_that_nothing_predicts_is_refused(sound: Any, target: slice) -> None:
    with pytest.raises(ValueError, match="nothing predicts the first token"):
        score(sound, [ScoreItem(np.array([1, 2, 3]), target)], parts=[Part("ALL", 0, 120)], batch_tokens=9)


def test_a_base_s_narrower_head_has_the_parts_that_it_reaches(shared_tiny: Tiny) -> None:
    base = load_base(shared_tiny.base, device="cpu", dtype="float32")

    scores = score(
        base, [ScoreItem(np.arange(9), slice(2, 9))], parts=parts_of(shared_tiny.space, TEXT), batch_tokens=9
    )

    assert scores.names.tolist() == ["TEXT"]
    assert scores.labels.tolist() == [[7]]


def test_nothing_to_score_is_no_score(sound: Any) -> None:
    assert len(score(sound, [], parts=[Part("ALL", 0, 120)], batch_tokens=9).nll) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda model: setattr(model.config, "final_logit_softcapping", 30.0), "softcapping", id="softcap"),
        pytest.param(lambda model: setattr(model.config, "logit_scale", 0.06), "logit_scale", id="scale"),
        pytest.param(
            lambda model: setattr(model.lm_head, "bias", torch.nn.Parameter(torch.zeros(1))), "a bias", id="bias"
        ),
    ],
)
def test_logits_that_are_no_plain_product_are_refused(bundle: Tiny, change: Callable[[Any], None], named: str) -> None:
    model = load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32", low_rank=False)
    change(model)

    with pytest.raises(BundleError, match=named):
        score(
            model,
            [ScoreItem(np.arange(4), slice(2, 4))],
            parts=parts_of(bundle.space, bundle.space.vocab_size_total),
            batch_tokens=9,
        )
