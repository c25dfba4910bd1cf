"""Judges of the demo's sounds: which pitches, which instrument, how loud?

Three classifiers of single notes, each clip being cut into its two. They are trained on real rendered notes only, never
on a codec's or a model's output, so that what they say of generated sound is an outside opinion. How far they can be
trusted is measured on real notes that they were not trained on (`accuracies`), and what the codec costs on
reconstructions of the same notes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from training.demo.notes import NOTE_SAMPLES, PITCHES, SAMPLE_RATE, Note, NoteSet, frequency_hz, midi_note

# Signal-to-noise ratios (dB, uniform) of the noisy copies the judges also train on: a judge that has only
# seen the synthesiser's silence between harmonics takes the codec's hiss for another instrument.
_NOISE_DB = (0.0, 25.0)
_N_NOISY_COPIES = 2
_NOISE_SMOOTHING = 100  # FFT bins of a clip, about 300 Hz: the noise keeps the formants, not the harmonics

_WINDOW = 4_096  # samples: resolves neighbouring semitones at C3, 7.8 Hz apart, by harmonics and by shape
_N_SEGMENTS = 4  # equal parts of a clip, for what changes in time
_BINS_PER_SEMITONE = 2
_COARSE_SEMITONES = 4
_LOWEST_HZ, _HIGHEST_HZ = 110.0, 8_000.0
# Bands this far under the clip's strongest count as silent: a small codec loses the quiet ones, which the instrument
# judge would otherwise listen to most.
_FLOOR_DB = {"pitch": 40.0, "instrument": 25.0}
_SILENCE = 1e-6  # full scale = 1


@dataclass
class SoundJudges:
    """Pitch, instrument and loudness classifiers of single notes; `fit` before the rest."""

    seed: int = 0
    _classifiers: dict[str, ClassifierMixin | Pipeline] = field(default_factory=dict, repr=False)

    def fit(self, real: NoteSet) -> "SoundJudges":
        """Train on the notes of real clips and on noisy copies of them, normally of the train split."""
        rng = np.random.default_rng(self.seed)
        notes, words = _single_notes(real.audio), _words(real.notes)
        copies = [notes] + [_with_noise(notes, rng) for _ in range(_N_NOISY_COPIES)]
        for attribute, said in words.items():
            # Noise would add to the level itself, so the loudness judge hears clean notes only.
            heard = copies[:1] if attribute == "loudness" else copies
            known = np.concatenate([features(copy, attribute) for copy in heard])
            self._classifiers[attribute] = _new_classifier(attribute).fit(known, said * len(heard))
        return self

    def judge(self, waves: np.ndarray) -> dict[str, list[str]]:
        """What is heard: attribute -> a word for each note, all first notes, then all second ones.

        Args:
            waves: float32 (N, 1, N_SAMPLES) at SAMPLE_RATE, full scale = 1.

        Raises:
            RuntimeError: `fit` has not been called.
        """
        if not self._classifiers:
            raise RuntimeError("the judges are untrained; call fit(real notes) first")
        notes = _single_notes(waves)
        return {
            attribute: [str(word) for word in classifier.predict(features(notes, attribute))]
            for attribute, classifier in self._classifiers.items()
        }

    def accuracies(self, waves: np.ndarray, asked: Sequence[Note]) -> dict[str, float]:
        """Share of the single notes heard as asked: pitch, pitch_within_semitone, instrument, loudness.

        Args:
            waves: float32 (N, 1, N_SAMPLES), real, reconstructed or generated.
            asked: the N examples asked for.
        """
        heard, said = self.judge(waves), _words(asked)
        shares = {name: float(np.mean(np.array(heard[name]) == np.array(said[name]))) for name in said}
        off = [abs(midi_note(a) - midi_note(b)) for a, b in zip(heard["pitch"], said["pitch"], strict=True)]
        return {"pitch_within_semitone": float(np.mean(np.array(off) <= 1))} | shares


def _single_notes(waves: np.ndarray) -> np.ndarray:
    """Clips (N, 1, N_SAMPLES) cut into their notes: (2 N, 1, NOTE_SAMPLES), all first notes first."""
    return np.concatenate([waves[..., :NOTE_SAMPLES], waves[..., NOTE_SAMPLES : 2 * NOTE_SAMPLES]])


def _words(notes: Sequence[Note]) -> dict[str, list[str]]:
    """Attribute -> the word of each single note, in the order of `_single_notes`."""
    return {
        "pitch": [note.first for note in notes] + [note.second for note in notes],
        "instrument": [note.instrument for note in notes] * 2,
        "loudness": [note.loudness for note in notes] * 2,
    }


def features(waves: np.ndarray, attribute: str) -> np.ndarray:
    """The numbers one judge hears.

    Args:
        waves: float32 (N, 1, S).
        attribute: "pitch": log-frequency spectrum of the clip, level removed. "instrument": the same,
            and by segment more coarsely, with the envelope. "loudness": the level of the clip.

    Returns:
        np.ndarray: float64 (N, D).
    """
    mono = np.asarray(waves, dtype=np.float64)[:, 0]
    if attribute == "loudness":
        return _levels_db(mono)[:, -1:]
    floor_db = _FLOOR_DB[attribute]
    bands = _log_bands(mono)  # (N, segments, bands)
    if attribute == "pitch":
        return _relative_db(bands.mean(axis=1), floor_db)
    envelope = _levels_db(mono)
    shape = envelope - envelope.max(axis=1, keepdims=True)
    spectra = np.concatenate(
        [_relative_db(bands.mean(axis=1), floor_db), _relative_db(_coarse(bands), floor_db)], axis=1
    )
    return np.concatenate([spectra, np.maximum(shape, -floor_db)], axis=1)


def _new_classifier(attribute: str) -> ClassifierMixin | Pipeline:
    if attribute == "instrument":
        # The spectrum of an instrument moves with its pitch, so classes are not linearly separable.
        return make_pipeline(StandardScaler(), SVC(C=10.0, gamma="scale"))
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05)


def _with_noise(waves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Copies of float32 (N, 1, S) with noise added at a random ratio each.

    The noise has the clip's own average spectrum with random phases, as a codec's error roughly has, mixed
    in equal power with white.
    """
    rms = np.sqrt(np.mean(waves**2, axis=2, keepdims=True))
    ratio_db = rng.uniform(*_NOISE_DB, size=(len(waves), 1, 1))
    white = rng.standard_normal(waves.shape, dtype=np.float32)
    phases = np.exp(2j * math.pi * rng.random((len(waves), 1, waves.shape[2] // 2 + 1)))
    smooth = uniform_filter1d(np.abs(np.fft.rfft(waves)), size=_NOISE_SMOOTHING, axis=2)
    shaped = np.fft.irfft(smooth * phases, n=waves.shape[2])
    shaped /= np.sqrt(np.mean(shaped**2, axis=2, keepdims=True))
    noise = (white + shaped) / math.sqrt(2)
    return waves + (noise * rms * 10.0 ** (-ratio_db / 20)).astype(np.float32)


def _levels_db(mono: np.ndarray) -> np.ndarray:
    """Root mean square of equal parts of waves (N, S), and of the whole, in dB: (N, segments + 1)."""
    usable = mono.shape[1] // _N_SEGMENTS * _N_SEGMENTS
    power = np.mean(mono[:, :usable].reshape(len(mono), _N_SEGMENTS, -1) ** 2, axis=2)
    power = np.concatenate([power, power.mean(axis=1, keepdims=True)], axis=1)
    return 10 * np.log10(power + _SILENCE**2)


def _log_bands(mono: np.ndarray) -> np.ndarray:
    """Power in bands of equal musical width, at evenly spaced times: (N, segments, bands)."""
    starts = np.linspace(0, mono.shape[1] - _WINDOW, _N_SEGMENTS).astype(int)
    window = np.hanning(_WINDOW)
    spectra = [np.abs(np.fft.rfft(mono[:, start : start + _WINDOW] * window, n=2 * _WINDOW)) ** 2 for start in starts]
    return np.stack(spectra, axis=1) @ _BANDS.T


def _coarse(bands: np.ndarray) -> np.ndarray:
    """Power (N, segments, bands) summed to bands of _COARSE_SEMITONES: (N, segments * coarse bands)."""
    width = _COARSE_SEMITONES * _BINS_PER_SEMITONE
    usable = bands.shape[2] // width * width
    return bands[:, :, :usable].reshape(*bands.shape[:2], -1, width).sum(axis=3).reshape(len(bands), -1)


def _relative_db(power: np.ndarray, floor_db: float) -> np.ndarray:
    """Power (N, D) in dB under the clip's strongest, not under -floor_db: independent of level."""
    strongest = power.max(axis=1, keepdims=True) + _SILENCE**2
    return np.maximum(10 * np.log10(power / strongest + 1e-12), -floor_db)


def _band_matrix() -> np.ndarray:
    """(bands, FFT bins): triangles on a logarithmic frequency axis, at least two FFT bins wide."""
    hz = np.fft.rfftfreq(2 * _WINDOW, 1 / SAMPLE_RATE)
    n_bands = int(12 * _BINS_PER_SEMITONE * math.log2(_HIGHEST_HZ / _LOWEST_HZ))
    # Centres lie on the pitches themselves, half of them, and half-way between.
    lowest = frequency_hz(
        midi_note(PITCHES[0]) - round(12 * math.log2(frequency_hz(midi_note(PITCHES[0])) / _LOWEST_HZ))
    )
    centres = lowest * 2.0 ** (np.arange(n_bands) / (12 * _BINS_PER_SEMITONE))
    width = np.maximum(centres * (2.0 ** (1 / (12 * _BINS_PER_SEMITONE)) - 1), 2 * hz[1])
    return np.maximum(0.0, 1.0 - np.abs(hz[None, :] - centres[:, None]) / width[:, None])


_BANDS = _band_matrix()
