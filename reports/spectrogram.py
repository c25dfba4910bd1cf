"""A sound as a small picture: a log-frequency spectrogram above the waveform."""

import io
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy and Pillow are imported where a sound is drawn: a report without sounds needs neither
    import numpy as np
    from numpy.typing import NDArray

MAX_COLUMNS, MIN_COLUMNS, SPECTROGRAM_ROWS, WAVEFORM_ROWS = 200, 40, 56, 24
FFT_SIZE, LEAST_HOP, LOWEST_HZ = 1024, 128, 50.0  # nearer columns than an eighth of a window tell nothing new
FLOOR_DB, CEILING_DB, LEVELS = -100.0, -20.0, 24  # one scale for all sounds, so that a silent one looks silent
# Anchors of the perceptually uniform colour map "magma" (matplotlib); read by lightness alone, it still holds.
_MAGMA = ((0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
          (254, 194, 135), (252, 253, 191))  # fmt: skip


def draw_sound(wave: "NDArray[np.float32]", rate: int) -> bytes:
    """A palette PNG, light on dark; wave: (n_samples,)."""
    import numpy as np
    from PIL import Image

    wave = np.nan_to_num(wave)
    columns = min(max(len(wave) // LEAST_HOP, MIN_COLUMNS), MAX_COLUMNS)
    levels = np.concatenate([_spectrogram(wave, rate, columns), _waveform(wave, columns)])  # 0 … LEVELS - 1
    picture = Image.frombytes("P", levels.shape[::-1], levels.tobytes())
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _palette() -> bytes:
    import numpy as np

    anchors = np.array(_MAGMA, dtype=float)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    palette = np.stack([np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)], axis=1)
    return palette.round().astype(np.uint8).tobytes()


def _spectrogram(wave: "NDArray[np.float32]", rate: int, columns: int) -> "NDArray[np.uint8]":
    """(SPECTROGRAM_ROWS, columns)."""
    import numpy as np

    padded = np.pad(wave, FFT_SIZE // 2)
    starts = np.linspace(0, len(padded) - FFT_SIZE, columns).astype(int)
    window = _window()
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[starts] * window  # (columns, FFT_SIZE)
    spectrum = np.fft.rfft(frames, axis=1)  # single precision holds 150 dB; 80 are drawn
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2) / window.sum()
    hertz = np.geomspace(LOWEST_HZ, rate / 2, SPECTROGRAM_ROWS)[::-1]  # high frequencies on top
    bins = hertz * FFT_SIZE / rate
    below = np.minimum(bins.astype(int), magnitude.shape[1] - 2)
    share_above = (bins - below).astype(np.float32)
    # Between two bins, linearly; of all columns at once.
    rows = (magnitude[:, below] * (1 - share_above) + magnitude[:, below + 1] * share_above).T
    decibel = 20 * np.log10(np.maximum(rows, 1e-9))
    share = np.clip((decibel - FLOOR_DB) / (CEILING_DB - FLOOR_DB), 0, 1)
    return np.rint(share * (LEVELS - 1)).astype(np.uint8)


@cache
def _window() -> "NDArray[np.float32]":
    import numpy as np

    return np.hanning(FFT_SIZE).astype(np.float32)


def _waveform(wave: "NDArray[np.float32]", columns: int) -> "NDArray[np.uint8]":
    """The wave's envelope, full scale, light on dark, (WAVEFORM_ROWS, columns)."""
    import numpy as np

    edges = np.linspace(0, len(wave), columns + 1).astype(int)
    starts = np.minimum(edges[:-1], len(wave) - 1)
    peaks = np.maximum.reduceat(np.abs(wave), starts)  # of each stretch up to the next start, of one sample at least
    middle = (WAVEFORM_ROWS - 1) / 2
    distance = np.abs(np.arange(WAVEFORM_ROWS) - middle)[:, None]  # (WAVEFORM_ROWS, 1)
    inside = distance <= np.maximum(np.minimum(peaks, 1) * middle, 0.5)
    return np.where(inside, LEVELS - 4, 0).astype(np.uint8)
