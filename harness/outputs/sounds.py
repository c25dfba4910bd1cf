"""Figures of decoded sounds, and their spectral fingerprints."""

import io
import itertools

import numpy as np

N_BANDS = 32  # of the mel spectrogram
N_SEGMENTS = 8  # of the fingerprint, which is as long for every sound
FLOOR_DB = -100.0  # below what 16 bits can say (-96 dBFS)
SILENT_DB = -60.0  # what is quieter is silence: the level at which reverberation is taken to have ended (RT60)
FULL_SCALE = 0.999  # what is louder is clipped
_WINDOW_S, _SPECTRUM_S = 0.02, 0.064  # of loudness, and of a spectrum, which has to resolve the lowest mel bands


def sound_figures(wav: bytes) -> tuple[dict[str, float], np.ndarray]:
    """Figures of one sound, and its spectral fingerprint.

    Args:
        wav: the file's bytes; any number of channels. Full scale is 1.

    Returns:
        rms, peak: of full scale, over all channels.
        clipped_share: share of the samples at full scale.
        zero_crossing_rate: sign changes a sample; 0.5 for white noise.
        mel_variance: of the mel spectrogram over time and bands, dB^2.
        flatness_db: geometric over arithmetic mean of the power spectrum (Wiener entropy), dB; 0 for white noise, NaN
            for digital silence.
        silent_share: share of windows of 20 ms that are quieter than SILENT_DB of full scale.
        The fingerprint, (N_BANDS * N_SEGMENTS,) dB: the mel spectrogram in as many segments of like length.
    """
    import soundfile

    wave, rate = soundfile.read(io.BytesIO(wav), dtype="float64", always_2d=True)
    wave = wave.T  # (C, S)
    power, frequencies = _spectrogram(wave, rate)  # (F, W), (F,)
    mel_db = _db(_mel_filters(frequencies) @ power)  # (N_BANDS, W)
    figures = {
        "rms": float(np.sqrt((wave**2).mean())),
        "peak": float(np.abs(wave).max()),
        "clipped_share": float((np.abs(wave) >= FULL_SCALE).mean()),
        "zero_crossing_rate": float(np.mean(np.signbit(wave[:, 1:]) != np.signbit(wave[:, :-1]))),
        "mel_variance": float(mel_db.var()),
        "flatness_db": _flatness_db(power.mean(axis=1)),
        "silent_share": _silent_share(wave, max(1, round(_WINDOW_S * rate))),
    }
    return figures, _in_segments(mel_db).reshape(-1)


def _spectrogram(wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Power density (F, W) of (C, S), the mean over the channels; and its F frequencies, Hz."""
    from scipy.signal import spectrogram

    size = min(round(_SPECTRUM_S * rate), wave.shape[1])
    frequencies, _, power = spectrogram(
        wave, rate, window="hann", nperseg=size, noverlap=size // 2, detrend=False, scaling="spectrum"
    )
    return power.mean(axis=0), frequencies


def _mel_filters(frequencies: np.ndarray) -> np.ndarray:
    """N_BANDS triangles evenly spaced in mel = 2595 log10(1 + f/700), (N_BANDS, F), each of sum 1 or empty."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + frequencies[-1] / 700), N_BANDS + 2) / 2595) - 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles / np.maximum(triangles.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def _flatness_db(power: np.ndarray) -> float:
    """10 log10 of geometric over arithmetic mean of a spectrum (F,), its 0 Hz left out: an offset is no sound."""
    power = power[1:]
    if len(power) == 0 or _db(power.sum()) <= FLOOR_DB:
        return float("nan")
    # Silence between partials is held at 100 dB below the mean: a decoder's rounding is no sign of a purer tone.
    floored = np.maximum(power, power.mean() * 10 ** (FLOOR_DB / 10))
    return float(10 * (np.log10(floored).mean() - np.log10(floored.mean())))


def _silent_share(wave: np.ndarray, size: int) -> float:
    starts = np.arange(0, wave.shape[1], size)
    lengths = np.diff([*starts, wave.shape[1]])
    squares = np.add.reduceat((wave**2).mean(axis=0), starts) / lengths
    return float((_db(squares) < SILENT_DB).mean())


def _in_segments(mel_db: np.ndarray) -> np.ndarray:
    """(N_BANDS, W) averaged to (N_BANDS, N_SEGMENTS); where W is less, windows are repeated."""
    n_windows = mel_db.shape[1]
    bounds = np.linspace(0, n_windows, N_SEGMENTS + 1)
    spans = [(int(low), max(int(low) + 1, int(high))) for low, high in itertools.pairwise(bounds)]
    return np.stack([mel_db[:, low:high].mean(axis=1) for low, high in spans], axis=1)


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))
