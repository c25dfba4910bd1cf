"""The constraint, in our own generation and as a LogitsProcessor: the same ids, and only ids that decode."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.bundle import open_bundle
from harness.constraint import Constraint
from harness.errors import EvidenceError
from harness.generation import Prompt, generate
from harness.logits_processor import ModalityLogitsProcessor
from harness.model import load_model
from harness.sampling import Sampling
from harness.token_space import Modality, TokenSpace, parse_token_space
from tests.tiny import Tiny, token_space_object, write_tiny

ROOT = Path(__file__).parents[1]
MODALITIES: tuple[Modality, ...] = ("audio", "image")
GAP = 9  # rows of the tables beyond the token space


@pytest.fixture(scope="module", params=["untied-merged", "tied", "adapter-beside"])
def model(request: pytest.FixtureRequest, shared_tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "tied":
        tied = write_tiny(tmp_path_factory.mktemp("tied"), tied=True, adapter=False)
        return load_model(open_bundle(tied.ckpt), device="cpu", dtype="float32")
    bundle = open_bundle(shared_tiny.ckpt)
    if request.param == "untied-merged":
        return load_model(bundle, device="cpu", dtype="float32")
    plain = load_model(bundle, device="cpu", dtype="float32", low_rank=False)
    return PeftModel.from_pretrained(plain, bundle.input("lora")).eval()


def _random_model(rows: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=rows, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, intermediate_size=16, initializer_range=1.0,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def _prompts(space: TokenSpace, modality: Modality, counts: list[int]) -> list[Prompt]:
    """Prompts of mixed length, ending with the start tag."""
    start = space.special("aud_start" if modality == "audio" else "img_start")
    rng = np.random.default_rng(1)
    return [Prompt(np.append(rng.integers(0, 48, size=1 + 3 * i % 7), start), n, i) for i, n in enumerate(counts)]


def _padded(prompts: list[Prompt]) -> dict[str, Any]:
    width = max(len(prompt.ids) for prompt in prompts)
    ids, mask = torch.zeros((2, len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :], mask[row, width - len(prompt.ids) :] = torch.from_numpy(prompt.ids), 1
    return {"input_ids": ids, "attention_mask": mask}


def _theirs(
    model: Any, space: TokenSpace, modality: Modality, prompts: list[Prompt], expected: Any, **options: Any
) -> list[list[int]]:
    """What transformers writes under the processor, without what follows the end tag."""
    given, end = _padded(prompts), space.end_id(modality)
    width = given["input_ids"].shape[1]
    out = model.generate(
        **given, eos_token_id=end, pad_token_id=end, **({"max_new_tokens": 20, "do_sample": False} | options),
        logits_processor=[ModalityLogitsProcessor(space, modality, width, expected)],
    )  # fmt: skip
    written = [row[width:].tolist() for row in out]
    return [ids[: ids.index(end) + 1] if end in ids else ids for ids in written]


@pytest.mark.parametrize("modality", MODALITIES)
def test_generate_with_the_processor_writes_the_ids_that_we_write(
    shared_tiny: Tiny, model: Any, modality: Modality
) -> None:
    space, counts = shared_tiny.space, [8, 4, 2, 8, 6, 10]
    prompts = _prompts(space, modality, counts)

    ours = generate(model, prompts, modality, space, decoding="constrained", sampling=Sampling(), batch_tokens=9999)

    assert [ids.tolist() for ids in ours] == _theirs(model, space, modality, prompts, counts)


@given(
    seed=st.integers(0, 1000),
    frames=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    sampling=st.sampled_from(
        [Sampling(), Sampling(True, 5.0), Sampling(True, 0.5, 3, 0.5), Sampling(True, 9.0, min_p=0.1)]
    ),
    n_codebooks=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_whatever_any_model_writes_under_the_constraint_becomes_codes(
    seed: int, frames: list[int], sampling: Sampling, n_codebooks: int
) -> None:
    space = _space(n_codebooks)
    model = _random_model(space.vocab_size_total + GAP, seed)
    for modality in MODALITIES:
        counts = [n * (n_codebooks if modality == "audio" else 1) for n in frames]
        prompts = _prompts(space, modality, counts)

        written = generate(model, prompts, modality, space, decoding="constrained", sampling=sampling, batch_tokens=60)

        for ids, count, n in zip(written, counts, frames, strict=True):
            assert (len(ids), ids[-1]) == (count + 1, space.end_id(modality))
            codes = space.to_codes(modality, ids[:count])
            assert codes.shape == ((n_codebooks, n) if modality == "audio" else (n,))


def _space(n_codebooks: int) -> TokenSpace:
    """The tiny token space with another number of codebooks, the ranges in reverse order."""
    obj = token_space_object()
    ranges = {name: r for name, r in obj["ranges"].items() if not name.startswith("AUDIO")}
    start = ranges["IMAGE"]["end"] + 1
    for k in reversed(range(n_codebooks)):
        ranges[f"AUDIO_CB{k}"] = {"start": start, "end": start + 4, "size": 5}
        start += 5
    return parse_token_space(obj | {"ranges": ranges, "vocab_size_total": start})


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"num_beams": 3}, id="beams"),
        pytest.param({"do_sample": True, "temperature": 9.0, "top_k": 4}, id="sampled"),
        pytest.param({"do_sample": True, "num_return_sequences": 2, "top_p": 0.9}, id="several-a-prompt"),
        pytest.param({"do_sample": True, "num_beams": 2}, id="sampled-beams"),
    ],
)
def test_every_way_of_decoding_writes_the_expected_codes(space: TokenSpace, modality: Modality, options: Any) -> None:
    model, counts = _random_model(space.vocab_size_total + GAP), [8, 2, 4]
    torch.manual_seed(0)

    written = _theirs(model, space, modality, _prompts(space, modality, counts), counts, **options)

    each = len(written) // len(counts)
    assert [len(ids) - 1 for ids in written] == [count for count in counts for _ in range(each)]
    for ids in written:
        space.to_codes(modality, np.array(ids[:-1]))


def test_without_a_count_a_sound_ends_only_where_a_frame_is_whole(space: TokenSpace) -> None:
    prompts, end = _prompts(space, "audio", [2] * 8), space.end_id("audio")
    torch.manual_seed(0)

    written = _theirs(
        _random_model(space.vocab_size_total), space, "audio", prompts, None, do_sample=True, temperature=99.0
    )

    ended = [ids for ids in written if ids[-1] == end]
    assert ended, "at this temperature some end tag is drawn within ten frames"
    for ids in ended:
        assert space.to_codes("audio", np.array(ids[:-1])).shape[1] >= 1


def test_a_picture_without_a_count_has_what_the_token_space_declares() -> None:
    space = parse_token_space(token_space_object(image_tokenizer={"kind": "vq", "n_tokens": 6}))

    written = _theirs(_random_model(space.vocab_size_total), space, "image", _prompts(space, "image", [1, 1]), None)

    assert [len(ids) for ids in written] == [7, 7]


@pytest.mark.parametrize(
    ("position", "expected", "ranges", "end"),
    [
        pytest.param(0, None, ["AUDIO_CB0"], False, id="the-first-is-a-code"),
        pytest.param(3, None, ["AUDIO_CB1"], False, id="inside-a-frame"),
        pytest.param(4, None, ["AUDIO_CB0"], True, id="a-whole-frame"),
        pytest.param(4, 8, ["AUDIO_CB0"], False, id="before-the-expected-end"),
        pytest.param(8, 8, [], True, id="the-expected-end"),
        pytest.param(9, 8, [], True, id="behind-it"),
    ],
)
def test_what_may_stand_where(
    space: TokenSpace, position: int, expected: int | None, ranges: list[str], end: bool
) -> None:
    allowed = {i for ids in Constraint(space, "audio").allowed(position, expected) for i in ids}

    codes = {i for name in ranges for i in range(space.id_at(name, 0), space.id_at(name, 15) + 1)}
    assert allowed == codes | ({space.end_id("audio")} if end else set())


def test_misuse_is_named(space: TokenSpace) -> None:
    with pytest.raises(EvidenceError, match="3 audio ids expected; expected a positive multiple of 2"):
        ModalityLogitsProcessor(space, "audio", 4, expected=3)
    processor = ModalityLogitsProcessor(space, "audio", 4, expected=[2, 4])
    ids, scores = torch.zeros((2, 4), dtype=torch.int64), torch.zeros((2, space.vocab_size_total))
    with pytest.raises(EvidenceError, match="3 columns; expected at least 4"):
        processor(ids[:, :3], scores)
    with pytest.raises(EvidenceError, match="3 rows; expected a multiple of 2"):
        processor(torch.zeros((3, 4), dtype=torch.int64), torch.zeros((3, space.vocab_size_total)))
    with pytest.raises(EvidenceError, match="logits of 48 ids"):
        processor(ids, scores[:, :48])


def test_the_example_in_the_docs_runs(shared_tiny: Tiny, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "generation.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    (place,) = [line for line in code.splitlines() if line.startswith("checkpoint = ")]
    root = tmp_path / "bundle"
    shutil.copytree(shared_tiny.root, root)
    found: dict[str, Any] = {}

    exec(code.replace(place, f"checkpoint = Path({str(root / 'stage4/checkpoint_20')!r})"), found)

    assert len(found["waves"]) == 4
    assert all(np.isfinite(wave).all() and wave.shape[1] > 0 for wave in found["waves"])
