"""How a stream of codes was cut into chunks, as codec_meta says it: read exactly, or refused."""

from typing import Any

import pytest

from harness.codecs.chunks import Cut, OneLongChunkError, check_cut, cut_of, has_scales

FIELD = {"nb_frames": 11, "frame_len": 150, "last_frame_pad_length": 135, "scales": [[[0.1]]] * 11}


def test_the_fields_meta_is_read() -> None:
    cut = cut_of({"codec_meta": FIELD})

    assert has_scales({"codec_meta": FIELD})
    assert cut == Cut(11, 150, 135, (0.1,) * 11)
    spans = cut.spans(1650)
    assert (len(spans), spans[0], spans[-1]) == (11, slice(0, 150), slice(1500, 1515))


@pytest.mark.parametrize(
    "meta",
    [{}, {"codec_meta": None}, {"codec_meta": {}}, {"codec_meta": {"hop_length": 2400, "frame_rate": 10.0}}],
    ids=["no codec_meta", "null", "empty", "the demo's"],
)
def test_a_meta_that_does_not_say_how_is_no_cut(meta: dict[str, Any]) -> None:
    assert cut_of(meta) is None


@pytest.mark.parametrize("scales", [None, [None] * 11, [[None]] * 11], ids=["null", "one null a chunk", "nested"])
def test_a_codec_that_does_not_normalise_has_no_scales(scales: Any) -> None:
    cut = cut_of({"codec_meta": FIELD | {"scales": scales}})

    assert cut is not None
    assert cut.scales is None
    assert not has_scales({"codec_meta": FIELD | {"scales": scales}})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nb_frames": 0}, "not whole numbers"),
        ({"frame_len": "150"}, "not whole numbers"),
        ({"last_frame_pad_length": -1}, "not whole numbers"),
        ({"scales": [0.1] * 10}, "expected 11 finite numbers, one a chunk"),
        ({"scales": [0.1] * 10 + [float("nan")]}, "expected 11 finite numbers"),
        ({"scales": [0.1] * 10 + [-1.0]}, "expected 11 finite numbers"),
        ({"scales": ["loud"] * 11}, "expected 11 finite numbers"),
    ],
    ids=["no chunks", "text", "negative", "too few scales", "NaN", "negative scale", "words"],
)
def test_a_meta_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cut_of({"codec_meta": FIELD | changes})


@pytest.mark.parametrize(
    ("cut", "n_frames"),
    [(Cut(11, 150), 1651), (Cut(11, 150), 1500), (Cut(11, 150, 150), 1650), (Cut(1, 150, 10), 10)],
    ids=["a frame more", "a chunk less", "all padding", "nothing left"],
)
def test_a_cut_that_does_not_add_up_is_refused(cut: Cut, n_frames: int) -> None:
    with pytest.raises(ValueError, match=f"{n_frames} frames are not {cut.n_chunks} chunks of 150"):
        cut.spans(n_frames)


def test_what_fits_one_chunk_needs_no_meta_and_what_does_not_is_named() -> None:
    assert check_cut(None, 150, frames_per_chunk=150) == Cut(1, 150)
    with pytest.raises(OneLongChunkError, match="151 frames, the codec's chunks have 150 at most, and codec_meta does"):
        check_cut(None, 151, frames_per_chunk=150)
