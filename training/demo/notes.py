"""The sounds of the demo: single notes of General MIDI instruments, rendered from a real SoundFont.

Every example is one note with three words that a prompt can ask for: how loud, which instrument, which
pitch ("a loud trumpet playing C4"). The combinations, not the recordings, are split into train, dev and
golden, so a golden prompt asks for a combination that was never heard. Nothing here is random except the
split, and that is seeded.

The SoundFont is TimGM6mb.sf2, read from inside the installed `pretty_midi` package. It is GPL-2 and is not
copied into this repository.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

SAMPLE_RATE = 24_000  # Hz, the rate of the 24 kHz EnCodec family
N_SAMPLES = 7_680  # 0.32 s: 12 whole frames at a hop of 640 samples

# Name in the caption -> General MIDI program, counted from 0. Chosen by measurement on this SoundFont:
# C3 to B4 within about 10 cents of equal temperament (harmonica 18 at one key), 70 % of the peak level within
# 0.1 s, and told apart by a classifier without error on held-out notes.
INSTRUMENTS = MappingProxyType(
    {
        "organ": 16,
        "harmonica": 22,
        "guitar": 24,
        "violin": 40,
        "cello": 42,
        "trumpet": 56,
        "trombone": 57,
        "tuba": 58,
        "saxophone": 66,
        "oboe": 68,
        "clarinet": 71,
        "ocarina": 79,
    }
)
PITCHES = tuple(
    f"{name}{octave}" for octave in (3, 4) for name in ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
)
LOWEST_MIDI_NOTE = 48  # C3, where C4 is middle C

# MIDI velocities of the takes of a combination. In this SoundFont amplitude is proportional to velocity
# (measured: 8.8 dB from 40 to 110), so neighbouring levels are 6 dB apart and takes differ by under 1 dB.
VELOCITIES = MappingProxyType(
    {
        "soft": (30, 29, 31),
        "medium": (60, 58, 62),
        "loud": (120, 116, 124),
    }
)

N_GOLDEN = len(INSTRUMENTS) * len(PITCHES)  # 288: one loudness of every instrument and pitch
N_DEV = 64
SPLIT_SEED = 20_240

LEVEL_RMS = 0.17  # root mean square of any note at velocity 127, full scale = 1
_SYNTH_GAIN_DB = -6.0  # headroom: no note clips before it is levelled
_SETTLE_SAMPLES = 2_400  # silence rendered between notes, so that no release tail leaks into the next one
_PHASE_WINDOW = 2_400  # samples: 0.1 s, over which the phase of the fundamental is measured


@dataclass(frozen=True)
class Note:
    """One rendered note and the words that describe it."""

    id: str  # unique, for instance "loud-trumpet-C4-0"
    caption: str  # "a loud trumpet playing C4"
    loudness: str  # a key of VELOCITIES
    instrument: str  # a key of INSTRUMENTS
    pitch: str  # one of PITCHES
    split: str  # "train", "dev" or "golden"
    take: int  # 0-based; takes of a combination differ in velocity only
    velocity: int  # MIDI velocity, 1 to 127
    midi_note: int  # MIDI key number; 60 is C4, middle C

    @property
    def attributes(self) -> dict[str, str]:
        """The words that may be swapped in the caption, by attribute name."""
        return {"loudness": self.loudness, "instrument": self.instrument, "pitch": self.pitch}

    @property
    def combination(self) -> str:
        """What the split is made by: the same for all takes."""
        return f"{self.loudness}-{self.instrument}-{self.pitch}"


@dataclass(frozen=True)
class NoteSet:
    """The notes of one split and their sound, in the same order."""

    notes: tuple[Note, ...]
    audio: np.ndarray  # float32 (N, 1, N_SAMPLES), SAMPLE_RATE Hz, full scale = 1

    def __len__(self) -> int:
        return len(self.notes)


def note_caption(loudness: str, instrument: str, pitch: str) -> str:
    """The prompt for a note; there is exactly one wording."""
    return f"a {loudness} {instrument} playing {pitch}"


def attribute_values() -> dict[str, tuple[str, ...]]:
    """Every word each attribute can take, in a fixed order (the class order of the judges)."""
    return {"loudness": tuple(VELOCITIES), "instrument": tuple(INSTRUMENTS), "pitch": PITCHES}


def with_attribute(note: Note, attribute: str, value: str) -> str:
    """The caption of `note` with one attribute word replaced.

    Raises:
        ValueError: If the attribute or the value is not one of this demo's.
    """
    known = attribute_values()
    if attribute not in known or value not in known[attribute]:
        raise ValueError(f"no value {value!r} for attribute {attribute!r}; the attributes are {known}")
    return note_caption(**{**note.attributes, attribute: value})


def midi_note(pitch: str) -> int:
    """MIDI key number of a pitch name; C4 is 60."""
    return LOWEST_MIDI_NOTE + PITCHES.index(pitch)


def frequency_hz(midi: int) -> float:
    """Equal-tempered frequency, A4 (69) = 440 Hz."""
    return 440.0 * 2.0 ** ((midi - 69) / 12)


def split_combinations(seed: int = SPLIT_SEED) -> dict[tuple[str, str, str], str]:
    """Assign every (loudness, instrument, pitch) to "train", "dev" or "golden".

    One loudness of every (instrument, pitch) pair is golden, and of N_DEV pairs a second one is dev. So all
    words and all pairs are heard in training, each golden prompt is a new combination, and the golden set is
    balanced over pitches and instruments by construction.
    """
    rng = np.random.default_rng(seed)
    pairs = [(instrument, pitch) for instrument in INSTRUMENTS for pitch in PITCHES]
    dev_pairs = {pairs[i] for i in rng.permutation(len(pairs))[:N_DEV]}
    # As many of each loudness as the count allows, in random order: the golden loudnesses are balanced too.
    golden_loudness = rng.permutation(np.arange(len(pairs)) % len(VELOCITIES))
    split: dict[tuple[str, str, str], str] = {}
    for pair, held_out in zip(pairs, golden_loudness, strict=True):
        shift = 1 + int(rng.integers(len(VELOCITIES) - 1))
        dev = (held_out + shift) % len(VELOCITIES) if pair in dev_pairs else None
        for index, loudness in enumerate(VELOCITIES):
            name = "golden" if index == held_out else "dev" if index == dev else "train"
            split[(loudness, *pair)] = name
    return split


def note_examples(n_takes: int = 3, seed: int = SPLIT_SEED) -> tuple[Note, ...]:
    """Every note of the demo: `n_takes` takes of a train combination, one of a dev or golden one."""
    return tuple(_note_takes(n_takes, seed))


def render_notes(
    n_takes: int = 3,
    *,
    seed: int = SPLIT_SEED,
    soundfont: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NoteSet]:
    """Render all splits (about 1 CPU second).

    Args:
        n_takes: Takes of each train combination, at most 3.
        seed: Seed of the split.
        soundfont: A .sf2 file; by default the one inside the installed `pretty_midi`.
        progress: Called with (notes done, notes in all) after each note.

    Returns:
        dict[str, NoteSet]: "train", "dev" and "golden".

    Raises:
        FileNotFoundError: If the SoundFont is not where it should be.
    """
    notes = note_examples(n_takes, seed)
    renderer = _NoteRenderer(soundfont or soundfont_path())
    audio = np.empty((len(notes), 1, N_SAMPLES), dtype=np.float32)
    for index, note in enumerate(notes):
        audio[index, 0] = renderer.note(INSTRUMENTS[note.instrument], note.midi_note, note.velocity)
        if progress is not None:
            progress(index + 1, len(notes))
    return {split: _select(notes, audio, split) for split in ("train", "dev", "golden")}


def soundfont_path() -> Path:
    """TimGM6mb.sf2 inside the installed pretty_midi.

    The package is located, not imported: importing it needs mido, which a `--no-deps` install leaves out.

    Raises:
        FileNotFoundError: If pretty_midi is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the demo's SoundFont is read from the package pretty_midi, which is not "
            "installed; run: pip install --no-deps pretty_midi==0.2.11.post0"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "TimGM6mb.sf2"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; pretty_midi 0.2.11.post0 ships it. Reinstall that version, or pass soundfont=."
        )
    return path


