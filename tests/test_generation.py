"""Generation: greedy ids are transformers' own, constrained output always decodes, results ignore the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from harness.bundle import Decoding, open_bundle
from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.compliance import count_compliance
from harness.decoding import decode_images, decode_sounds
from harness.errors import BundleError, EvidenceError
from harness.examples import Task, read_examples, regions
from harness.files import write_json
from harness.generation import MARGIN_IDS, Prompt, generate
from harness.model import load_model
from harness.sampling import Sampling, draw, read_sampling
from harness.token_space import Modality
from tests.tiny import N_FRAMES, Tiny


@pytest.fixture(scope="module")
def model(shared_tiny: Tiny) -> Any:
    return load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype="float32")


def _prompts(tiny: Tiny, task: Task) -> tuple[list[Any], list[Prompt]]:
    examples = read_examples(tiny.golden, tiny.space, [task])
    expected = 6 if task == "t2i" else 2 * N_FRAMES
    starts = [regions(e, tiny.space).content.start for e in examples]
    return examples, [
        Prompt(e.input_ids[:s], expected, i) for i, (e, s) in enumerate(zip(examples, starts, strict=True))
    ]


@pytest.mark.parametrize(("task", "modality"), [("t2i", "image"), ("t2a", "audio")])
def test_free_greedy_ids_are_transformers_own(shared_tiny: Tiny, model: Any, task: Task, modality: Modality) -> None:
    _, prompts = _prompts(shared_tiny, task)

    ours = generate(model, prompts, modality, shared_tiny.space, decoding="free", sampling=Sampling(), batch_tokens=200)

    end = shared_tiny.space.end_id(modality)
    for prompt, ids in zip(prompts, ours, strict=True):
        theirs = model.generate(
            torch.from_numpy(prompt.ids)[None], max_new_tokens=len(ids), do_sample=False, eos_token_id=end,
            pad_token_id=end, attention_mask=torch.ones(1, len(prompt.ids), dtype=torch.int64),
        )  # fmt: skip
        assert ids.tolist() == theirs[0, len(prompt.ids) :].tolist()


def test_progress_comes_within_a_batch_and_never_goes_back(shared_tiny: Tiny, model: Any) -> None:
    _, prompts = _prompts(shared_tiny, "t2a")
    told: list[tuple[str, int, int]] = []

    generate(
        model,
        prompts,
        "audio",
        shared_tiny.space,
        decoding="constrained",
        sampling=Sampling(),
        batch_tokens=10_000,
        listener=lambda label, done, total, _: told.append((label, done, total)),
        label="t2a",
    )

    done = [each[1] for each in told]
    assert {(each[0], each[2]) for each in told} == {("t2a", len(prompts))}
    assert (done[0], done[-1]) == (0, len(prompts))
    assert len(done) > 2, "one batch held all of them"
    assert done == sorted(set(done))


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.1, 20), top_k=st.integers(0, 5), top_p=st.floats(0.05, 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_under_the_constraint_decodes(
    shared_tiny: Tiny, model: Any, tmp_path: Path, seed: int, temperature: float, top_k: int, top_p: float
) -> None:
    space, codecs = shared_tiny.space, shared_tiny.root / "codecs"
    sampling = Sampling(do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p)
    for task, modality in (("t2i", "image"), ("t2a", "audio")):
        examples, prompts = _prompts(shared_tiny, task)  # type: ignore[arg-type]
        prompts = [Prompt(p.ids, p.expected, p.seed + seed) for p in prompts]

        written = generate(
            model,
            prompts,
            modality,
            space,
            decoding="constrained",
            sampling=sampling,
            batch_tokens=300,  # type: ignore[arg-type]
        )

        counts = count_compliance(written, [p.expected for p in prompts], modality, space)  # type: ignore[arg-type]
        assert (counts.out_of_range, counts.out_of_turn, counts.kinds) == (0, 0, {})
        if modality == "image":
            decoded = decode_images(examples, written, load_image_codec(space, codecs), space)
        else:
            decoded = decode_sounds(examples, written, load_audio_codec(space, codecs), space)
        assert [sample.reason for sample in decoded] == [None] * len(decoded)


def test_sampled_ids_do_not_depend_on_the_batch(shared_tiny: Tiny, model: Any) -> None:
    _, prompts = _prompts(shared_tiny, "t2i")
    how: dict[str, Any] = {"decoding": "free", "sampling": Sampling(do_sample=True)}

    together = generate(model, prompts, "image", shared_tiny.space, batch_tokens=9999, **how)
    alone = generate(model, prompts[::-1], "image", shared_tiny.space, batch_tokens=1, **how)[::-1]

    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]


@pytest.mark.parametrize("decoding", ["free", "constrained"])
@pytest.mark.parametrize("modality", ["audio", "image"])
def test_greedy_ids_do_not_depend_on_the_batch(
    shared_tiny: Tiny, model: Any, modality: Modality, decoding: Decoding
) -> None:
    start = shared_tiny.space.special("aud_start" if modality == "audio" else "img_start")
    rng = np.random.default_rng(0)
    sizes = [(int(length), 2 * int(frames)) for length, frames in rng.integers(1, 12, size=(10, 2))]
    prompts = [Prompt(np.append(rng.integers(0, 48, size=n), start), count, 0) for n, count in sizes]
    how: dict[str, Any] = {"decoding": decoding, "sampling": Sampling()}

    together = generate(model, prompts, modality, shared_tiny.space, batch_tokens=9999, **how)
    alone = [generate(model, [p], modality, shared_tiny.space, batch_tokens=1, **how)[0] for p in prompts]

    assert [ids.tolist() for ids in together] == [ids.tolist() for ids in alone]
    if decoding == "constrained":
        assert [len(ids) - 1 for ids in together] == [count for _, count in sizes]


def test_free_writing_stops_at_the_margin(shared_tiny: Tiny, model: Any) -> None:
    _, prompts = _prompts(shared_tiny, "t2i")
    end = shared_tiny.space.end_id("image")

    written = generate(
        model, prompts, "image", shared_tiny.space, decoding="free", sampling=Sampling(), batch_tokens=500
    )

    for prompt, ids in zip(prompts, written, strict=True):
        assert ids[-1] == end or len(ids) == prompt.expected + MARGIN_IDS
        assert end not in ids[:-1]


def test_a_count_that_is_no_whole_number_of_frames_is_refused(shared_tiny: Tiny, model: Any) -> None:
    prompt = Prompt(np.array([1, 2]), 3, 0, "golden example 7")
    with pytest.raises(EvidenceError, match="golden example 7: found 3 audio ids expected"):
        generate(
            model, [prompt], "audio", shared_tiny.space, decoding="constrained", sampling=Sampling(), batch_tokens=99
        )


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param(Sampling(True), id="plain"),
        pytest.param(Sampling(True, temperature=0.7, top_k=5), id="top-k"),
        pytest.param(Sampling(True, top_p=0.6), id="top-p"),
        pytest.param(Sampling(True, temperature=2.0, top_k=20, top_p=0.9, min_p=0.05), id="all"),
    ],
)
def test_ids_are_drawn_with_the_probabilities_of_transformers(sampling: Sampling) -> None:
    scores = torch.randn((1, 40), generator=torch.Generator().manual_seed(0)) * 2
    warped = scores / sampling.temperature
    if sampling.top_k:
        warped = TopKLogitsWarper(sampling.top_k)(None, warped)
    if sampling.top_p < 1:
        warped = TopPLogitsWarper(sampling.top_p)(None, warped)
    if sampling.min_p:
        warped = MinPLogitsWarper(sampling.min_p)(None, warped)
    wanted = warped.softmax(-1)[0].numpy()
    rng = np.random.default_rng(0)

    drawn = np.bincount([draw(scores[0].numpy(), sampling, rng) for _ in range(4000)], minlength=40) / 4000

    assert not drawn[wanted == 0].any()
    # Five standard errors of a share of 4,000 draws.
    assert (np.abs(drawn - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 4000) + 1e-9).all()


def test_nothing_is_drawn_from_logits_that_are_no_numbers() -> None:
    with pytest.raises(EvidenceError, match="a largest logit of nan"):
        draw(np.array([0, np.nan], dtype=np.float32), Sampling(True), np.random.default_rng(0))


def test_the_generation_config_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    assert read_sampling(tmp_path) == Sampling()
    write_json(tmp_path / "generation_config.json", {"do_sample": True, "temperature": 0.6, "repetition_penalty": 1.1})
    assert read_sampling(tmp_path) == Sampling(True, 0.6, top_k=50, ignored=("repetition_penalty",))
    write_json(tmp_path / "generation_config.json", {"do_sample": True, "top_k": 0, "top_p": 0.9, "num_beams": 1})
    assert read_sampling(tmp_path) == Sampling(True, top_p=0.9)
    write_json(tmp_path / "generation_config.json", {"temperature": 0.6, "top_k": 20})
    assert read_sampling(tmp_path) == Sampling()
    write_json(tmp_path / "generation_config.json", {"do_sample": True, "temperature": "hot"})
    with pytest.raises(BundleError, match="temperature of 'hot'"):
        read_sampling(tmp_path)
