"""Codecs: codes and waves survive the folder, hostile codes are refused, and encodec works without torchaudio."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.codecs.encodec import EncodecCodec
from harness.codecs.vq import ImageVQ
from tests.tiny import CODEBOOK, N_CODEBOOKS, Tiny


@pytest.fixture
def audio(shared_tiny: Tiny) -> EncodecCodec:
    return EncodecCodec.load(shared_tiny.root / "codecs" / "audio")


@pytest.fixture
def image(shared_tiny: Tiny) -> ImageVQ:
    return ImageVQ.load(shared_tiny.root / "codecs" / "image")


def test_a_saved_audio_codec_is_the_same_codec(audio: EncodecCodec, tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, size=(3, 1, 160)).astype(np.float32)
    audio.save(tmp_path)
    again = EncodecCodec.load(tmp_path)

    codes = audio.encode(wave)

    assert codes.shape == (3, N_CODEBOOKS, 10)
    assert np.array_equal(again.encode(wave), codes)
    assert np.array_equal(again.decode(codes, 160), audio.decode(codes, 160))


def test_codes_decode_as_encodec_itself_decodes_them(audio: EncodecCodec) -> None:
    codes = np.random.default_rng(1).integers(0, CODEBOOK, size=(2, N_CODEBOOKS, 5))

    ours = audio.decode(codes)

    with torch.inference_mode():
        theirs = audio.model.decode([(torch.from_numpy(codes), None)]).numpy()  # type: ignore[operator]
    assert np.allclose(ours, theirs, atol=1e-6)


def test_the_length_is_frames_times_hop_and_can_be_trimmed(audio: EncodecCodec) -> None:
    codes = np.zeros((1, N_CODEBOOKS, 7), dtype=np.int64)

    assert audio.decode(codes).shape == (1, 1, 7 * audio.hop_length)
    assert audio.decode(codes, 100).shape == (1, 1, 100)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((1, N_CODEBOOKS, 2), CODEBOOK), f"expected 0 to {CODEBOOK - 1}"),
        (np.full((1, N_CODEBOOKS, 2), -1), f"expected 0 to {CODEBOOK - 1}"),
        (np.zeros((1, N_CODEBOOKS + 1, 2), dtype=np.int64), f"{N_CODEBOOKS}"),
        (np.zeros((1, N_CODEBOOKS, 0), dtype=np.int64), "expected"),
        (np.zeros((1, N_CODEBOOKS, 2)), "expected integers"),
    ],
    ids=["too large", "negative", "codebooks", "empty", "floats"],
)
def test_audio_codes_that_no_codebook_has_are_refused(audio: EncodecCodec, codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audio.decode(codes)


def test_an_audio_codec_with_a_tensor_missing_is_refused(audio: EncodecCodec, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    audio.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[sorted(tensors)[0]]
    save_file(tensors, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"model\.safetensors"):
        EncodecCodec.load(tmp_path)


def test_pictures_survive_the_folder_and_have_their_size(image: ImageVQ, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(4, 16, 16, 3)).astype(np.uint8)
    image.save(tmp_path)

    codes = image.encode(pixels)

    assert codes.shape == (4, image.n_tokens)
    again = ImageVQ.load(tmp_path)
    assert np.array_equal(again.decode(codes), image.decode(codes))
    assert again.decode(codes).shape == (4, 16, 16, 3)


def test_image_codes_out_of_range_are_refused(image: ImageVQ) -> None:
    with pytest.raises(ValueError, match=f"expected 0 to {image.codebook_size - 1}"):
        image.decode(np.full((1, image.n_tokens), image.codebook_size))


def _python(code: str, first_on_path: Path) -> None:
    """Run code in a fresh interpreter that looks for modules in `first_on_path` before anywhere else."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(first_on_path)!r}); {code}"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("torchaudio", ["absent", "broken"])
def test_encodec_and_transformers_import_whatever_torchaudio_is(tmp_path: Path, torchaudio: str) -> None:
    if torchaudio == "broken":
        (tmp_path / "torchaudio.py").write_text("raise OSError('libc10_cuda.so: cannot open shared object file')")

    _python(
        "from harness.codecs.encodec_import import encodec_model_class; encodec_model_class(); "
        "from transformers import Qwen3ForCausalLM; from transformers.utils import is_torchaudio_available; "
        "assert not is_torchaudio_available()",
        tmp_path,
    )


def test_a_working_torchaudio_is_left_alone(tmp_path: Path) -> None:
    # As much of torchaudio as encodec asks for at import: its discriminator derives from a transform.
    (tmp_path / "torchaudio.py").write_text(
        "import sys, types\n__version__ = '0'\ntransforms = types.ModuleType('torchaudio.transforms')\n"
        "transforms.Spectrogram = object\nsys.modules['torchaudio.transforms'] = transforms\n"
    )

    _python(
        "import torchaudio; from harness.codecs.encodec_import import encodec_parts; encodec_parts(); "
        "assert sys.modules['torchaudio'] is torchaudio; import encodec.utils; "
        "assert encodec.utils.torchaudio is torchaudio",
        tmp_path,
    )
