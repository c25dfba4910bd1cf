"""The first users' own 48 kHz stream, through the 48 kHz model with weights drawn at random."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from harness.codecs.chunks import DEFAULT_SCALE, cut_of
from harness.codecs.encodec_networks import package_network
from harness.codecs.encodec_published import PublishedEncodec
from harness.codecs.registry import kind_of
from harness.decoding import decode_sounds
from harness.examples import Example, read_examples, regions
from harness.token_space import TokenSpace, read_token_space
from tests.field_layout import FIELD
from tests.published import package_model, write_package_file

pytestmark = pytest.mark.skipif(
    not (FIELD / "tokenized.jsonl").is_file(), reason="the field's own files are not beside this checkout"
)
SECONDS = 10


@pytest.fixture(scope="module")
def field_space() -> TokenSpace:
    return read_token_space(FIELD / "token_space.json")


@pytest.fixture(scope="module")
def example(field_space: TokenSpace) -> Example:
    (found,) = read_examples(FIELD / "tokenized.jsonl", field_space, ["t2a"])
    return found


@pytest.fixture(scope="module")
def codec(field_space: TokenSpace, tmp_path_factory: pytest.TempPathFactory) -> PublishedEncodec:
    file = write_package_file(tmp_path_factory.mktemp("stereo"), package_model("48"), "48")
    loaded = PublishedEncodec(package_network(file), field_space.n_codebooks)
    file.unlink()  # 76 MB
    return loaded


def _span(example: Example, space: TokenSpace) -> np.ndarray:
    span: np.ndarray = example.input_ids[regions(example, space).media]
    return span


def test_its_ids_are_eleven_chunks_of_four_codebooks(example: Example, field_space: TokenSpace) -> None:
    codes = field_space.to_codes("audio", _span(example, field_space))
    cut = cut_of(example.meta)

    assert kind_of(field_space.audio_codec) == "encodec"
    assert codes.shape == (4, 1650)
    assert cut is not None
    assert (cut.n_chunks, cut.frames, cut.last_pad) == (11, 150, 135)
    assert cut.scales is not None
    assert np.allclose(cut.scales[:3], [0.14151200652122498, 0.014277121983468533, 1e-8])
    # Ten seconds are ten strides and 15 frames: the rest of the last chunk is code 0.
    assert not codes[:, 1515:].any()
    assert np.array_equal(field_space.to_ids("audio", codes), _span(example, field_space))


def test_it_decodes_to_ten_seconds_of_stereo_with_its_own_loudness(
    example: Example, field_space: TokenSpace, codec: PublishedEncodec
) -> None:
    span = _span(example, field_space)

    (own,) = decode_sounds([example], [span], codec, field_space, own_scales=True)
    (generated,) = decode_sounds([example], [span], codec, field_space)

    assert (own.reason, generated.reason) == (None, None)
    assert own.media is not None
    assert generated.media is not None
    wave, rate = soundfile.read(io.BytesIO(own.media))
    flat, _ = soundfile.read(io.BytesIO(generated.media))
    assert (wave.shape, flat.shape, rate) == ((SECONDS * 48_000, 2), (SECONDS * 48_000, 2), 48_000)
    # Its own scales say silence from the third second on; generated codes have no scales, and every chunk is as loud.
    assert np.abs(wave[3 * 48_000 :]).max() <= 1 / 2**15  # one step of 16 bits
    seconds = flat.reshape(SECONDS, -1).std(axis=1)
    assert seconds.min() > DEFAULT_SCALE / 10
    assert wave[:40_000].std() > flat[:40_000].std() > wave[50_000:90_000].std()


def test_read_as_one_long_chunk_it_fails_by_name(
    example: Example, field_space: TokenSpace, codec: PublishedEncodec
) -> None:
    without = {key: value for key, value in example.meta.items() if key != "codec_meta"}
    as_one = example.meta | {"codec_meta": {"nb_frames": 1, "frame_len": 1650, "last_frame_pad_length": 0}}
    short = example.meta | {"codec_meta": example.meta["codec_meta"] | {"nb_frames": 10, "scales": None}}
    examples = [replace(example, meta=meta) for meta in (without, as_one, short)]

    samples = decode_sounds(examples, [_span(example, field_space)] * 3, codec, field_space)

    reasons = [sample.reason or "" for sample in samples]
    assert reasons[0].startswith(
        "one long chunk: 1650 frames, the codec's chunks have 150 at most, and codec_meta does"
    )
    assert reasons[1].startswith(
        "one long chunk: 1650 frames, the codec's chunks have 150 at most, and codec_meta says"
    )
    assert "1650 frames are not 10 chunks of 150" in reasons[2]
    assert all(sample.media is None for sample in samples)


def test_a_generated_stream_is_as_long_as_its_token_count_says(
    example: Example, field_space: TokenSpace, codec: PublishedEncodec
) -> None:
    """Without padding all 11 chunks count; a promise of more samples than there are is refused."""
    unpadded = example.meta | {"codec_meta": example.meta["codec_meta"] | {"last_frame_pad_length": 0}}
    promised = example.meta | {"n_samples": 528_000}
    examples = [replace(example, meta=meta) for meta in (unpadded, promised)]

    whole, too_long = decode_sounds(examples, [_span(example, field_space)] * 2, codec, field_space)

    assert whole.media is not None
    assert soundfile.info(io.BytesIO(whole.media)).frames == 10 * 47_520 + 48_000
    assert "n_samples is 528000; 1650 frames decode to 480000" in (too_long.reason or "")
