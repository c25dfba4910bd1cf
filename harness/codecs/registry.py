"""Which codec turns a modality's codes into pictures or sounds, by the token space's `kind`.

A user's own codec is an entry point in the group `modality_gates.codecs`: its name is the `kind`, its object a function
that takes the codec's folder and the token space's declaration and returns an `ImageCodec` or an `AudioCodec`.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from harness.errors import CodecError
from harness.files import file_sha256
from harness.token_space import Modality, TokenSpace

ENTRY_POINT_GROUP = "modality_gates.codecs"
WEIGHTS_FILE = "model.safetensors"


class ImageCodec(Protocol):
    """Pictures to codes and back."""

    n_tokens: int
    codebook_size: int
    proc_size: tuple[int, int]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 -> (N, n_tokens) int64."""

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """(N, n_tokens) int64 -> (N, H, W, 3) uint8."""


class AudioCodec(Protocol):
    """Sounds to codes and back."""

    sample_rate: int
    channels: int
    n_codebooks: int
    codebook_size: int
    hop_length: int

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """(N, C, S) float32 -> (N, K, T) int64."""

    def decode(self, codes: np.ndarray, n_samples: int | None = None) -> np.ndarray:
        """(N, K, T) int64 -> (N, C, S) float32, trimmed to n_samples."""


def load_image_codec(space: TokenSpace, folder: Path) -> ImageCodec:
    """The image tokenizer that the token space declares. `folder` holds the codecs: `image/`.

    Raises:
        CodecError: the kind is unknown, or the weights are not the declared ones.
    """
    return cast(ImageCodec, _load("image", declaration_of("image", space), codec_folder("image", folder)))


def load_audio_codec(space: TokenSpace, folder: Path) -> AudioCodec:
    """The audio codec that the token space declares. `folder` holds the codecs: `audio/`.

    Raises:
        CodecError: the kind is unknown, or the weights are not the declared ones.
    """
    return cast(AudioCodec, _load("audio", declaration_of("audio", space), codec_folder("audio", folder)))


def codec_folder(modality: Modality, codecs: Path) -> Path:
    """Where a modality's codec lies among the codecs."""
    return codecs / modality


def declaration_of(modality: Modality, space: TokenSpace) -> dict[str, Any]:
    """What the token space says about a modality's codec."""
    return space.image_tokenizer if modality == "image" else space.audio_codec


def origin_of(declaration: dict[str, Any]) -> str:
    """Kind of a codec, and whose code it runs: a package with its version, where an entry point brings it."""
    kind = kind_of(declaration)
    packages = [point.dist for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == kind]
    return " ".join([kind, *(f"{package.name} {package.version}" for package in packages if package is not None)])


def kind_of(declaration: dict[str, Any]) -> str:
    """The codec's kind: declared, or guessed from the published names."""
    if kind := declaration.get("kind"):
        return str(kind)
    name = str(declaration.get("name_or_path", "")).lower()
    return next((kind for kind in ("encodec", "seed", "vq") if kind in name), "unknown")


def _load(modality: Modality, declaration: dict[str, Any], folder: Path) -> object:
    kind = kind_of(declaration)
    openers = _builtin_openers() | {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}
    if kind not in openers:
        raise CodecError(
            folder,
            f"{modality} codec of kind {kind!r}",
            f"one of {sorted(openers)}",
            f"Declare `kind` in the token space, or register the codec as an entry point in {ENTRY_POINT_GROUP!r}.",
        )
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise CodecError(
            folder, f"no {WEIGHTS_FILE}", f"the {kind} codec's folder", "Pass --codecs, or correct bundle.json."
        )
    declared = declaration.get("weights_sha256")
    if declared and (actual := file_sha256(weights)) != declared:
        raise CodecError(
            weights, f"sha256 {actual}", f"{declared}, as the token space says", "Use the codec that made the shards."
        )
    return openers[kind](folder, declaration)


def _builtin_openers() -> dict[str, Callable[[Path, dict[str, Any]], object]]:
    # Imported here: a codec's dependencies are needed only by those who decode with it.
    def open_encodec(folder: Path, _: dict[str, Any]) -> object:
        from harness.codecs.encodec import EncodecCodec

        return EncodecCodec.load(folder)

    def open_vq(folder: Path, _: dict[str, Any]) -> object:
        from harness.codecs.vq import ImageVQ

        return ImageVQ.load(folder)

    return {"encodec": open_encodec, "vq": open_vq}
