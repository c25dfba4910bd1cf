"""The demo's media on disk: pictures and notes with their captions, words and splits.

`media/pictures.npz` holds `pixels` uint8 (N, H, W, 3), `media/notes.npz` holds `audio` float32 (N, C, S); beside each
lies a JSONL file with one item a line, in the same order.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.errors import HarnessError
from harness.files import atomic_writer, write_jsonl
from harness.token_space import Modality
from training.demo import notes as demo_notes
from training.demo import pictures as demo_pictures
from training.recipe import MediaRecipe

SPLITS = ("train", "eval", "dev", "golden")
STEM: dict[Modality, str] = {"image": "pictures", "audio": "notes"}
ARRAY: dict[Modality, str] = {"image": "pixels", "audio": "audio"}

T = TypeVar("T")


@dataclass(frozen=True)
class MediaItem:
    """One captioned picture or note.

    Attributes:
        split: one of SPLITS; the combinations of words differ from split to split.
        attributes: attribute name to word, in a fixed order; each word occurs in the caption.
    """

    id: str
    split: str
    modality: Modality
    caption: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Media:
    """All items of a modality and their pixels (N, H, W, 3) or waves (N, C, S), in the same order."""

    items: tuple[MediaItem, ...]
    array: np.ndarray


def write_pictures(folder: Path, recipe: MediaRecipe) -> None:
    """Draw and write the pictures of all splits."""
    by_split = demo_pictures.build_pictures(recipe.pictures)
    drawn = [picture for split in demo_pictures.SPLITS for picture in by_split[split]]
    _write(folder, Media(_items("image", drawn, recipe), demo_pictures.render(drawn)))


def write_notes(folder: Path, recipe: MediaRecipe, progress: Callable[[int, int], None] | None = None) -> None:
    """Render and write the notes of all splits; `progress` is called with (done, in all)."""
    by_split = demo_notes.render_notes(recipe.notes, progress=progress)
    notes = [note for split in demo_notes.SPLITS for note in by_split[split].notes]
    audio = np.concatenate([by_split[split].audio for split in demo_notes.SPLITS])
    _write(folder, Media(_items("audio", notes, recipe), audio))


def read_media(folder: Path, modality: Modality) -> Media:
    """Read what `write_pictures` or `write_notes` wrote.

    Raises:
        HarnessError: the array and its list of items differ in length.
    """
    stem = folder / STEM[modality]
    lines = stem.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    items = tuple(MediaItem(**json.loads(line)) for line in lines)
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as arrays:
        array = arrays[ARRAY[modality]]
    if len(items) != len(array):
        raise HarnessError(
            stem.with_suffix(".npz"),
            f"{len(array)} media",
            f"{len(items)}, as its .jsonl lists",
            "Delete both and run the step media again.",
        )
    return Media(items, array)


def caption_items(recipe: MediaRecipe) -> list[MediaItem]:
    """The items of all splits without their media: what text can be learnt from before anything is rendered."""
    by_split = demo_pictures.build_pictures(recipe.pictures)
    drawn = [picture for split in demo_pictures.SPLITS for picture in by_split[split]]
    return [*_items("image", drawn, recipe), *_items("audio", demo_notes.note_examples(recipe.notes), recipe)]


def describe_pictures(recipe: MediaRecipe) -> str:
    """Digest of all that the pictures follow from, the constants of `pictures.py` included."""
    return _digest(demo_pictures.build_pictures(recipe.pictures), demo_pictures.COLOURS, demo_pictures.SIZE_PX)


def describe_notes(recipe: MediaRecipe) -> str:
    """Digest of all that the notes follow from, the constants of `notes.py` included."""
    notes = demo_notes.note_examples(recipe.notes)
    return _digest(
        notes,
        dict(demo_notes.INSTRUMENTS),
        demo_notes.SAMPLE_RATE,
        demo_notes.HOP_SAMPLES,
        demo_notes.N_SAMPLES,
        demo_notes.LEVEL_RMS,
        demo_notes.RENDERING,
    )


def read_split(folder: Path, modality: Modality, split: str) -> np.ndarray:
    """The pixels or waves of one split."""
    media = read_media(folder, modality)
    return media.array[[item.split == split for item in media.items]]


def _items(
    modality: Modality, media: Sequence[demo_pictures.Picture | demo_notes.Note], recipe: MediaRecipe
) -> tuple[MediaItem, ...]:
    eval_ids = _eval_ids([one.id for one in media if one.split == "dev"], recipe.eval_share)
    return tuple(
        MediaItem(one.id, "eval" if one.id in eval_ids else one.split, modality, one.caption, one.attributes)
        for one in media
    )


def _eval_ids(dev_ids: Sequence[str], share: float) -> set[str]:
    """Every so many of the dev items, which have a combination each: eval and dev share none."""
    return set(_spread(dev_ids, round(share * len(dev_ids))))


def _spread(items: Sequence[T], most: int) -> list[T]:
    """`most` items, evenly spaced, in order."""
    return [items[i * len(items) // most] for i in range(most)]


def _write(folder: Path, media: Media) -> None:
    modality = media.items[0].modality
    stem = folder / STEM[modality]
    with atomic_writer(stem.with_suffix(".npz"), "wb") as file:
        np.savez(file, allow_pickle=False, **{ARRAY[modality]: media.array})
    write_jsonl(stem.with_suffix(".jsonl"), _rows(media.items))


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _rows(items: Iterable[MediaItem]) -> Iterable[dict[str, object]]:
    return (asdict(item) for item in items)
