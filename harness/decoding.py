"""Decoding generated ids into pictures and sounds, and holding them against what the golden meta promises."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.examples import Example, expected_length
from harness.files import write_bytes
from harness.token_space import Modality, TokenSpace

if TYPE_CHECKING:
    from harness.codecs.registry import AudioCodec, ImageCodec

SUFFIXES: dict[Modality, str] = {"image": ".png", "audio": ".wav"}


@dataclass(frozen=True)
class Sample:
    """What became of one sequence.

    Attributes:
        reason: why it will not do; None when it is what the golden meta says.
        media: a PNG or WAV file's bytes; None when nothing could be decoded.
    """

    reason: str | None
    media: bytes | None


@dataclass(frozen=True)
class Decoded:
    """One decoded sample.

    Attributes:
        id: the golden example's id.
        ok: whether it decoded and is what the golden meta says.
        reason: why not; None when it is.
        file: where it was written; None when there is nothing to write.
    """

    id: str
    ok: bool
    reason: str | None
    file: Path | None


def decode_images(
    examples: Sequence[Example], sequences: Sequence[np.ndarray], codec: "ImageCodec", space: TokenSpace
) -> list[Sample]:
    """Decode the first `n_tokens` ids of each sequence; a failure is a sample with its reason."""
    from PIL import Image

    def png(picture: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="PNG")
        return buffer.getvalue()

    tried = [_image(example, ids, codec, space) for example, ids in zip(examples, sequences, strict=True)]
    return [Sample(reason, None if picture is None else png(picture)) for picture, reason in tried]


def decode_sounds(
    examples: Sequence[Example], sequences: Sequence[np.ndarray], codec: "AudioCodec", space: TokenSpace
) -> list[Sample]:
    """Decode the first `n_frames * n_codebooks` ids of each sequence; a failure is a sample with its reason."""
    import soundfile

    def wav(wave: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(wave.T, -1, 1), codec.sample_rate, format="WAV", subtype="PCM_16")
        return buffer.getvalue()

    tried = [_sound(example, ids, codec, space) for example, ids in zip(examples, sequences, strict=True)]
    return [Sample(reason, None if wave is None else wav(wave)) for wave, reason in tried]


def to_arrays(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Samples as evidence: all media in one run of bytes, and where each ends."""
    media = [sample.media or b"" for sample in samples]
    about = [[sample.reason, sample.media is not None] for sample in samples]
    return {
        "media": np.frombuffer(b"".join(media), dtype=np.uint8),
        "ends": np.cumsum([len(content) for content in media], dtype=np.int64),
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
    }


def from_arrays(arrays: dict[str, np.ndarray]) -> list[Sample]:
    """The way back from `to_arrays`."""
    content, starts = arrays["media"].tobytes(), [0, *arrays["ends"].tolist()]
    about = json.loads(arrays["about"].tobytes())
    return [
        Sample(reason, content[starts[i] : starts[i + 1]] if has_media else None)
        for i, (reason, has_media) in enumerate(about)
    ]


def write_media(examples: Sequence[Example], samples: Sequence[Sample], folder: Path) -> list[Decoded]:
    """Write each sample's media as `<id>.png` or `<id>.wav`; a file that holds them already is left alone."""
    decoded = []
    for example, sample in zip(examples, samples, strict=True):
        file = None
        if sample.media is not None:
            file = folder / f"{safe_name(example.id)}{SUFFIXES[example.modality]}"
            if not (file.is_file() and file.read_bytes() == sample.media):
                write_bytes(file, sample.media)
        decoded.append(Decoded(example.id, sample.reason is None, sample.reason, file))
    return decoded


def safe_name(example_id: str) -> str:
    """An example's id as a file name: it comes from outside, and may hold separators. Different ids stay different."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in example_id)[:100]
    if kept and kept == example_id:
        return kept
    return f"{kept}-{hashlib.sha256(example_id.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _image(
    example: Example, ids: np.ndarray, codec: "ImageCodec", space: TokenSpace
) -> tuple[np.ndarray | None, str | None]:
    expected = expected_length(example.meta, "image") or codec.n_tokens
    sliced, reason = _slice(ids, expected, space.end_id("image"))
    if reason:
        return None, reason
    try:
        picture = codec.decode(space.to_codes("image", sliced)[None])[0]
    except Exception as error:
        # Whatever a codec raises on generated codes is a failed sample, and its reason belongs in the report.
        return None, f"{type(error).__name__}: {error}"
    wanted = tuple(example.meta.get("proc_size") or codec.proc_size)
    if picture.shape[:2] != wanted:
        return picture, f"picture of {picture.shape[:2]}, the golden meta says {wanted}"
    return picture, None


def _sound(
    example: Example, ids: np.ndarray, codec: "AudioCodec", space: TokenSpace
) -> tuple[np.ndarray | None, str | None]:
    expected = expected_length(example.meta, "audio")
    if expected is None:
        return None, "the golden meta has no n_frames and n_codebooks: no length to hold the sound against"
    sliced, reason = _slice(ids, expected, space.end_id("audio"))
    if reason:
        return None, reason
    n_samples = example.meta.get("n_samples")
    try:
        wave = codec.decode(space.to_codes("audio", sliced)[None], n_samples)[0]
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return wave, _sound_fault(wave, example, codec, n_samples)


def _sound_fault(wave: np.ndarray, example: Example, codec: "AudioCodec", n_samples: int | None) -> str | None:
    if not np.isfinite(wave).all():
        return "samples that are not finite"
    wanted_rate = example.meta.get("sample_rate", codec.sample_rate)
    if codec.sample_rate != wanted_rate:
        return f"sample rate {codec.sample_rate} Hz, the golden meta says {wanted_rate}"
    wanted_channels = example.meta.get("channels", codec.channels)
    if wave.shape[0] != wanted_channels:
        return f"{wave.shape[0]} channels, the golden meta says {wanted_channels}"
    wanted_samples = n_samples or int(example.meta["n_frames"]) * codec.hop_length
    if wave.shape[1] != wanted_samples:
        return f"{wave.shape[1]} samples, {wanted_samples} expected for its token count"
    return None


def _slice(ids: np.ndarray, expected: int, end_id: int) -> tuple[np.ndarray, str | None]:
    """Exactly the expected ids, as the spec demands; a sequence that ended before cannot be sliced."""
    before_end = ids[: int(np.flatnonzero(ids == end_id)[0])] if (ids == end_id).any() else ids
    if len(before_end) == 0:
        return before_end, "empty output: the end tag came first"
    if len(before_end) < expected:
        return before_end, f"length mismatch: {len(before_end)} ids before the end, {expected} expected"
    return before_end[:expected], None
