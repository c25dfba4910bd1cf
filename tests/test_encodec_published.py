"""The published EnCodec models from local files: both libraries' forms agree, and nothing unchecked is opened.

Weights are drawn at random; architectures, names and checksum suffixes are the released ones. encodec's own model and
transformers' are two implementations, so that each is the other's oracle.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.codecs.chunks import DEFAULT_SCALE, Cut, OneLongChunkError
from harness.codecs.encodec_networks import package_network, transformers_network
from harness.codecs.encodec_published import PublishedEncodec
from harness.codecs.registry import load_audio_codec
from harness.errors import BundleError, CodecError
from harness.files import file_sha256
from harness.token_space import TokenSpace, parse_token_space
from tests.published import package_model, write_hugging_face, write_package_file
from tests.tiny import token_space_object

N_CODEBOOKS = 4
N_CODES = 1024
CLOSE = 1e-4  # the tolerance; both libraries are in fact equal to the bit here


@dataclass(frozen=True)
class Forms:
    """One set of weights in both forms."""

    model: Any
    file: Path
    folder: Path
    package: PublishedEncodec
    hugging_face: PublishedEncodec


def _forms(khz: str, root: Path) -> Iterator[Forms]:
    model = package_model(khz)
    file, folder = write_package_file(root / "th", model, khz), write_hugging_face(root / "hf", model, khz)
    codecs = [PublishedEncodec(n, N_CODEBOOKS) for n in (package_network(file), transformers_network(folder))]
    yield Forms(model, file, folder, *codecs)
    shutil.rmtree(root)  # 150 MB


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    yield from _forms("24", tmp_path_factory.mktemp("mono"))


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    yield from _forms("48", tmp_path_factory.mktemp("stereo"))


def _codes(n_frames: int, n: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, N_CODES, size=(n, N_CODEBOOKS, n_frames))


def test_24_khz_decodes_alike_in_both_forms_and_as_encodec_does(mono: Forms) -> None:
    codes = _codes(50, n=2)

    wave = mono.package.decode(codes, 15_900)

    assert wave.shape == (2, 1, 15_900)
    assert np.abs(wave - mono.hugging_face.decode(codes, 15_900)).max() < CLOSE
    with torch.no_grad():
        theirs = mono.model.decode([(torch.from_numpy(codes), None)]).numpy()
    assert np.abs(wave - theirs[:, :, :15_900]).max() < CLOSE
    assert wave.std() > 10 * CLOSE  # so that the comparison means something


def test_48_khz_decodes_alike_in_both_forms_chunk_by_chunk(stereo: Forms) -> None:
    cut = Cut(3, 150, 120, scales=(0.3, 0.2, 0.1))
    codes = _codes(450)[0]

    wave = stereo.package.decode_chunks(codes, cut)

    assert wave.shape == (2, 2 * 47_520 + 30 * 320)
    assert np.abs(wave - stereo.hugging_face.decode_chunks(codes, cut)).max() < CLOSE
    assert wave.std() > 100 * CLOSE


@pytest.mark.parametrize("form", ["package", "hugging_face"])
def test_48_khz_comes_back_as_encodec_itself_brings_it_back(stereo: Forms, form: str) -> None:
    codec = PublishedEncodec(getattr(stereo, form).network, stereo.model.quantizer.n_q)
    wave = np.random.default_rng(1).normal(0, 0.1, size=(2, 60_000)).astype(np.float32)

    codes, cut = codec.encode_chunks(wave)

    assert (codes.shape, cut.n_chunks, cut.frames, cut.last_pad) == ((16, 300), 2, 150, 111)  # 12,480 samples are left
    with torch.no_grad():
        theirs = stereo.model(torch.from_numpy(wave[None])).numpy()[0]
    assert np.abs(codec.decode_chunks(codes, cut, 60_000) - theirs).max() < CLOSE


def test_both_forms_write_the_same_codes(mono: Forms, stereo: Forms) -> None:
    for forms in (mono, stereo):
        wave = np.random.default_rng(2).normal(0, 0.1, size=(1, forms.package.channels, 16_000)).astype(np.float32)

        codes = forms.package.encode(wave)

        assert codes.shape == (1, N_CODEBOOKS, 50)
        assert np.array_equal(codes, forms.hugging_face.encode(wave))


def test_a_last_chunk_left_short_is_the_same_as_one_filled_up(stereo: Forms) -> None:
    """encodec leaves the last chunk short, transformers fills it up; both streams are met."""
    codes = _codes(300)[0]
    filled = stereo.package.decode_chunks(codes, Cut(2, 150, 110))

    assert np.array_equal(stereo.package.decode_chunks(codes[:, :190], Cut(2, 150)), filled)


def test_chunks_without_scales_get_the_default(stereo: Forms) -> None:
    codes = _codes(200)[0]

    without = stereo.package.decode_chunks(codes, Cut(2, 150))

    assert np.array_equal(without, stereo.package.decode_chunks(codes, Cut(2, 150, scales=(DEFAULT_SCALE,) * 2)))
    assert np.abs(without * 5 - stereo.package.decode_chunks(codes, Cut(2, 150, scales=(0.5, 0.5)))).max() < CLOSE


def test_a_stream_of_several_chunks_is_not_decoded_as_one(stereo: Forms) -> None:
    with pytest.raises(OneLongChunkError, match="450 frames, the codec's chunks have 150 at most"):
        stereo.package.decode(_codes(450))
    with pytest.raises(OneLongChunkError, match="codec_meta says 450 a chunk"):
        stereo.package.decode_chunks(_codes(450)[0], Cut(1, 450))


def test_a_sound_of_one_piece_has_no_chunks(mono: Forms) -> None:
    with pytest.raises(ValueError, match="codec_meta says 3 chunks; this codec reads a sound in one piece"):
        mono.package.decode_chunks(_codes(450)[0], Cut(3, 150))


def _space(n_codebooks: int = N_CODEBOOKS, size: int = N_CODES, **audio: Any) -> TokenSpace:
    """Four codebooks of 1,024, as the field has them."""
    raw = token_space_object(audio_codec={"kind": "encodec"} | audio)
    ranges = {name: r for name, r in raw["ranges"].items() if not name.startswith("AUDIO")}
    start = ranges["IMAGE"]["end"] + 1
    for k in range(n_codebooks):
        ranges[f"AUDIO_CB{k}"] = {"start": start, "end": start + size - 1, "size": size}
        start += size
    return parse_token_space(raw | {"ranges": ranges, "vocab_size_total": start})


def _linked(files: list[Path], folder: Path) -> Path:
    """The codecs' folder, with files of some hundred MB linked and not copied."""
    (folder / "audio").mkdir(parents=True)
    for file in files:
        (folder / "audio" / file.name).symlink_to(file)
    return folder


