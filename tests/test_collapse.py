"""Figures of outputs: known sounds, pictures and codes give known figures, and any codes give figures within range."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from harness.outputs.alike import different_prompts, equal_codes, near_media, pair_share
from harness.outputs.codes import code_figures, codebook_entropies, codes_in_use, loop, position_entropies
from harness.outputs.figures import Outputs
from harness.outputs.limits import beyond, entropy_share, limit, spread
from harness.outputs.pictures import HASH_SIDE, picture_figures
from harness.outputs.sounds import N_BANDS, N_SEGMENTS, sound_figures

RATE = 16_000
CODES = hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=st.integers(0, 1023))


def wav(wave: np.ndarray, rate: int = RATE) -> bytes:
    """A WAV file of (S, C) or (S,)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def sine(seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    """Half of full scale, (S,)."""
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE)


# ---------------------------------------------------------------------- codes


@given(CODES)
def test_figures_of_any_codes_are_finite_and_in_range(codes: np.ndarray) -> None:
    figures = code_figures(codes)
    length = codes.shape[1]
    least = 1 / length - 1e-12  # the mean over codebooks rounds

    assert least <= figures["dominant_code_share"] <= 1
    assert least <= figures["distinct_code_share"] <= 1
    assert figures["loop_period"] <= length / 2
    assert 0 <= figures["loop_share"] <= 1 if length > 1 else np.isnan(figures["loop_share"])
    bits = codebook_entropies([codes])
    assert ((bits >= 0) & (2**bits <= codes_in_use([codes]) + 1e-9)).all()
    assert (position_entropies([codes, codes]) == 0).all()


@given(CODES, st.integers(2, 5))
def test_codes_that_are_repeated_are_a_loop(codes: np.ndarray, times: int) -> None:
    period, share = loop(np.tile(codes, times))

    assert share == 1
    assert period <= codes.shape[1]


def test_one_code_everywhere_holds_every_position() -> None:
    figures = code_figures(np.array([[5] * 8, [9] * 8]))

    assert figures == {"distinct_code_share": 1 / 8, "dominant_code_share": 1, "loop_share": 1, "loop_period": 1}


def test_entropy_across_outputs_is_that_of_each_position() -> None:
    long, short = np.array([[1, 2, 3, 4]]), np.array([[1, 5, 3]])

    assert position_entropies([long, short]).tolist() == [[0, 1, 0]]


# ---------------------------------------------------------------------- sounds


def test_figures_of_a_sine_are_known() -> None:
    figures, fingerprint = sound_figures(wav(sine()))

    assert figures["rms"] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert figures["peak"] == pytest.approx(0.5, rel=1e-3)
    assert figures["zero_crossing_rate"] == pytest.approx(2 * 440 / RATE, rel=0.01)
    assert figures["clipped_share"] == figures["silent_share"] == 0
    assert figures["flatness_db"] < -40
    assert fingerprint.shape == (N_BANDS * N_SEGMENTS,)


def test_white_noise_is_flat_and_crosses_zero_at_every_second_sample() -> None:
    figures, _ = sound_figures(wav(np.random.default_rng(0).normal(0, 0.1, RATE)))

    assert figures["flatness_db"] == pytest.approx(0, abs=0.5)
    assert figures["zero_crossing_rate"] == pytest.approx(0.5, abs=0.02)


def test_digital_silence_has_no_spectrum_to_be_flat() -> None:
    figures, _ = sound_figures(wav(np.zeros(RATE)))

    assert (figures["rms"], figures["silent_share"], figures["mel_variance"]) == (0, 1, 0)
    assert np.isnan(figures["flatness_db"])


def test_half_silent_and_half_clipped_are_counted() -> None:
    half = np.arange(RATE) < RATE // 2

    assert sound_figures(wav(np.where(half, sine(), 0)))[0]["silent_share"] == 0.5
    assert sound_figures(wav(np.where(half, 1.0, 0.1)))[0]["clipped_share"] == 0.5


def test_channels_out_of_phase_are_not_silence() -> None:
    mono, _ = sound_figures(wav(sine()))
    stereo, _ = sound_figures(wav(np.stack([sine(), -sine()], axis=1)))

    for name in ("rms", "peak", "zero_crossing_rate", "silent_share"):
        assert stereo[name] == pytest.approx(mono[name], rel=1e-3)