def _note_takes(n_takes: int, seed: int) -> Iterator[Note]:
    most = min(len(takes) for takes in VELOCITIES.values())
    if not 1 <= n_takes <= most:
        raise ValueError(f"n_takes is {n_takes}; it must be 1 to {most}")
    for (loudness, instrument, pitch), split in split_combinations(seed).items():
        takes = VELOCITIES[loudness][: n_takes if split == "train" else 1]
        for take, velocity in enumerate(takes):
            yield Note(
                id=f"{loudness}-{instrument}-{pitch}-{take}",
                caption=note_caption(loudness, instrument, pitch),
                loudness=loudness,
                instrument=instrument,
                pitch=pitch,
                split=split,
                take=take,
                velocity=velocity,
                midi_note=midi_note(pitch),
            )


def _select(notes: tuple[Note, ...], audio: np.ndarray, split: str) -> NoteSet:
    keep = [index for index, note in enumerate(notes) if note.split == split]
    return NoteSet(notes=tuple(notes[index] for index in keep), audio=audio[keep])


class _NoteRenderer:
    """Renders notes of one SoundFont at a fixed level and a fixed phase.

    Both are settled per (program, key), so that takes differ in velocity alone:

    * level: a note at velocity 127 has LEVEL_RMS whatever the instrument, so "loud" names a level;
    * onset: delayed by less than one period, so that the fundamental is at a crest in the middle of the
      clip. A steady note is then the same waveform for every clip of its pitch up to timbre, and the codec
      need not spend codes on an arbitrary starting phase.
    """

    def __init__(self, soundfont: Path) -> None:
        import tinysoundfont  # imported late: only rendering needs it

        self._synth = tinysoundfont.Synth(gain=_SYNTH_GAIN_DB, samplerate=SAMPLE_RATE)
        self._soundfont_id = self._synth.sfload(str(soundfont))
        self._placement: dict[tuple[int, int], tuple[float, int]] = {}

    def note(self, program: int, key: int, velocity: int) -> np.ndarray:
        """float32 (N_SAMPLES,): one note, levelled and placed."""
        if (program, key) not in self._placement:
            self._placement[program, key] = self._measure(program, key)
        gain, delay = self._placement[program, key]
        clip = np.zeros(N_SAMPLES, dtype=np.float32)
        clip[delay:] = gain * self._raw(program, key, velocity)[: N_SAMPLES - delay]
        return clip

    def _measure(self, program: int, key: int) -> tuple[float, int]:
        """Gain (a factor) and onset delay (samples) of an instrument at a key."""
        wave = self._raw(program, key, velocity=127)
        gain = LEVEL_RMS / float(np.sqrt(np.mean(wave**2)))
        period = SAMPLE_RATE / frequency_hz(key)
        crest = (-_phase_at_middle(wave, frequency_hz(key)) / (2 * math.pi)) % 1.0  # periods after the middle
        return gain, round((1.0 - crest) * period) % round(period)

    def _raw(self, program: int, key: int, velocity: int) -> np.ndarray:
        """float32 (N_SAMPLES,): the two channels' mean, as the synthesiser gives it."""
        self._synth.sounds_off()
        self._synth.program_select(0, self._soundfont_id, 0, program)
        self._synth.generate(_SETTLE_SAMPLES)
        self._synth.noteon(0, key, velocity)
        stereo = np.frombuffer(self._synth.generate(N_SAMPLES), dtype=np.float32).reshape(-1, 2)
        return stereo.mean(axis=1)


def _phase_at_middle(wave: np.ndarray, frequency: float) -> float:
    """Phase of the component at `frequency` (Hz) in the middle of the clip, radians; 0 is a crest."""
    middle = len(wave) // 2
    window = wave[middle - _PHASE_WINDOW // 2 : middle + _PHASE_WINDOW // 2] * np.hanning(_PHASE_WINDOW)
    time_s = (np.arange(_PHASE_WINDOW) - _PHASE_WINDOW // 2) / SAMPLE_RATE
    return float(np.angle(np.sum(window * np.exp(-2j * math.pi * frequency * time_s))))
