"""The SEED-2 tokenizer gives the original implementation's numbers, and takes no codes that it has not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.codecs.seed import SeedCodec, load_seed
from tests.seed_codec import DATA, write_seed_codec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SEED codec's folder without a pipeline."""
    return write_seed_codec(tmp_path / "image", pipeline=False)


@pytest.fixture
def codec(folder: Path) -> SeedCodec:
    return load_seed(folder, device="cpu")


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    """What the original implementation made of the fixture's inputs."""
    with np.load(DATA / "seed_tiny_expected.npz") as stored:
        return dict(stored)


def _error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max())


def test_pictures_get_the_original_s_codes(codec: SeedCodec, original: dict[str, np.ndarray]) -> None:
    with torch.inference_mode():
        codes = codec.encoder(torch.from_numpy(original["images"]))

    assert np.array_equal(codes.numpy(), original["codes"])


@pytest.mark.parametrize("which", ["", "random_"], ids=["codes of pictures", "random codes"])
def test_codes_get_the_original_s_image_embeddings(
    codec: SeedCodec, original: dict[str, np.ndarray], which: str
) -> None:
    embeddings = codec.embed(original[f"{which}codes"])

    assert _error(embeddings, original[f"{which}image_embeds"]) < 1e-5


def test_the_first_layers_after_the_codes_are_the_original_s(codec: SeedCodec, original: dict[str, np.ndarray]) -> None:
    hidden = codec.decoder.hidden(torch.from_numpy(original["codes"]))

    assert _error(hidden, original["query_output_up"]) < 1e-5


def test_with_bidirectional_queries_the_codes_would_be_others(
    codec: SeedCodec, original: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.codecs.seed_model._causal", lambda queries: None)

    with torch.inference_mode():
        codes = codec.encoder(torch.from_numpy(original["images"])).numpy()

    assert (codes == original["codes"]).mean() < 0.5


def test_every_eps_is_the_published_one_whatever_transformers_defaults_to(codec: SeedCodec) -> None:
    names = {name: module.eps for name, module in codec.encoder.named_modules() if hasattr(module, "eps")}

    assert names.pop("vision.post_layernorm") == 1e-5
    assert {eps for name, eps in names.items() if name.startswith("vision.")} == {1e-6}
    assert {eps for name, eps in names.items() if name.startswith("qformer.")} == {1e-12}


def test_pictures_of_any_size_are_squeezed_into_clip_s_square(codec: SeedCodec) -> None:
    pixels = np.full((2, 40, 30, 3), (255, 0, 128), dtype=np.uint8)

    seen = codec._normalised(pixels[0])

    assert seen.shape == (3, 56, 56)
    assert torch.allclose(seen[:, 0, 0], torch.tensor([1.93033, -1.75209, 0.33995]), atol=1e-4)
    assert codec.encode(pixels).shape == (2, 32)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((1, 32), 512), "expected 0 to 511"),
        (np.full((1, 32), -1), "expected 0 to 511"),
        (np.zeros((1, 31), np.int64), r"shape \(1, 31\); expected \(N, 32\)"),
        (np.zeros((1, 32)), "expected integers"),
    ],
    ids=["too large", "negative", "too few", "floats"],
)
def test_codes_that_the_codebook_has_not_are_refused(codec: SeedCodec, codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.decode(codes)


def test_opening_the_registry_imports_no_diffusers() -> None:
    code = (
        "import sys; import harness.codecs.registry, harness.decoder; "
        "assert not {'diffusers', 'torch', 'harness.codecs.seed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