@given(st.integers(2, 400), st.integers(1, 2), st.sampled_from([8_000, 24_000, 48_000]))
def test_sounds_of_any_length_have_figures(n_samples: int, n_channels: int, rate: int) -> None:
    wave = np.random.default_rng(n_samples).uniform(-1, 1, (n_samples, n_channels))

    figures, fingerprint = sound_figures(wav(wave, rate))

    assert np.isfinite([value for name, value in figures.items() if name != "flatness_db"]).all()
    assert np.isfinite(fingerprint).all()


# ---------------------------------------------------------------------- pictures


def test_a_slope_is_smooth_noise_is_rough_and_one_colour_is_neither() -> None:
    slope = np.broadcast_to(np.linspace(0, 255, 64)[:, None, None], (64, 64, 3))
    smooth, bits = picture_figures(png(slope))
    rough, _ = picture_figures(png(np.random.default_rng(0).integers(0, 256, (64, 64, 3))))
    blank, _ = picture_figures(png(np.full((64, 64, 3), 77)))

    assert smooth["roughness"] < 0.01
    assert rough["roughness"] == pytest.approx(1, abs=0.05)
    assert blank["pixel_std"] == 0
    assert np.isnan(blank["roughness"])
    assert bits.shape == (HASH_SIDE**2,)


# ---------------------------------------------------------------------- across outputs, and against real media


def outputs(codes: list[list[int]], prompts: list[bytes], fingerprints: list[float]) -> Outputs:
    """Outputs of sounds, as far as they are compared."""
    arrays = tuple(np.array([each]) for each in codes)
    return Outputs((), tuple(prompts), arrays, {}, np.array(fingerprints, dtype=np.float64)[:, None], ())


def test_only_outputs_of_different_prompts_are_compared() -> None:
    written = outputs([[1, 2], [1, 2], [1, 2], [3, 4]], [b"a", b"a", b"b", b"c"], [0, 0, 0, 0.5])
    compared = different_prompts(written)

    assert compared.sum() == 12 - 2
    assert pair_share(equal_codes(written), compared) == 4 / 10
    assert pair_share(near_media(written, tolerance=0.4), compared) == 4 / 10
    assert pair_share(near_media(written, tolerance=1.0), compared) == 1


def test_codes_of_other_lengths_are_not_equal() -> None:
    assert equal_codes(outputs([[1], [1, 1]], [b"a", b"b"], [0, 9])).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("prompts", [[], [b"a"], [b"a", b"a"]], ids=["none", "one", "equal prompts"])
def test_without_different_prompts_there_is_no_share(prompts: list[bytes]) -> None:
    written = outputs([[1]] * len(prompts), prompts, [0.0] * len(prompts))

    assert np.isnan(pair_share(near_media(written, 1.0), different_prompts(written)))


def test_a_limit_lies_part_of_the_way_from_the_edge_of_real_media() -> None:
    real = np.linspace(0.2, 0.4, 101)

    assert limit(real, "high", 1.0, way=0.5, tail=0.05) == pytest.approx((0.39 + 1) / 2)
    assert limit(real, "low", 0.0, way=0.9, tail=0.05) == pytest.approx(0.021)
    assert limit(real, "high", 0.3, way=0.5, tail=0.05) == pytest.approx(0.39), "real media beyond the extreme"


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.floats(0.01, 1))
def test_real_media_collapse_no_further_than_their_own_tail(real: np.ndarray, way: float) -> None:
    for side, extreme in (("high", 1.0), ("low", 0.0)):
        hits = beyond(real, side, limit(real, side, extreme, way, tail=0.05))  # type: ignore[arg-type]
        assert hits.mean() <= 0.05 + 1e-9


def test_what_is_no_number_lies_beyond_nothing() -> None:
    silent = np.array([np.nan, np.nan])

    assert np.isnan(spread(silent, 0.05)).all()
    assert not beyond(silent, "high", -10.0).any()
    assert not beyond(np.array([1.0]), "high", limit(silent, "high", 0.0, way=0.5, tail=0.05)).any()


def test_a_codebook_that_real_media_do_not_use_has_lost_nothing() -> None:
    assert entropy_share(np.array([1.0, 0.0]), np.array([2.0, 0.0])) == 0.5
