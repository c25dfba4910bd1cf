"""Generation: greedy ids are transformers' own, constrained output always decodes, results ignore the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.bundle import open_bundle
from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.compliance import count_compliance
from harness.decoding import decode_images, decode_sounds
from harness.examples import Task, read_examples, regions
from harness.generation import Prompt, Sampling, generate
from harness.model import load_model
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
        assert (counts.out_of_range, counts.out_of_turn, counts.ended_in_place) == (0, 0, len(prompts))
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


def test_compliance_counts_range_and_turn_apart(shared_tiny: Tiny) -> None:
    space = shared_tiny.space
    first, second = (r.start for r in space.audio)
    end = space.end_id("audio")
    sequences = [
        np.array([first, second, end]),
        np.array([second, first, end]),  # right modality, wrong codebook
        np.array([first, 3, first, second]),  # a text id, and no end
    ]

    counts = count_compliance(sequences, [2, 2, 2], "audio", space)

    assert (counts.n_ids, counts.out_of_range, counts.out_of_turn) == (10, 1, 2)
    assert (counts.n_sequences, counts.sequences_out_of_range, counts.ended, counts.ended_in_place) == (3, 1, 2, 2)
    assert counts.leaked == {"TEXT": 1}
    assert counts.first_leaks == ((2, 1, 3),)
