"""Pictures and sounds as data URIs, within a budget, from files that lie inside the output folder and nowhere else.

A path in a verdict is somebody's claim: it is resolved, links included, and refused when it leaves the folder. What is
embedded is never the file's own bytes but what was decoded from them, so that a file can hold nothing but its picture
or its sound.
"""

import base64
import io
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports.details import MAX_SAMPLES, Sample
from reports.format import duration
from reports.spectrogram import draw_sound

MEDIA_BUDGET_BYTES = 4_000_000  # of data URIs in a page; leaves 1 MB of the page's 5 MB for text and drawings
MAX_FILE_BYTES = 16 * 2**20  # a larger file is not a sample
MAX_SOUND_BYTES = 400_000  # of one embedded sound: 8 s at 24 kHz mono; longer ones are cut, and it is said
MAX_PICTURE_EDGE = 4096  # pixels; a larger picture is not decoded
EMBEDDED_EDGE = 256  # pixels; a larger picture is scaled down to this
PIXELATED_EDGE = 128  # pixels; up to here a picture is shown with its pixels visible
THREADS = min(4, os.cpu_count() or 1)

MISSING = "file missing"
UNREADABLE = "file cannot be read"
NO_BUDGET = "left out: media budget spent"


@dataclass
class Medium:
    """One picture or sound in the page; `note` says why there is none, or what was changed."""

    picture: str | None = None  # data URI: the picture itself, or the drawing of the sound
    sound: str | None = None  # data URI
    note: str = ""
    pixelated: bool = False
    heard: bool = False  # whether the picture draws a sound

    def withhold(self, part: str) -> None:
        """Leave one part out because the budget is spent."""
        setattr(self, part, None)
        self.note = NO_BUDGET


@dataclass(frozen=True)
class Shown:
    """A sample with what was generated for it, and the golden medium beside it."""

    sample: Sample
    generated: Medium
    reference: Medium | None


@dataclass
class Budget:
    """How many bytes of data URIs the page may still take."""

    limit: int
    used: int = 0
    refused: int = field(default=0)

    def take(self, uri: str) -> bool:
        """Whether there is room for `uri`, which is then counted."""
        if self.used + len(uri) > self.limit:
            self.refused += 1
            return False
        self.used += len(uri)
        return True


@dataclass(frozen=True)
class Gallery:
    """The samples of one gate and task."""

    gate: str
    task: str
    shown: tuple[Shown, ...]
    n_left_out: int  # beyond MAX_SAMPLES
    n_not_ok: int


def build_galleries(out: Path, samples_by_gate: dict[str, tuple[Sample, ...]], budget: Budget) -> list[Gallery]:
    """Load the media of all gates and share the budget out: what tells most per byte first, worst samples first."""
    galleries, folder = [], out.resolve()
    for gate, samples in samples_by_gate.items():
        for task in sorted({sample.task for sample in samples}, reverse=True):  # t2i before t2a: its files are smaller
            of_task = [sample for sample in samples if sample.task == task]
            # Decoding, transforming and compressing let go of the interpreter: the cores are used.
            with ThreadPoolExecutor(THREADS) as pool:
                shown = tuple(pool.map(partial(_show, folder), of_task[:MAX_SAMPLES]))
            n_not_ok = sum(sample.ok is False for sample in of_task)
            galleries.append(Gallery(gate, task, shown, len(of_task) - len(shown), n_not_ok))
    _share_out([each for gallery in galleries for each in gallery.shown], budget)
    return galleries


def _show(out: Path, sample: Sample) -> Shown:
    reference = None if sample.reference is None else load_medium(out, sample.reference)
    generated = Medium(note="no file was written") if sample.file is None else load_medium(out, sample.file)
    return Shown(sample, generated, reference)


def _share_out(shown: list[Shown], budget: Budget) -> None:
    """Drawings before sounds, generated before reference; within each round the worst samples first."""
    shown = sorted(shown, key=lambda each: each.sample.rank)
    generated = [each.generated for each in shown]
    references = [each.reference for each in shown if each.reference is not None]
    for media, part in ((generated, "picture"), (references, "picture"), (generated, "sound"), (references, "sound")):
        _spend(media, part, budget)


def _spend(media: Iterable[Medium], part: str, budget: Budget) -> None:
    for medium in media:
        uri: str | None = getattr(medium, part)
        if uri is not None and not budget.take(uri):
            medium.withhold(part)


def load_medium(out: Path, relative: str) -> Medium:
    """The picture or sound at `relative`, or a note that says why it cannot be shown."""
    path = resolve_inside(out, relative)
    if path is None:
        return Medium(note=MISSING)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return Medium(note=UNREADABLE)
        content = path.read_bytes()
        return _sound(content) if path.suffix.lower() == ".wav" else _picture(content)
    # Pillow and libsndfile answer a damaged file with these; a report shows what it can.
    except (OSError, SyntaxError, ValueError, RuntimeError, struct.error):
        return Medium(note=UNREADABLE)


def resolve_inside(out: Path, relative: str) -> Path | None:
    """The file at `relative` when it is a .png or .wav that really lies inside `out`, links followed; else None."""
    try:
        folder = out.resolve()
        path = (folder / relative).resolve()
        inside = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, a loop of links
        return None
    return path if inside and path.suffix.lower() in (".png", ".wav") else None


def _picture(content: bytes) -> Medium:
    from PIL import Image

    # Width and height stand in the header; a picture that would fill the memory is not decoded at all.
    if content[:8] != b"\x89PNG\r\n\x1a\n" or max(struct.unpack(">II", content[16:24])) > MAX_PICTURE_EDGE:
        return Medium(note=UNREADABLE)
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        picture = opened.convert("RGB")
    small = max(picture.size) <= PIXELATED_EDGE
    picture.thumbnail((EMBEDDED_EDGE, EMBEDDED_EDGE))
    return Medium(picture=_png_uri(picture), pixelated=small)


def _png_uri(picture: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> Markup:
    # Markup: of our own making from end to end, so that the page takes it as it is, however long.
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")


def _sound(content: bytes) -> Medium:
    import soundfile

    if content[:4] != b"RIFF":
        return Medium(note=UNREADABLE)
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)  # (n_samples, channels)
    if not samples.size:
        return Medium(note="an empty sound")
    seconds = len(samples) / rate
    kept = samples[: MAX_SOUND_BYTES // (2 * samples.shape[1])]
    buffer = io.BytesIO()
    soundfile.write(buffer, kept, rate, format="WAV", subtype="PCM_16")
    cut = f", the first {duration(len(kept) / rate)} embedded" if len(kept) < len(samples) else ""
    drawing = _data_uri("image/png", draw_sound(samples.mean(axis=1), rate))
    return Medium(
        drawing, _data_uri("audio/wav", buffer.getvalue()), f"{seconds:.2f} s, {rate / 1000:g} kHz{cut}", heard=True
    )