def test_the_token_space_finds_every_form_and_checks_its_weights(mono: Forms, stereo: Forms, tmp_path: Path) -> None:
    for name, files in {
        "th": [mono.file],
        "hf": [stereo.folder / "config.json", stereo.folder / "model.safetensors"],
    }.items():
        codecs = _linked(files, tmp_path / name)

        codec = load_audio_codec(_space(weights_sha256=file_sha256(files[-1])), codecs)

        assert (codec.n_codebooks, codec.codebook_size) == (N_CODEBOOKS, N_CODES)
        with pytest.raises(CodecError, match="as the token space says"):
            load_audio_codec(_space(weights_sha256="0" * 64), codecs)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"n_codebooks": 33}, "33 codebooks asked for; the model has 32"),
        ({"size": 512}, r"4 codebooks of 1024 codes; expected codebooks of \[512, 512, 512, 512\] codes"),
    ],
    ids=["too many", "another size"],
)
def test_codebooks_that_are_not_the_ranges_are_refused(
    mono: Forms, tmp_path: Path, space: dict[str, int], says: str
) -> None:
    with pytest.raises(CodecError, match=says):
        load_audio_codec(_space(**space), _linked([mono.file], tmp_path))


def test_two_sets_of_weights_are_one_too_many(mono: Forms, stereo: Forms, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"found encodec_24khz-.*\.th, encodec_48khz-.*\.th; expected one file"):
        load_audio_codec(_space(), _linked([mono.file, stereo.file], tmp_path))


class _Program:
    """A pickle that would write a file if it were run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_a_file_that_is_not_what_its_name_says_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "encodec_24khz-d7cc33bc.th"
    torch.save(_Program(tmp_path / "was run"), file)

    with pytest.raises(CodecError, match=r"found sha256 [0-9a-f]{64}; expected d7cc33bc…, as its name says"):
        package_network(file)
    with pytest.raises(BundleError, match="Nothing in it was run"):
        package_network(file.rename(tmp_path / f"encodec_24khz-{file_sha256(file)[:8]}.th"))
    assert not (tmp_path / "was run").exists()


def test_a_file_without_its_published_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="Keep the published name"):
        package_network(tmp_path / "encodec_24khz-best.th")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"encoder.model.0.conv.conv.bias": torch.zeros(32)}, "these are not the weights of encodec_24khz"),
        ([torch.zeros(3)], "a pickle of something else"),
    ],
    ids=["other tensors", "a list"],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, content: Any, says: str) -> None:
    torch.save(content, tmp_path / "draft")
    file = (tmp_path / "draft").rename(tmp_path / f"encodec_24khz-{file_sha256(tmp_path / 'draft')[:8]}.th")

    with pytest.raises(CodecError, match=says):
        package_network(file)


def _renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The spelling that Hugging Face's released files have."""
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    return {next((n.replace(a, b) for a, b in old.items() if a in n), n): t for n, t in tensors.items()}


def test_a_hugging_face_folder_in_the_released_spelling_is_the_same_codec(mono: Forms, tmp_path: Path) -> None:
    shutil.copy(mono.folder / "config.json", tmp_path)
    save_file(_renamed(load_file(mono.folder / "model.safetensors")), tmp_path / "model.safetensors", {"format": "pt"})

    codec = PublishedEncodec(transformers_network(tmp_path), N_CODEBOOKS)

    assert np.array_equal(codec.decode(_codes(10)), mono.hugging_face.decode(_codes(10)))


def test_a_hugging_face_folder_with_a_tensor_missing_is_refused(mono: Forms, tmp_path: Path) -> None:
    """transformers would draw it at random and go on."""
    shutil.copy(mono.folder / "config.json", tmp_path)
    tensors = load_file(mono.folder / "model.safetensors")
    del tensors["quantizer.layers.0.codebook.embed"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})

    with pytest.raises(CodecError, match=r"1 tensors missing \(\['quantizer.layers.0.codebook.embed'\]\)"):
        transformers_network(tmp_path)
