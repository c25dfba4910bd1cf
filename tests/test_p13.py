"""P1.3: planted collapses are named, and real media held against themselves raise nothing.

A collapse of codes is planted in what the checkpoint wrote, and then decoded by the real codec; one of media in what
was decoded. Both are planted in the evidence of a run, so that the gate itself comes upon them.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import tests.tiny
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.codecs.encodec import EncodecCodec
from harness.codecs.vq import ImageVQ
from harness.decoding import Sample, from_arrays, to_arrays
from harness.examples import Task, build_sequence, regions
from harness.files import write_jsonl
from harness.settings import Settings
from harness.token_space import TokenSpace, parse_token_space
from harness.written import Generations
from tests.gating import findings, run_gate
from tests.tiny import CODEBOOK, N_CODEBOOKS, Tiny, write_space, write_tiny

N_GOLDEN = 24
N_FRAMES, HOP = 96, 16  # golden sounds of 64 ms: long enough to have a spectrum


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny bundle with longer golden sounds and an audio codec whose codes sound different; no test may change it."""
    codecs = tests.tiny._write_codecs

    def audible(root: Path) -> tuple[ImageVQ, EncodecCodec]:
        image, audio = codecs(root)
        generator = torch.Generator().manual_seed(3)
        for name, buffer in audio.model.named_buffers():
            if name.endswith(".embed"):
                buffer.normal_(generator=generator)
        audio.save(root / "audio")
        return image, audio

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.tiny, "_write_codecs", audible)
        tiny = write_tiny(tmp_path_factory.mktemp("p13"), n_golden=N_GOLDEN)
    (path,) = tiny.golden.glob("golden_t2a_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [_longer(row, i, tiny.space) for i, row in enumerate(rows)])
    return tiny


def _longer(row: dict[str, Any], i: int, space: TokenSpace) -> dict[str, Any]:
    """A row with a sound of eight held notes, of which half of the codes waver, and a prompt of its own."""
    rng = np.random.default_rng(i)
    codes = np.repeat(rng.integers(0, CODEBOOK, (N_CODEBOOKS, 8)), N_FRAMES // 8, axis=1)
    wavers = rng.random(codes.shape) < 0.5
    codes[wavers] = rng.integers(0, CODEBOOK, int(wavers.sum()))
    ids = build_sequence("t2a", [i // 7, i % 7, i], space.to_ids("audio", codes), space).tolist()
    meta = row["audio_meta"] | {"n_frames": N_FRAMES, "n_samples": N_FRAMES * HOP}
    return row | {"input_ids": ids, "length": len(ids), "audio_meta": meta}


@pytest.fixture(scope="module")
def evidence(world: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence in which the checkpoint has written the golden media themselves; no test may change it."""
    folder = tmp_path_factory.mktemp("evidence")
    measured = _checkpoint(world, folder)
    for task in ("t2a", "t2i"):
        _plant_ids(measured, task, lambda number, ids: ids)
        measured.outputs(measured.generations(task, 64, "constrained"))
    return folder


@pytest.fixture
def planted(evidence: Path, tmp_path: Path) -> Path:
    """A copy of the evidence, to plant a collapse in."""
    return Path(shutil.copytree(evidence, tmp_path / "evidence"))


def _checkpoint(world: Tiny, folder: Path) -> Checkpoint:
    settings = Settings(device="cpu", dtype="float32", seed=0, batch_tokens=4096, max_examples=None,
                        out=folder / "out", evidence=folder)  # fmt: skip
    return Checkpoint(open_bundle(world.ckpt), settings)


def _plant_ids(measured: Checkpoint, task: Task, change: Callable[[int, np.ndarray], np.ndarray]) -> Generations:
    """Make the evidence say that the checkpoint wrote what `change` makes of each golden example's own ids."""
    space = measured.bundle.space
    examples = measured.golden(task, 64)
    golden = [example.input_ids[regions(example, space).media] for example in examples]
    written = [np.append(change(i, ids), space.end_id(examples[0].modality)) for i, ids in enumerate(golden)]
    measured.generations(task, 64, "constrained")
    (path,) = measured.evidence.folder.glob(f"generate-{task}-constrained-*.npz")
    _edit(path, {"ids": np.concatenate(written), "ends": np.cumsum([len(ids) for ids in written])})
    return measured.generations(task, 64, "constrained")


def _edit(path: Path, changes: dict[str, np.ndarray]) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **(arrays | changes))


def _run(pytester: pytest.Pytester, world: Tiny, folder: Path) -> dict[str, Any]:
    return run_gate(pytester, "P1.3", world.ckpt, f"--cache={folder}")


def _named(result: dict[str, Any]) -> set[str]:
    """The kinds of collapse that a result names."""
    return {sentence.split(" is ")[0] for sentence in result["details"].get("reason", "").split("; ") if sentence}


def _first_frames(n: int, n_codebooks: int) -> Callable[[int, np.ndarray], np.ndarray]:
    """Repeats the first n frames over and over."""
    return lambda _, ids: np.resize(ids[: n * n_codebooks], len(ids))


def test_real_media_held_against_themselves_raise_nothing(
    pytester: pytest.Pytester, world: Tiny, evidence: Path
) -> None:
    result = _run(pytester, world, evidence)

    assert (result["outcome"], result["priority"]) == ("pass", "P1")
    assert "notes" not in result["details"]
    by_name = {m["name"]: m for m in result["measurements"]}
    assert by_name["t2a.few_codes"]["value"] == by_name["t2i.few_codes"]["value"] == 100
    assert all(m["source"] and m["op"] for m in by_name.values())


def test_one_code_everywhere_is_named_in_what_a_checkpoint_really_writes(
    pytester: pytest.Pytester, world: Tiny, tmp_path: Path
) -> None:
    """Equal logits for all codes: the first of each range is always the one written."""
    shutil.copytree(world.root, tmp_path / "tiny")
    rows = tmp_path / "tiny" / world.ckpt.relative_to(world.root) / "trainable_rows.safetensors"
    tensors = load_file(rows)
    save_file(tensors | {"lm_head": torch.zeros_like(tensors["lm_head"])}, rows)

    result = run_gate(pytester, "P1.3", rows.parent)

    everywhere = {"t2a.one_code_everywhere", "t2i.one_code_everywhere"}
    assert everywhere < _named(result)
    assert not {"t2a.loop", "t2i.loop"} & _named(result), "a loop of one frame is one code everywhere"
    by_name = {m["name"]: m for m in result["measurements"]}
    assert all(by_name[name]["value"] == 1 for name in everywhere)
    assert "one code everywhere: dominant code share 1 (real media" in findings(result)
    assert result["advice"][0].startswith("Listen to and look at the worst examples")


@pytest.mark.parametrize("task", ["t2a", "t2i"])
def test_one_output_for_every_prompt_is_named(
    pytester: pytest.Pytester, world: Tiny, planted: Path, task: Task
) -> None:
    measured = _checkpoint(world, planted)
    first = measured.golden(task)[0]
    fixed = first.input_ids[regions(first, world.space).media]
    _plant_ids(measured, task, lambda *_: fixed)

    result = _run(pytester, world, planted)

    assert {f"{task}.one_output_for_all (equal codes)", f"{task}.one_output_for_all (alike)"} <= _named(result)
    assert "the same as 23 of 23 others" in findings(result)
    assert result["details"]["worst"][0]["prompt"]


@pytest.mark.parametrize("n_frames", [2, 3])
def test_a_loop_is_named(pytester: pytest.Pytester, world: Tiny, planted: Path, n_frames: int) -> None:
    _plant_ids(_checkpoint(world, planted), "t2a", _first_frames(n_frames, N_CODEBOOKS))

    result = _run(pytester, world, planted)

    assert "t2a.loop" in _named(result)
    assert "loop: loop share 1 (real media" in findings(result)
    assert not any(name.startswith("t2i") for name in _named(result))


def test_codes_at_random_are_named(pytester: pytest.Pytester, world: Tiny, planted: Path) -> None:
    """What an untrained model writes under constrained decoding: each code as likely as any other."""
    rng = np.random.default_rng(1)
    space = world.space

    def random(_: int, ids: np.ndarray) -> np.ndarray:
        return space.to_ids("audio", rng.integers(0, CODEBOOK, (N_CODEBOOKS, len(ids) // N_CODEBOOKS))).astype(int)

    _plant_ids(_checkpoint(world, planted), "t2a", random)

    assert _named(_run(pytester, world, planted)) == {"t2a.disorder"}


def _silence(wave: np.ndarray) -> np.ndarray:
    return 0 * wave


def _mostly_silence(wave: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(wave))[:, None] < len(wave) // 4, wave, 0)


def _white_noise(wave: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(0, wave.std(), wave.shape)


def _clipped(wave: np.ndarray) -> np.ndarray:
    return np.clip(wave / wave.std(), -1, 1)


@pytest.mark.parametrize(
    ("change", "kind"),
    [(_silence, "silence"), (_mostly_silence, "silence"), (_white_noise, "noise"), (_clipped, "clipping")],
    ids=["silence", "mostly silence", "white noise", "clipping"],
)
def test_a_collapsed_sound_is_named(
    pytester: pytest.Pytester, world: Tiny, planted: Path, change: Callable[[np.ndarray], np.ndarray], kind: str
) -> None:
    def changed(content: bytes) -> bytes:
        wave, rate = soundfile.read(io.BytesIO(content), always_2d=True)
        buffer = io.BytesIO()
        soundfile.write(buffer, change(wave), rate, format="WAV", subtype="PCM_16")
        return buffer.getvalue()

    _plant_media(_checkpoint(world, planted), "t2a", changed)

    result = _run(pytester, world, planted)

    assert f"t2a.{kind}" in _named(result)
    others = {"t2a.silence", "t2a.noise", "t2a.clipping", "t2a.loop", "t2a.disorder"} - {f"t2a.{kind}"}
    assert not others & _named(result)
    assert f"{kind}: " in findings(result)


def _noisy(pixels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(int(pixels.sum())).integers(0, 256, pixels.shape)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.full(pixels.shape, 128)


@pytest.mark.parametrize(("change", "kind"), [(_noisy, "noise"), (_grey, "blank")], ids=["white noise", "blank"])
def test_a_collapsed_picture_is_named(
    pytester: pytest.Pytester, world: Tiny, planted: Path, change: Callable[[np.ndarray], np.ndarray], kind: str
) -> None:
    def changed(content: bytes) -> bytes:
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        buffer = io.BytesIO()
        Image.fromarray(change(pixels).astype(np.uint8)).save(buffer, format="PNG")
        return buffer.getvalue()

    def smooth(_: bytes) -> bytes:
        """The real pictures of an untrained decoder are as rough as noise; these have a slope, as real ones do."""
        slope = np.linspace(0, 200, 16) * rng.uniform(0.5, 1, (3, 1, 1)) + rng.integers(0, 50, (3, 16, 1))
        buffer = io.BytesIO()
        Image.fromarray(np.moveaxis(slope, 0, 2).astype(np.uint8)).save(buffer, format="PNG")
        return buffer.getvalue()

    rng = np.random.default_rng(0)
    measured = _checkpoint(world, planted)
    _plant_ids(measured, "t2i", lambda _, ids: ids[::-1])  # other ids than the golden ones, so that media lie apart
    _plant_media(measured, "t2i", changed)
    _plant_media(measured, "t2i", smooth, golden=True)

    assert f"t2i.{kind}" in _named(_run(pytester, world, planted))


def _plant_media(measured: Checkpoint, task: Task, change: Callable[[bytes], bytes], *, golden: bool = False) -> None:
    """Make the evidence say that the codec made something else of what was written, or of the golden media."""
    measured.outputs(measured.generations(task, 64, "constrained"))
    label = f"{task}: decoding{' of golden media' if golden else ''}"
    (key,) = {use.key for use in measured.evidence.uses if use.label == label}
    path = measured.evidence.folder / f"{key}.npz"
    with np.load(path) as stored:
        samples = from_arrays({name: stored[name] for name in ("media", "ends", "about")})
    _edit(path, to_arrays([Sample(None, change(sample.media)) for sample in samples if sample.media is not None]))


def test_outputs_that_do_not_decode_are_counted_and_named(
    pytester: pytest.Pytester, world: Tiny, planted: Path
) -> None:
    _plant_ids(_checkpoint(world, planted), "t2a", lambda i, ids: ids[:2] if i in (3, 4) else ids)

    result = _run(pytester, world, planted)

    assert result["outcome"] == "pass"
    assert result["details"]["notes"] == [
        "t2a: 2 outputs did not decode and have no figures: golden-t2a-3, golden-t2a-4"
    ]
    counts = {m["name"]: m["n"] for m in result["measurements"] if m["name"].startswith("t2a.")}
    assert counts.pop("t2a.golden_media_alike") == N_GOLDEN
    assert set(counts.values()) == {N_GOLDEN - 2}


def test_where_nothing_decodes_nothing_has_passed(pytester: pytest.Pytester, world: Tiny, planted: Path) -> None:
    _plant_ids(_checkpoint(world, planted), "t2a", lambda _, ids: ids[:2])

    result = _run(pytester, world, planted)

    assert result["outcome"] == "fail"
    assert "t2a.silence could not be computed from 0 examples" in findings(result)


def test_of_one_output_nothing_is_said_about_duplicates(pytester: pytest.Pytester, world: Tiny, tmp_path: Path) -> None:
    result = run_gate(pytester, "P1.3", world.ckpt, "--max-examples=1")

    assert result["outcome"] == "fail"
    assert "t2a.one_output_for_all (alike) could not be computed from 1 examples" in findings(result)


def test_a_codec_that_makes_the_same_of_all_codes_is_no_reference(pytester: pytest.Pytester, tiny: Tiny) -> None:
    weights = tiny.root / "codecs" / "image" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: 0 * each if "decoder" in name else each for name, each in tensors.items()}, weights)
    raw = json.loads((tiny.ckpt / "token_space.json").read_text())
    del raw["image_tokenizer"]["weights_sha256"]
    write_space(tiny.ckpt, parse_token_space(raw))

    result = run_gate(pytester, "P1.3", tiny.ckpt)

    assert result["outcome"] == "fail"
    assert "t2i.golden_media_alike is 1 share of pairs" in findings(result)
    assert "the codec, or the order of its codebooks, is at fault" in result["advice"][0]
