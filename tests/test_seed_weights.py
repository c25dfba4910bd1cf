"""Every key of a SEED codec's files is accounted for: required ones are there, others are ignored for a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.codecs.seed import load_seed
from harness.codecs.seed_config import SeedConfig
from harness.codecs.seed_convert import convert
from harness.codecs.seed_weights import VISION_PREFIX, required_shapes
from harness.errors import BundleError, CodecError
from tests.seed_codec import DATA, random_codes, rewrite, write_seed_codec

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SEED codec's folder without a pipeline."""
    return write_seed_codec(tmp_path / "image", pipeline=False)


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    """What the original implementation made of the fixture's inputs."""
    with np.load(DATA / "seed_tiny_expected.npz") as stored:
        return dict(stored)


def _error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max())


def test_the_full_size_model_requires_exactly_the_published_keys() -> None:
    published = {key: tuple(shape) for key, shape in json.loads((DATA / "released_keys.json").read_text()).items()}
    trained_with = {key for key in published if key.startswith("blocks.")}
    trained_with |= {"pos_embed", "Qformer.bert.embeddings.position_ids"}

    required = required_shapes(SeedConfig())

    assert required == {key: shape for key, shape in published.items() if key not in trained_with}
    assert len([key for key in required if key.startswith(VISION_PREFIX)]) == 39 * 13 + 4


def test_what_is_not_read_is_said_with_its_reason(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(folder, lambda tensors: tensors.update({"Qformer.cls.bias": torch.zeros(2), "novel": torch.zeros(2)}))

    account = load_seed(folder).weights.describe()

    assert account.startswith("140 required keys found, 0 missing; 49 ignored: serves the training of the causal")
    assert "1 ignored: the Q-former's text head, switched off (Qformer.cls.bias, …)" in account
    assert "1 ignored: part of no network that encodes or decodes (novel, …)" in account
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"{folder}: {account}")
    ]


def _without(*prefixes: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for key in [key for key in tensors if key.startswith(prefixes)]:
            del tensors[key]

    return change


def _set(key: str, value: float, shape: tuple[int, ...]) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({key: torch.full(shape, value)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("ln_vision"), "2 required keys missing, 0 of them the vision tower's: ln_vision.weight, ln_vision.b"),
        (_without("visual_encoder.cls"), "1 required keys missing, 1 of them the vision tower's: visual_encoder.cls"),
        (_without("visual_encoder.", "ln_vision"), "32 required keys missing, 30 of them .*: ln_vision.weight"),
        (_without("Qformer.bert.encoder.layer.1."), "16 required keys missing"),
        (_set("pos_embed_image", 0, (1, 31, 48)), r"pos_embed_image \(1, 31, 48\); expected \(1, 32, 48\)"),
        (_set("visual_encoder.blocks.0.attn.q_bias", 0, (63,)), r"q_bias \(63,\); expected \(64,\)"),
    ],
    ids=["ln_vision", "a part of the tower", "tower and ln_vision", "a layer", "shape", "shape of a fused bias"],
)
def test_missing_keys_are_named_and_counted(folder: Path, change: Callable[[Tensors], None], message: str) -> None:
    rewrite(folder, change)

    with pytest.raises(CodecError, match=message):
        load_seed(folder)


def test_without_the_tower_codes_decode_and_pictures_do_not_encode(
    folder: Path, original: dict[str, np.ndarray]
) -> None:
    rewrite(folder, _without("visual_encoder."))

    codec = load_seed(folder, device="cpu")

    assert "30 missing, exactly the vision tower's (visual_encoder.cls_token, " in codec.weights.describe()
    assert _error(codec.embed(original["codes"]), original["image_embeds"]) < 1e-5
    with pytest.raises(CodecError, match=r"30 required keys missing, exactly the vision tower's: .*eva_vit_g\.pth"):
        codec.encode(np.zeros((1, 8, 8, 3), np.uint8))


def test_the_tower_comes_from_its_own_file_with_one_block_more(folder: Path, original: dict[str, np.ndarray]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tower = {key.removeprefix(VISION_PREFIX): t for key, t in tensors.items() if key.startswith(VISION_PREFIX)}
    more = {key.replace("blocks.1.", "blocks.2."): t.clone() for key, t in tower.items() if "blocks.1." in key}
    save_file(tower | more | {"norm.weight": torch.ones(64)}, folder / "vision.safetensors")
    rewrite(folder, _without("visual_encoder."))

    codec = load_seed(folder, device="cpu")

    with torch.inference_mode():
        assert np.array_equal(codec.encoder(torch.from_numpy(original["images"])).numpy(), original["codes"])
    assert "13 ignored: blocks of EVA-CLIP-g after the last one that SEED uses" in codec.weights.describe()


def test_two_towers_are_refused(folder: Path) -> None:
    save_file({"cls_token": torch.zeros(1, 1, 64)}, folder / "vision.safetensors")

    with pytest.raises(CodecError, match=r"cls_token, which model\.safetensors has too.*Remove vision\.safetensors"):
        load_seed(folder)


def test_a_weight_that_is_not_finite_is_refused(folder: Path) -> None:
    rewrite(folder, _set("distill_image_proj.bias", float("nan"), (64,)))

    with pytest.raises(CodecError, match=r"distill_image_proj\.bias with values that are not finite"):
        load_seed(folder).embed(random_codes(1))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"format": "seed-codec/1", "stepz": 3}', "stepz: Extra inputs are not permitted"),
        ('{"format": "seed-codec/1", "steps": 0}', "steps: .* greater than 0, not 0"),
        ('{"format": "seed-codec/1", "heads": 5}', "hidden 768 is no multiple of heads 5"),
        ('{"format": "image-vq/1"}', "expected an object with format 'seed-codec/1'"),
    ],
    ids=["unknown", "no step", "heads", "another codec's"],
)
def test_a_configuration_that_cannot_be_meant_is_refused(folder: Path, written: str, message: str) -> None:
    (folder / "config.json").write_text(written)

    with pytest.raises(CodecError, match=message):
        load_seed(folder)


def test_the_published_pickles_become_a_codec(folder: Path, original: dict[str, np.ndarray]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tower = {key.removeprefix(VISION_PREFIX): t for key, t in tensors.items() if key.startswith(VISION_PREFIX)}
    torch.save({key: t for key, t in tensors.items() if VISION_PREFIX not in key}, folder / "seed_quantizer.pt")
    torch.save(tower, folder / "eva_vit_g.pth")
    (folder / "model.safetensors").unlink()

    done = convert(folder)

    assert done[:2] == [
        "seed_quantizer.pt -> model.safetensors: 160 tensors.", "eva_vit_g.pth -> vision.safetensors: 30 tensors.",
    ]  # fmt: skip
    with torch.inference_mode():
        codes = load_seed(folder, device="cpu").encoder(torch.from_numpy(original["images"]))
    assert np.array_equal(codes.numpy(), original["codes"])


def test_a_pickle_that_asks_for_code_is_not_converted(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"run": Path("x")}, folder / "seed_quantizer.pt")

    with pytest.raises(BundleError, match="a pickle that asks for"):
        convert(folder)
