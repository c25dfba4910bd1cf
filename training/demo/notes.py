"""The sounds of the demo: two notes of a General MIDI instrument, rendered from a real SoundFont.

Every example is two short notes, one after the other, with four words that a prompt can ask for: how loud, which
instrument, which pitch first and which second ("a loud cello playing C4 then G4"). The order matters, so that a model
that reads such a sound as a bag of codes cannot caption it. Combinations, not recordings, are split into train, dev and
golden: a golden prompt asks for a combination that was never heard.

Tuning. A codec frame is 0.1 s (HOP_SAMPLES), and each note is bent to the multiple of 10 Hz that is nearest to its
equal-tempered pitch (C4, 261.6 Hz, sounds at 260 Hz; off by 22 cents at most, 8 on average). A frame then holds whole
periods, and the frames of a steady note are alike: without it, a code would have to say the pitch *and* where in its
period a frame begins, and a small codec loses the instrument over it (measured, see the README).

The SoundFont is TimGM6mb.sf2, read from inside the installed `pretty_midi` package. It is GPL-2 and is not copied into
this repository.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

SAMPLE_RATE = 24_000  # Hz, the rate of the 24 kHz EnCodec family
HOP_SAMPLES = 2_400  # 0.1 s: what the demo's codec takes as one frame
NOTE_SAMPLES = 3 * HOP_SAMPLES  # an attack and two steady frames
N_SAMPLES = 2 * NOTE_SAMPLES

# Name in the caption -> General MIDI program, counted from 0. Chosen by measurement on this SoundFont: steady and in
# tune from C4 to B5 (a 0.1 s frame predicts the next with an error 9 dB or more under it, 25 on average; 5 dB for the
# harmonica's C4), at full level within 0.1 s, and told apart by a classifier without error.
INSTRUMENTS = MappingProxyType(
    {
        "harpsichord": 6,
        "harmonica": 22,
        "guitar": 24,
        "violin": 40,
        "cello": 42,
        "trombone": 57,
        "tuba": 58,
        "saxophone": 66,
        "clarinet": 71,
        "ocarina": 79,
    }
)
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PITCHES = tuple(f"{name}{octave}" for octave in (4, 5) for name in _NAMES)
LOWEST_MIDI_NOTE = 60  # C4, middle C

# MIDI velocities. In this SoundFont amplitude is proportional to velocity (measured: 8.8 dB from 40 to 110), so
# neighbouring levels are 6 dB apart and those of one word differ by under 1 dB.
VELOCITIES = MappingProxyType({"soft": (30, 29, 31), "medium": (60, 58, 62), "loud": (120, 116, 124)})
SPLITS = ("train", "dev", "golden")

RENDERING = 2  # raised when the code below renders the same examples otherwise, so that runs are made again
LEVEL_RMS = 0.17  # root mean square of the steady part of any note at velocity 127, full scale = 1
_SYNTH_GAIN_DB = -6.0  # headroom: no note clips before it is levelled
_SETTLE_SAMPLES = 2_400  # silence rendered between notes, so that no release tail leaks into the next one
_FADE_SAMPLES = 48  # 2 ms at the end of a note, which is cut there
_BEND_CENTRE, _BEND_MOST = 8_192, 16_383  # the MIDI pitch wheel; its range is two semitones either way
_BEND_STEPS = 3  # corrections of a note's tuning; the third is below 0.1 cent
_FIRST_WINDOW = HOP_SAMPLES // 2  # where the first window begins: past the attack
_LAGS_SAMPLES = (240, 720, HOP_SAMPLES, HOP_SAMPLES)  # between the windows that a frequency is measured by


Combination = tuple[str, str, str, str]  # loudness, instrument, first, second


@dataclass(frozen=True)
class NotesConfig:
    """How many examples there are of each split; each has a combination of its own."""

    n_train: int = 4096
    n_golden_combinations: int = 288
    n_dev_combinations: int = 160
    seed: int = 0


@dataclass(frozen=True)
class Note:
    """One example and the words that describe it."""

    id: str  # unique, for instance "loud-cello-C4-G4"
    caption: str  # "a loud cello playing C4 then G4"
    loudness: str  # a key of VELOCITIES
    instrument: str  # a key of INSTRUMENTS
    first: str  # one of PITCHES
    second: str  # another of PITCHES
    split: str  # one of SPLITS
    velocity: int  # MIDI velocity of both notes, 1 to 127

    @property
    def attributes(self) -> dict[str, str]:
        """The words that may be swapped in the caption, by attribute name."""
        return {"loudness": self.loudness, "instrument": self.instrument, "first": self.first, "second": self.second}

    @property
    def midi_notes(self) -> tuple[int, int]:
        """MIDI key numbers of the two notes; 60 is C4, middle C."""
        return midi_note(self.first), midi_note(self.second)


@dataclass(frozen=True)
class NoteSet:
    """The examples of one split and their sound, in the same order."""

    notes: tuple[Note, ...]
    audio: np.ndarray  # float32 (N, 1, N_SAMPLES), SAMPLE_RATE Hz, full scale = 1

    def __len__(self) -> int:
        return len(self.notes)


def note_caption(loudness: str, instrument: str, first: str, second: str) -> str:
    """The prompt for an example; there is exactly one wording, in which every attribute is one word."""
    return f"a {loudness} {instrument} playing {first} then {second}"


def midi_note(pitch: str) -> int:
    """MIDI key number of a pitch name; C4 is 60."""
    return LOWEST_MIDI_NOTE + PITCHES.index(pitch)


def frequency_hz(midi: int) -> float:
    """The frequency that a key sounds at: the multiple of the frame rate nearest to equal temperament, A4 = 440 Hz."""
    frame_rate_hz = SAMPLE_RATE / HOP_SAMPLES
    return round(440.0 * 2.0 ** ((midi - 69) / 12) / frame_rate_hz) * frame_rate_hz


def note_examples(config: NotesConfig) -> tuple[Note, ...]:
    """Every example of the demo, golden first, then dev, then train.

    Raises:
        ValueError: the config asks for more combinations than there are.
    """
    rng = np.random.default_rng([config.seed, 3])
    wanted = {"golden": config.n_golden_combinations, "dev": config.n_dev_combinations, "train": config.n_train}
    combinations = _combinations()
    if sum(wanted.values()) > len(combinations):
        raise ValueError(f"{wanted} asks for more than the {len(combinations)} combinations that there are")
    chosen = iter(rng.permutation(len(combinations)))
    return tuple(_note(combinations[next(chosen)], split, rng) for split, count in wanted.items() for _ in range(count))


def render_notes(
    config: NotesConfig, *, soundfont: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, NoteSet]:
    """Render all splits.

    Args:
        config: which examples.
        soundfont: a .sf2 file; by default the one inside the installed `pretty_midi`.
        progress: called with (examples done, examples in all) after each.

    Raises:
        FileNotFoundError: the SoundFont is not where it should be.
    """
    notes = note_examples(config)
    renderer = _NoteRenderer(soundfont or soundfont_path())
    audio = np.empty((len(notes), 1, N_SAMPLES), dtype=np.float32)
    for index, note in enumerate(notes):
        parts = [renderer.note(INSTRUMENTS[note.instrument], key, note.velocity) for key in note.midi_notes]
        audio[index, 0] = np.concatenate(parts)
        if progress is not None:
            progress(index + 1, len(notes))
    return {split: _select(notes, audio, split) for split in SPLITS}


def soundfont_path() -> Path:
    """TimGM6mb.sf2 inside the installed pretty_midi.

    The package is located, not imported: importing it needs mido, which a `--no-deps` install leaves out.

    Raises:
        FileNotFoundError: pretty_midi is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the demo's SoundFont is read from the package pretty_midi, which is not installed; "
            "run: pip install --no-deps pretty_midi==0.2.11.post0"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "TimGM6mb.sf2"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; pretty_midi 0.2.11.post0 ships it. Reinstall that version, or pass soundfont=."
        )
    return path


