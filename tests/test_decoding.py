"""Decoding: the failures that were seen in free generation are samples with a reason, never crashes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.decoding import Sample, decode_images, decode_sounds, from_arrays, safe_name, to_arrays, write_media
from harness.errors import CodecError
from harness.examples import read_examples, regions
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


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (["end"], "empty output"),
        (["cb0", "cb1", "end"], "length mismatch: 2 ids before the end, 8 expected"),
        (["cb0", "cb0"] * 4, "codebook mismatch, found AUDIO_CB0, expected AUDIO_CB1"),
        (["cb0", 7] * 4, "found TEXT, not in AUDIO range"),
    ],
    ids=["empty", "short", "codebook mismatch", "no range"],
)
def test_a_sound_that_does_not_decode_says_why(shared_tiny: Tiny, ids: list[str | int], reason: str) -> None:
    space = shared_tiny.space
    known: dict[str | int, int] = {
        "cb0": space.audio[0].start, "cb1": space.audio[1].start, "end": space.end_id("audio")
    }  # fmt: skip
    (example, *_) = read_examples(shared_tiny.golden, space, ["t2a"])
    written = np.array([known.get(i, i) for i in ids], dtype=np.int64)

    (sample,) = decode_sounds([example], [written], load_audio_codec(space, shared_tiny.root / "codecs"), space)

    assert sample.media is None
    assert reason in (sample.reason or "")


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

    with pytest.raises(CodecError, match=r"codec of kind 'magic'; expected one of \['encodec', 'vq'\]"):
        load_image_codec(parse_token_space(raw), shared_tiny.root / "codecs")


def test_an_example_id_cannot_leave_the_folder() -> None:
    assert safe_name("golden-t2i-0001") == "golden-t2i-0001"
    names = [safe_name(hostile) for hostile in ("../../etc/passwd", "______etc_passwd", "", ".", "a" * 999, "\udc80")]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and name for name in names)
