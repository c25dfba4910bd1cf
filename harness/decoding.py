"""Decoding generated ids into pictures and sounds, and holding them against what the golden meta promises."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import media_faults as faults
from harness.codecs.chunks import Cut, OneLongChunkError, check_cut, cut_of
from harness.codecs.registry import AudioCodec, ImageCodec, chunked
from harness.examples import Example, expected_length, regions
from harness.files import write_bytes
from harness.token_space import Modality, TokenSpace

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
    examples: Sequence[Example], sequences: Sequence[np.ndarray], codec: ImageCodec, space: TokenSpace
) -> list[Sample]:
    """Decode the first `n_tokens` ids of each sequence; a failure is a sample with its reason."""
    return [_image(example, ids, codec, space) for example, ids in zip(examples, sequences, strict=True)]


def decode_sounds(
    examples: Sequence[Example],
    sequences: Sequence[np.ndarray],
    codec: AudioCodec,
    space: TokenSpace,
    *,
    own_scales: bool = False,
) -> list[Sample]:
    """Decode the first `n_frames * n_codebooks` ids of each sequence; a failure is a sample with its reason.

    Args:
        examples: whose meta says what is promised, and how the stream is cut into chunks.
        sequences: for each example the ids written.
        codec: decodes them.
        space: the token space.
        own_scales: the ids are the examples' own, so that the loudness in `codec_meta.scales` is theirs; generated
            ids have none, and get the codec's default.
    """
    return [_sound(example, ids, codec, space, own_scales) for example, ids in zip(examples, sequences, strict=True)]


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
                write_bytes(file, sample.media, durable=False)  # the next run makes it again from the codes
        decoded.append(Decoded(example.id, sample.reason is None, sample.reason, file))
    return decoded


def safe_name(example_id: str) -> str:
    """An example's id as a file name: it comes from outside, and may hold separators. Different ids stay different."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in example_id)[:100]
    if kept and kept == example_id:
        return kept
    return f"{kept}-{hashlib.sha256(example_id.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _image(example: Example, ids: np.ndarray, codec: ImageCodec, space: TokenSpace) -> Sample:
    expected = expected_length(example.meta, "image") or codec.n_tokens
    if lie := _lie(example, expected, space):
        return Sample(faults.reason(faults.BAD_META, lie), None)
    span, reason = faults.sliced(ids, expected, "image", space)
    if reason:
        return Sample(reason, None)
    try:
        picture = codec.decode(space.to_codes("image", span)[None])[0]
        media, wanted = _png(picture), _size(example.meta.get("proc_size") or codec.proc_size)
    except Exception as error:
        # Whatever a codec raises on generated codes is a failed sample, and its reason belongs in the report.
        return Sample(faults.reason(faults.RAISED, f"{type(error).__name__}: {error}"), None)
    if picture.shape[:2] != wanted:
        what = f"picture of {picture.shape[:2]}, the golden meta says {wanted}"
        return Sample(faults.reason(faults.WRONG_FORM, what), media)
    return Sample(None, media)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture of {picture.dtype} {picture.shape}, expected uint8 (H, W, 3)")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _size(said: Any) -> tuple[Any, ...]:
    """Height and width; one number is the side of a square."""
    return (said, said) if isinstance(said, int) else tuple(said)


def _sound(example: Example, ids: np.ndarray, codec: AudioCodec, space: TokenSpace, own_scales: bool) -> Sample:
    expected = expected_length(example.meta, "audio")
    if expected is None:
        return Sample(faults.reason(faults.BAD_META, "no n_frames and n_codebooks"), None)
    if lie := _lie(example, expected, space) or _short(example, codec):
        return Sample(faults.reason(faults.BAD_META, lie), None)
    span, reason = faults.sliced(ids, expected, "audio", space)
    if reason:
        return Sample(reason, None)
    try:
        cut = cut_of(example.meta)
    except ValueError as error:
        return Sample(faults.reason(faults.BAD_META, str(error)), None)
    if cut is not None and not own_scales:
        cut = replace(cut, scales=None)
    try:
        wave, wanted = _wave(space.to_codes("audio", span), cut, example.meta.get("n_samples"), codec)
        if not np.isfinite(wave).all():
            n = int((~np.isfinite(wave)).sum())
            return Sample(faults.reason(faults.NOT_FINITE, f"{n} of {wave.size} samples"), None)
        media = _wav(wave, codec.sample_rate)
    except OneLongChunkError as error:
        return Sample(faults.reason(faults.ONE_LONG_CHUNK, str(error)), None)
    except Exception as error:
        return Sample(faults.reason(faults.RAISED, f"{type(error).__name__}: {error}"), None)
    wrong = _wrong_form(wave, example.meta, codec, wanted)
    return Sample(faults.reason(faults.WRONG_FORM, wrong) if wrong else None, media)


def _lie(example: Example, expected: int, space: TokenSpace) -> str | None:
    """What an example's meta says of its own medium that is not so; what is written is held against that meta."""
    media = regions(example, space).media
    n_ids = media.stop - media.start
    return f"it says {expected} ids, the example's own medium has {n_ids}" if n_ids != expected else None


def _short(example: Example, codec: AudioCodec) -> str | None:
    """n_samples that make far fewer frames than the meta says: decoding would trim a whole sound to that."""
    frames, samples = example.meta["n_frames"], example.meta.get("n_samples")
    # One frame more or less is a matter of rounding; of chunks the last one may be padding for the most part.
    if samples is None or chunked(codec) is not None or samples > (frames - 2) * codec.hop_length:
        return None
    return f"it says {samples} samples, which are no {frames} frames of {codec.hop_length}"


def _wave(codes: np.ndarray, cut: Cut | None, n_samples: int | None, codec: AudioCodec) -> tuple[np.ndarray, int]:
    """The wave (C, S) of codes (K, T), and how many samples it should have for its own token count."""
    n_frames = codes.shape[1]
    parts = chunked(codec)
    if parts is not None:
        cut = check_cut(cut, n_frames, parts.frames_per_chunk)
        return parts.decode_chunks(codes, cut, n_samples), n_samples or parts.length(cut, n_frames)
    if cut is not None and cut.n_chunks > 1:
        raise OneLongChunkError(f"codec_meta says {cut.n_chunks} chunks of {cut.frames} frames; this codec knows none")
    return codec.decode(codes[None], n_samples)[0], n_samples or n_frames * codec.hop_length


def _wav(wave: np.ndarray, sample_rate: int) -> bytes:
    import soundfile

    if wave.ndim != 2:
        raise ValueError(f"a wave of {wave.shape}, expected (channels, samples)")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave.T, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _wrong_form(wave: np.ndarray, meta: dict[str, Any], codec: AudioCodec, wanted_samples: int) -> str | None:
    wanted_rate = meta.get("sample_rate", codec.sample_rate)
    if codec.sample_rate != wanted_rate:
        return f"sample rate {codec.sample_rate} Hz, the golden meta says {wanted_rate}"
    wanted_channels = meta.get("channels", codec.channels)
    if wave.shape[0] != wanted_channels:
        return f"{wave.shape[0]} channels, the golden meta says {wanted_channels}"
    if wave.shape[1] != wanted_samples:
        return f"{wave.shape[1]} samples, {wanted_samples} expected for its token count"
    return None
