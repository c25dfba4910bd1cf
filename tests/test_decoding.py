"""Decoding: the failures that were seen in free generation are samples with a reason, never crashes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from harness.codecs.registry import AudioCodec, load_audio_codec, load_image_codec
from harness.decoding import Sample, decode_images, decode_sounds, from_arrays, safe_name, to_arrays, write_media
from harness.errors import CodecError
from harness.examples import read_examples, regions
from harness.media_faults import FAULTS, fault_of
from harness.token_space import parse_token_space
from tests.tiny import N_FRAMES, Tiny


def test_golden_sounds_decode_to_what_their_meta_says(shared_tiny: Tiny, tmp_path: Path) -> None:
    space = shared_tiny.space
    examples = read_examples(shared_tiny.golden, space, ["t2a"])
    codec = load_audio_codec(space, shared_tiny.root / "codecs")
    spans = [e.input_ids[regions(e, space).media] for e in examples]

    decoded = write_media(examples, decode_sounds(examples, spans, codec, space), tmp_path)

    assert all(sample.ok for sample in decoded)
    assert decoded[0].file is not None
    wave, rate = soundfile.read(decoded[0].file)
    assert (len(wave), rate) == (N_FRAMES * codec.hop_length, codec.sample_rate)


def test_golden_pictures_decode_to_their_size(shared_tiny: Tiny, tmp_path: Path) -> None:
    space = shared_tiny.space
    examples = read_examples(shared_tiny.golden, space, ["t2i"])
    spans = [e.input_ids[regions(e, space).media] for e in examples]

    codec = load_image_codec(space, shared_tiny.root / "codecs")
    decoded = write_media(examples, decode_images(examples, spans, codec, space), tmp_path)

    assert all(sample.ok for sample in decoded)
    assert decoded[0].file is not None
    with Image.open(decoded[0].file) as picture:
        assert picture.size == (16, 16)


SOUND_FAULTS = {
    "empty": (["end"], "empty output: the end tag came first"),
    "nothing": ([], "empty output: no id was written"),
    "end tag inside": (["cb0", "cb1", "end", "cb0", "cb1"], "length mismatch: 2 ids before the end, 8 expected"),
    "max_new too small": (["cb0", "cb1"] * 3, "cut off: 6 ids and no end tag, 8 expected: max_new is too small"),
    "codebook mismatch": (
        ["cb0", "cb0"] * 4,
        "codebook mismatch: 88 at position 1 is of AUDIO_CB0, the turn is AUDIO_CB1's, and 3 more ids are misplaced",
    ),
    "frame shifted": (["cb1", "cb0"] * 4, "codebook mismatch: 104 at position 0 is of AUDIO_CB1"),
    "text": (["cb0", 7, *["cb0", "cb1"] * 3], "id in no AUDIO range: 7 at position 1 is of TEXT"),
    "picture": (["image", "cb1"] * 4, "id in no AUDIO range: 64 at position 0 is of IMAGE"),
    "another end tag": (["cb0", "cb1", "img_end"], "id in no AUDIO range: 51 at position 2 is of <|img_end|>"),
    "beyond the vocabulary": (["cb0", 9999] * 4, "id in no AUDIO range: 9999 at position 1 is of no range"),
    "wrong types and short": (["cb0", 7, "end"], "id in no AUDIO range: 7"),
}


@pytest.mark.parametrize("case", SOUND_FAULTS)
def test_a_sound_that_does_not_decode_says_why(shared_tiny: Tiny, case: str) -> None:
    ids, reason = SOUND_FAULTS[case]
    (example, *_) = read_examples(shared_tiny.golden, shared_tiny.space, ["t2a"])

    (sample,) = decode_sounds(
        [example], [_ids(ids, shared_tiny)], load_audio_codec(shared_tiny.space, _codecs(shared_tiny)),
        shared_tiny.space,
    )  # fmt: skip

    assert sample.media is None
    assert (sample.reason or "").startswith(reason)
    assert fault_of(sample.reason or "") in FAULTS


PICTURE_FAULTS = {
    "empty": (["img_end"], "empty output: the end tag came first"),
    "sound": (["image", "cb0"] * 3, "id not in IMAGE range: 88 at position 1 is of AUDIO_CB0, and 2 more"),
    "end of sound": (["image", "end"] * 3, "id not in IMAGE range: 53 at position 1 is of <|aud_end|>"),
    "short": (["image", "img_end"], "length mismatch: 1 ids before the end, 6 expected"),
    "max_new too small": (["image"] * 5, "cut off: 5 ids and no end tag, 6 expected"),
}


@pytest.mark.parametrize("case", PICTURE_FAULTS)
def test_a_picture_that_does_not_decode_says_why(shared_tiny: Tiny, case: str) -> None:
    ids, reason = PICTURE_FAULTS[case]
    (example, *_) = read_examples(shared_tiny.golden, shared_tiny.space, ["t2i"])

    (sample,) = decode_images(
        [example], [_ids(ids, shared_tiny)], load_image_codec(shared_tiny.space, _codecs(shared_tiny)),
        shared_tiny.space,
    )  # fmt: skip

    assert sample.media is None
    assert (sample.reason or "").startswith(reason)


def _codecs(tiny: Tiny) -> Path:
    return tiny.root / "codecs"


def _ids(names: list[str | int], tiny: Tiny) -> np.ndarray:
    space = tiny.space
    assert space.image is not None
    known: dict[str | int, int] = {
        "cb0": space.audio[0].start, "cb1": space.audio[1].start, "image": space.image.start,
        "end": space.end_id("audio"), "img_end": space.end_id("image"),
    }  # fmt: skip
    return np.array([known.get(name, name) for name in names], dtype=np.int64)


def test_a_missing_end_tag_alone_decodes(shared_tiny: Tiny) -> None:
    """As the spec says: with fixed-length slicing it is not fatal; P1.1 counts it."""
    (example, *_) = read_examples(shared_tiny.golden, shared_tiny.space, ["t2a"])
    codec = load_audio_codec(shared_tiny.space, _codecs(shared_tiny))

    (sample,) = decode_sounds([example], [_ids(["cb0", "cb1"] * 12, shared_tiny)], codec, shared_tiny.space)

    assert sample.reason is None


class _Doctored:
    """The tiny audio codec, with what it decodes to replaced."""

    def __init__(self, codec: AudioCodec, decode: Callable[[np.ndarray], np.ndarray], **facts: Any) -> None:
        self.hop_length, self.sample_rate, self.channels = codec.hop_length, codec.sample_rate, codec.channels
        self.n_codebooks, self.codebook_size, self.encode = codec.n_codebooks, codec.codebook_size, codec.encode
        self._inner, self._decode = codec, decode
        vars(self).update(facts)

    def decode(self, codes: np.ndarray, n_samples: int | None = None) -> np.ndarray:
        return self._decode(self._inner.decode(codes, n_samples))


def _raises(wave: np.ndarray) -> np.ndarray:
    raise RuntimeError("CUDA error: device-side assert triggered")


CODEC_FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any], str]] = {
    "raises": (_raises, {}, "the codec raised: RuntimeError: CUDA error"),
    "NaN": (lambda wave: np.where(np.arange(wave.shape[2]) == 3, np.nan, wave), {}, "not finite: 1 of 64 samples"),
    "infinite": (lambda wave: wave + np.inf, {}, "not finite: 64 of 64 samples"),
    "stereo": (lambda wave: wave.repeat(2, 1), {}, "wrong form: 2 channels, the golden meta says 1"),
    "short": (lambda wave: wave[..., 1:], {}, "wrong form: 63 samples, 64 expected for its token count"),
    "rate": (
        lambda wave: wave,
        {"sample_rate": 16_000},
        "wrong form: sample rate 16000 Hz, the golden meta says 24000",
    ),
    "no channels": (lambda wave: wave[:, 0], {}, "the codec raised: ValueError: a wave of (64,)"),
}


@pytest.mark.parametrize("case", CODEC_FAULTS)
def test_a_codec_that_breaks_its_promise_is_a_failed_sample(shared_tiny: Tiny, case: str) -> None:
    decode, facts, reason = CODEC_FAULTS[case]
    space = shared_tiny.space
    (example, *_) = read_examples(shared_tiny.golden, space, ["t2a"])
    codec = _Doctored(load_audio_codec(space, _codecs(shared_tiny)), decode, **facts)

    (sample,) = decode_sounds([example], [example.input_ids[regions(example, space).media]], codec, space)

    assert (sample.reason or "").startswith(reason)
    assert (sample.media is None) == (not reason.startswith("wrong form"))  # what can be heard is kept


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_samples": 65}, "the codec raised: ValueError: n_samples is 65; 4 frames decode to 64"),
        ({"n_samples": 60}, None),
        ({"n_samples": None}, None),
        ({"channels": 2}, "wrong form: 1 channels, the golden meta says 2"),
        ({"sample_rate": 48_000}, "wrong form: sample rate 24000 Hz, the golden meta says 48000"),
        ({"codec_meta": {"nb_frames": 2, "frame_len": 2}}, "one long chunk: codec_meta says 2 chunks of 2 frames"),
        ({"codec_meta": {"nb_frames": 1, "frame_len": 4, "scales": [None]}}, None),
        ({"n_frames": None}, "golden meta: no n_frames"),
    ],
    ids=["too long", "trimmed", "not said", "stereo", "rate", "another codec's chunks", "one chunk", "no n_frames"],
)
def test_a_sound_is_held_against_its_own_meta(shared_tiny: Tiny, changes: dict[str, Any], reason: str | None) -> None:
    space = shared_tiny.space
    (example, *_) = read_examples(shared_tiny.golden, space, ["t2a"])
    meta = {key: value for key, value in (example.meta | changes).items() if key != "n_frames" or value}
    span = example.input_ids[regions(example, space).media]

    (sample,) = decode_sounds(
        [replace(example, meta=meta)], [span], load_audio_codec(space, _codecs(shared_tiny)), space
    )

    assert (sample.reason or "").startswith(reason or "")
    assert (sample.reason is None) == (reason is None)


@pytest.mark.parametrize(
    ("proc_size", "reason"),
    [
        ([16, 16], None),
        (16, None),
        (None, None),  # then the codec's own
        ([224, 224], "wrong form: picture of (16, 16), the golden meta says (224, 224)"),
        (1.5, "the codec raised: TypeError"),
    ],
    ids=["pair", "side", "not said", "another", "no size"],
)
def test_a_picture_is_held_against_its_own_meta(shared_tiny: Tiny, proc_size: Any, reason: str | None) -> None:
    space = shared_tiny.space
    (example, *_) = read_examples(shared_tiny.golden, space, ["t2i"])
    span = example.input_ids[regions(example, space).media]
    promised = replace(example, meta=example.meta | {"proc_size": proc_size})

    (sample,) = decode_images([promised], [span], load_image_codec(space, _codecs(shared_tiny)), space)

    assert (sample.reason or "").startswith(reason or "")
    assert (sample.reason is None) == (reason is None)


def test_more_ids_than_expected_are_sliced(shared_tiny: Tiny) -> None:
    space = shared_tiny.space
    (example, *_) = read_examples(shared_tiny.golden, space, ["t2a"])
    span = example.input_ids[regions(example, space).media]

    codec = load_audio_codec(space, shared_tiny.root / "codecs")
    (sample,) = decode_sounds([example], [np.r_[span, span]], codec, space)

    assert sample.reason is None


def test_what_was_decoded_survives_as_evidence() -> None:
    samples = [Sample(None, b"one"), Sample("too short", None), Sample("other length", b"")]

    assert from_arrays(to_arrays(samples)) == samples


def test_intact_media_are_left_alone_and_damaged_ones_are_written_again(shared_tiny: Tiny, tmp_path: Path) -> None:
    examples = read_examples(shared_tiny.golden, shared_tiny.space, ["t2i"])[:3]
    samples = [Sample(None, f"picture {number}".encode()) for number in range(3)]
    files = [decoded.file for decoded in write_media(examples, samples, tmp_path) if decoded.file is not None]
    before = [file.stat().st_mtime_ns for file in files]
    files[1].write_bytes(b"damaged")
    files[2].unlink()

    write_media(examples, samples, tmp_path)

    assert [file.read_bytes() for file in files] == [sample.media for sample in samples]
    assert files[0].stat().st_mtime_ns == before[0]


def test_a_codec_with_other_weights_than_declared_is_refused(shared_tiny: Tiny) -> None:
    raw = shared_tiny.space.raw | {"audio_codec": {"kind": "encodec", "weights_sha256": "0" * 64}}

    with pytest.raises(CodecError, match=r"expected 0000.*as the token space says"):
        load_audio_codec(parse_token_space(raw), shared_tiny.root / "codecs")


def test_an_unknown_kind_of_codec_names_the_known_ones(shared_tiny: Tiny) -> None:
    raw = shared_tiny.space.raw | {"image_tokenizer": {"kind": "magic"}}

    with pytest.raises(CodecError, match=r"codec of kind 'magic'; expected one of \['encodec', 'seed', 'vq'\]"):
        load_image_codec(parse_token_space(raw), shared_tiny.root / "codecs")


def test_an_example_id_cannot_leave_the_folder() -> None:
    assert safe_name("golden-t2i-0001") == "golden-t2i-0001"
    names = [safe_name(hostile) for hostile in ("../../etc/passwd", "______etc_passwd", "", ".", "a" * 999, "\udc80")]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and name for name in names)
