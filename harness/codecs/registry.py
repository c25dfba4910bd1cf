"""Which codec turns a modality's codes into pictures or sounds, by the token space's `kind`.

A user's own codec is an entry point in the group `modality_gates.codecs`: its name is the `kind`, its object a function
that takes the codec's folder and the token space's declaration and returns an `ImageCodec` or an `AudioCodec`. See
docs/codecs.md.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from harness.codecs.chunks import Cut
from harness.codecs.weights import check_any_declared, check_declared, check_finite, weights_file
from harness.errors import CodecError, HarnessError
from harness.token_space import Modality, TokenSpace

ENTRY_POINT_GROUP = "modality_gates.codecs"

Opener = Callable[[Path, dict[str, Any]], object]  # a codec's folder and declaration -> the codec


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


class ChunkedAudioCodec(AudioCodec, Protocol):
    """A codec that reads a sound in chunks, which lie end to end in the stream of codes."""

    frames_per_chunk: int  # at most

    def length(self, cut: Cut, n_frames: int) -> int:
        """How many samples a stream of n_frames decodes to."""

    def decode_chunks(self, codes: np.ndarray, cut: Cut, n_samples: int | None = None) -> np.ndarray:
        """(K, T) int64 of one sound -> (C, S) float32, trimmed to n_samples."""


def chunked(codec: AudioCodec) -> ChunkedAudioCodec | None:
    """The codec as one that decodes chunk by chunk; None of a codec that reads a sound in one piece."""
    return cast(ChunkedAudioCodec, codec) if getattr(codec, "frames_per_chunk", None) else None


def load_image_codec(space: TokenSpace, folder: Path) -> ImageCodec:
    """The image tokenizer that the token space declares. `folder` holds the codecs: `image/`.

    Raises:
        CodecError: the kind is unknown, or the weights are not the declared ones.
    """
    return cast(ImageCodec, _load("image", declaration_of("image", space), codec_folder("image", folder)))


def load_audio_codec(space: TokenSpace, folder: Path) -> AudioCodec:
    """The audio codec that the token space declares. `folder` holds the codecs: `audio/`.

    Raises:
        CodecError: the kind is unknown, the weights are not the declared ones, or the codebooks are not the ranges.
    """
    where = codec_folder("audio", folder)
    # A published model may hold more codebooks than the shards use.
    declared = {"n_codebooks": space.n_codebooks} | declaration_of("audio", space)
    codec = cast(AudioCodec, _load("audio", declared, where))
    found = [codec.codebook_size] * codec.n_codebooks
    if found != (sizes := [r.size for r in space.audio]):
        raise CodecError(
            where,
            f"{codec.n_codebooks} codebooks of {codec.codebook_size} codes",
            f"codebooks of {sizes} codes, as the token space's AUDIO_CB ranges",
            "Use the codec that made the shards.",
        )
    return codec


def codec_folder(modality: Modality, codecs: Path) -> Path:
    """Where a modality's codec lies among the codecs."""
    return codecs / modality


def declaration_of(modality: Modality, space: TokenSpace) -> dict[str, Any]:
    """What the token space says about a modality's codec."""
    return space.image_tokenizer if modality == "image" else space.audio_codec


def origin_of(declaration: dict[str, Any]) -> str:
    """Kind of a codec, and whose code it runs: packages with their versions, where it is not ours alone."""
    kind = kind_of(declaration)
    packages = [point.dist for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == kind]
    named = [f"{package.name} {package.version}" for package in packages if package is not None]
    # A picture that is drawn by diffusion is another one with another version of the sampler.
    drawn = [f"{name} {_version_of(name)}" for name in ("diffusers", "torch")] if kind == "seed" else []
    return " ".join([kind, *named, *drawn])


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def kind_of(declaration: dict[str, Any]) -> str:
    """The codec's kind: declared, or guessed from the published names."""
    if kind := declaration.get("kind"):
        return str(kind)
    name = str(declaration.get("name_or_path", "")).lower()
    return next((kind for kind in ("encodec", "seed", "vq") if kind in name), "unknown")


def _load(modality: Modality, declaration: dict[str, Any], folder: Path) -> object:
    kind = kind_of(declaration)
    builtin = _builtin_openers()
    users = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if kind not in builtin | users:
        raise CodecError(
            folder,
            f"{modality} codec of kind {kind!r}",
            f"one of {sorted(builtin | users)}",
            f"Declare `kind` in the token space, or register the codec as an entry point in {ENTRY_POINT_GROUP!r}.",
        )
    if kind in users:
        check_any_declared(folder, declaration)
        return _open_users(users[kind], folder, declaration)
    weights = weights_file(kind, folder)
    check_declared(weights, declaration)
    check_finite(weights)
    try:
        return builtin[kind](folder, declaration)
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # a folder that is damaged fails in as many ways
        found, expected = f"{type(error).__name__} ({error})", f"the {kind} codec of the token space"
        raise CodecError(folder, found, expected, "Use the codec that made the shards.") from error


def _open_users(point: EntryPoint, folder: Path, declaration: dict[str, Any]) -> object:
    """Somebody else's code, imported only for its own kind: whatever it raises, its name is in the message."""
    try:
        return point.load()(folder, declaration)
    except HarnessError:
        raise
    except Exception as error:
        found = f"{type(error).__name__} ({error}) from {point.value}"
        expected = f"the codec of kind {point.name!r}"
        raise CodecError(folder, found, expected, "Correct the folder, or the codec.") from error


def _builtin_openers() -> dict[str, Opener]:
    # Imported here: a codec's dependencies are needed only by those who decode with it.
    def open_encodec(folder: Path, declaration: dict[str, Any]) -> object:
        from harness.codecs.encodec_forms import open_encodec

        return open_encodec(folder, weights_file("encodec", folder), declaration)

    def open_vq(folder: Path, _: dict[str, Any]) -> object:
        from harness.codecs.vq import ImageVQ

        return ImageVQ.load(folder)

    def open_seed(folder: Path, declaration: dict[str, Any]) -> object:
        from harness.codecs.seed import load_seed

        return load_seed(folder, declaration).ready_to_decode()

    return {"encodec": open_encodec, "seed": open_seed, "vq": open_vq}