def _combinations() -> list[Combination]:
    return [
        (loudness, instrument, first, second)
        for loudness in VELOCITIES
        for instrument in INSTRUMENTS
        for first in PITCHES
        for second in PITCHES
        if first != second
    ]


def _note(combination: Combination, split: str, rng: np.random.Generator) -> Note:
    loudness, instrument, first, second = combination
    takes = VELOCITIES[loudness]
    velocity = takes[int(rng.integers(len(takes)))] if split == "train" else takes[0]
    name = "-".join(combination)
    return Note(name, note_caption(*combination), loudness, instrument, first, second, split, velocity)


def _select(notes: Sequence[Note], audio: np.ndarray, split: str) -> NoteSet:
    keep = [index for index, note in enumerate(notes) if note.split == split]
    return NoteSet(notes=tuple(notes[index] for index in keep), audio=audio[keep])


@dataclass(frozen=True)
class _Placement:
    """How an instrument's key is brought to level, tune and phase."""

    gain: float  # factor
    bend: int  # pitch wheel
    delay_samples: int  # of the onset, under one period


class _NoteRenderer:
    """Renders notes of one SoundFont at a fixed level, tuning and phase.

    All three are settled once per (program, key): a note at velocity 127 has LEVEL_RMS whatever the instrument, so that
    "loud" names a level; it sounds at `frequency_hz`; and its fundamental is at a crest where a frame begins.
    """

    def __init__(self, soundfont: Path) -> None:
        import tinysoundfont  # imported late: only rendering needs it

        self._synth = tinysoundfont.Synth(gain=_SYNTH_GAIN_DB, samplerate=SAMPLE_RATE)
        self._soundfont_id = self._synth.sfload(str(soundfont))
        self._placements: dict[tuple[int, int], _Placement] = {}
        self._rendered: dict[tuple[int, int, int], np.ndarray] = {}

    def note(self, program: int, key: int, velocity: int) -> np.ndarray:
        """float32 (NOTE_SAMPLES,): one note, levelled, tuned and placed."""
        wanted = (program, key, velocity)
        if wanted not in self._rendered:
            self._rendered[wanted] = self._render(*wanted)
        return self._rendered[wanted]

    def _render(self, program: int, key: int, velocity: int) -> np.ndarray:
        if (program, key) not in self._placements:
            self._placements[program, key] = self._place(program, key)
        place = self._placements[program, key]
        clip = np.zeros(NOTE_SAMPLES, dtype=np.float32)
        raw = self._raw(program, key, velocity, place.bend)
        clip[place.delay_samples :] = place.gain * raw[: NOTE_SAMPLES - place.delay_samples]
        clip[-_FADE_SAMPLES:] *= np.linspace(1, 0, _FADE_SAMPLES, dtype=np.float32)
        return clip

    def _place(self, program: int, key: int) -> _Placement:
        wanted_hz, bend = frequency_hz(key), float(_BEND_CENTRE)
        for _ in range(_BEND_STEPS):
            found_hz = _fundamental_hz(self._raw(program, key, 127, round(bend)), wanted_hz)
            semitones_off = 12 * math.log2(found_hz / wanted_hz)
            bend = min(_BEND_MOST, max(0.0, bend - semitones_off / 2 * _BEND_CENTRE))
        wave = self._raw(program, key, 127, round(bend))[:NOTE_SAMPLES]
        gain = LEVEL_RMS / float(np.sqrt(np.mean(wave[HOP_SAMPLES:] ** 2)))
        period = SAMPLE_RATE / wanted_hz
        phase = np.angle(_component(wave[HOP_SAMPLES : 2 * HOP_SAMPLES], wanted_hz)) / (2 * math.pi)  # periods
        return _Placement(gain, round(bend), round(phase % 1.0 * period) % round(period))

    def _raw(self, program: int, key: int, velocity: int, bend: int) -> np.ndarray:
        """float32 (NOTE_SAMPLES + HOP_SAMPLES,): the two channels' mean, as the synthesiser gives it."""
        self._synth.sounds_off()
        self._synth.program_select(0, self._soundfont_id, 0, program)
        self._synth.pitchbend(0, bend)
        self._synth.generate(_SETTLE_SAMPLES)
        self._synth.noteon(0, key, velocity)
        stereo = np.frombuffer(self._synth.generate(NOTE_SAMPLES + HOP_SAMPLES), dtype=np.float32).reshape(-1, 2)
        mono: np.ndarray = stereo.mean(axis=1)
        return mono


def _fundamental_hz(wave: np.ndarray, near_hz: float) -> float:
    """The frequency of the component near `near_hz`, from its advance in phase between two windows of 0.1 s.

    A lag of t seconds tells frequencies apart up to 1/t Hz: short lags first, to be on the right period, long ones
    then, to be exact.
    """
    window, found_hz = np.hanning(HOP_SAMPLES), near_hz
    for lag in _LAGS_SAMPLES:
        starts = (_FIRST_WINDOW, _FIRST_WINDOW + lag)
        early, late = (np.angle(_component(wave[s : s + HOP_SAMPLES] * window, found_hz, s)) for s in starts)
        advance = (late - early + math.pi) % (2 * math.pi) - math.pi
        found_hz += advance / (2 * math.pi * lag / SAMPLE_RATE)
    return float(found_hz)


def _component(wave: np.ndarray, hz: float, start: int = 0) -> complex:
    """The Fourier coefficient of a wave that begins at sample `start`."""
    time_s = (start + np.arange(len(wave))) / SAMPLE_RATE
    return complex(np.sum(wave * np.exp(-2j * math.pi * hz * time_s)))
