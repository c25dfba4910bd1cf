"""How well the demo's checkpoint does what it was asked: judges trained on the real data, and one-word swaps.

This is no gate: gates hold for any data, these figures need the demo's own judges. They say whether the pictures and
sounds in the report are worth looking at, and whether the model listens to every word of its prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import statistics
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.conditions import with_prompt
from harness.examples import Example, Task, regions
from harness.files import write_json
from harness.results import Measurement
from harness.scores import ScoreItem
from harness.settings import Settings
from harness.written import Generations
from training.checkpoints import latest_checkpoint
from training.demo import notes as demo_notes
from training.demo import pictures as demo_pictures
from training.demo.data import MediaItem, read_media
from training.demo.judges_pictures import train_judges
from training.demo.judges_sounds import SoundJudges
from training.recipe import Recipe
from training.text import read_tokenizer

BATCH_TOKENS = 8192
JUDGE_EXAMPLES = 1500  # of the training split; more changed no accuracy on real golden media, which is 0.997 or more


@dataclass(frozen=True)
class Judged:
    """Shares of golden examples for which a judge heard or saw what was asked, and win rates of the swaps.

    Attributes:
        judges: name (`t2i.digit (written)`) -> share of the golden examples.
        swaps: win rate of the true prompt over one with a single word changed, by attribute.
    """

    judges: dict[str, float]
    swaps: tuple[Measurement, ...]


def evaluate(root: Path, recipe: Recipe) -> Judged:
    """Judge the last stage 4 checkpoint of a run on all golden prompts; writes `judged.json` beside it."""
    folder = latest_checkpoint(root / "stage4")
    settings = Settings(
        device="cpu", dtype="float32", seed=0, batch_tokens=BATCH_TOKENS, max_examples=None, out=root / "judged"
    )
    checkpoint = Checkpoint(open_bundle(folder), settings)
    judges: dict[str, float] = {}
    swaps: list[Measurement] = []
    for task in ("t2i", "t2a"):
        examples = checkpoint.golden(task)
        asked = _asked(root, examples)
        written = checkpoint.generations(task, len(examples), checkpoint.bundle.decoding)
        judges |= _judged(root, recipe, checkpoint, written, asked)
        swaps += _swaps(checkpoint, task, examples, asked)
    judged = Judged(judges, tuple(swaps))
    report = {"judges": judges, "swaps": [m.model_dump(mode="json") for m in swaps]}
    write_json(root / "judged" / "judged.json", report)
    return judged


def lines(judged: Judged) -> list[str]:
    """The figures as a table to print."""
    rows = [f"  {name:<46} {share:7.1%}" for name, share in judged.judges.items()]
    rows += [f"  {m.name:<46} {m.value:7.1%}  [{m.low:.1%}, {m.high:.1%}]" for m in judged.swaps]
    return ["What the judges saw and heard, and win rates when one word of the prompt is swapped:", *rows]


def _asked(root: Path, examples: Sequence[Example]) -> list[MediaItem]:
    """The item that each golden example was made from; captions of golden combinations are unique."""
    items = read_media(root / "media", examples[0].modality).items
    by_caption = {item.caption: item for item in items if item.split == "golden"}
    return [by_caption[example.text or ""] for example in examples]


def _judged(
    root: Path, recipe: Recipe, checkpoint: Checkpoint, written: Generations, asked: Sequence[MediaItem]
) -> dict[str, float]:
    """Judge what was written, and what the codec alone makes of the golden media: its figures bound the model's."""
    space = checkpoint.bundle.space
    golden = [example.input_ids[regions(example, space).media] for example in written.examples]
    judge = _picture_judge(root, recipe) if written.task == "t2i" else _sound_judge(root, recipe)
    shares = {f"{written.task}.{name} (real)": share for name, share in judge(_real(root, asked), asked).items()}
    for what, sequences in (("written", written.sequences), ("golden, through the codec", golden)):
        media = _decode(checkpoint, written, sequences)
        shares |= {f"{written.task}.{name} ({what})": share for name, share in judge(media, asked).items()}
    return shares


def _real(root: Path, asked: Sequence[MediaItem]) -> np.ndarray:
    """The golden media as they were rendered: what the judges say of them is what the judges are worth."""
    media = read_media(root / "media", asked[0].modality)
    index = {item.id: i for i, item in enumerate(media.items)}
    return media.array[[index[item.id] for item in asked]]


def _decode(checkpoint: Checkpoint, written: Generations, sequences: Sequence[np.ndarray]) -> np.ndarray:
    space, codecs = checkpoint.bundle.space, checkpoint.bundle.input("codecs")
    spans = [ids[:n] for ids, n in zip(sequences, written.expected, strict=True)]
    if written.task == "t2i":
        return load_image_codec(space, codecs).decode(np.stack([space.to_codes("image", ids) for ids in spans]))
    n_samples = int(written.examples[0].meta["n_samples"])
    return load_audio_codec(space, codecs).decode(np.stack([space.to_codes("audio", ids) for ids in spans]), n_samples)


def _picture_judge(root: Path, recipe: Recipe) -> Any:
    media = read_media(root / "media", "image")
    pictures = {p.id: p for drawn in demo_pictures.build_pictures(recipe.media.pictures).values() for p in drawn}
    train = [i for i, item in enumerate(media.items) if item.split == "train"][:JUDGE_EXAMPLES]
    judges = train_judges(media.array[train], [pictures[media.items[i].id] for i in train])
    return lambda pixels, asked: judges.accuracy(pixels, [pictures[item.id] for item in asked])


def _sound_judge(root: Path, recipe: Recipe) -> Any:
    media = read_media(root / "media", "audio")
    notes = {note.id: note for note in demo_notes.note_examples(recipe.media.notes)}
    train = [i for i, item in enumerate(media.items) if item.split == "train"][:JUDGE_EXAMPLES]
    real = demo_notes.NoteSet(tuple(notes[media.items[i].id] for i in train), media.array[train])
    judges = SoundJudges().fit(real)
    return lambda waves, asked: judges.accuracies(waves, [notes[item.id] for item in asked])


def _swaps(
    checkpoint: Checkpoint, task: Task, examples: Sequence[Example], asked: Sequence[MediaItem]
) -> list[Measurement]:
    """Win rate of the true prompt over the same prompt with another word for one attribute."""
    space = checkpoint.bundle.space
    tokenizer = read_tokenizer(checkpoint.bundle.path)
    correct = [ScoreItem(e.input_ids, regions(e, space).target) for e in examples]
    own = checkpoint.scorer(correct, label=f"{task}: own prompt").nll
    sources = np.array([e.source for e in examples])
    each_alone = np.array([e.id for e in examples])
    measured = []
    for attribute in asked[0].attributes:
        rng = checkpoint.rng("swap", task, attribute)
        captions = [_other_caption(item, attribute, asked, rng) for item in asked]
        ids = [np.array(tokenizer.encode(caption).ids, dtype=np.int64) for caption in captions]
        items = [with_prompt(example, text, space) for example, text in zip(examples, ids, strict=True)]
        other = checkpoint.scorer(items, label=f"{task}: another {attribute}").nll
        paired = statistics.Paired(own, other, each_alone, sources)
        measured.append(statistics.win_rate(f"{task}.win_rate_one_word_swapped ({attribute})", paired))
    return measured


def _other_caption(item: MediaItem, attribute: str, all_items: Sequence[MediaItem], rng: np.random.Generator) -> str:
    """The item's caption with another word for one attribute, drawn from the words that other items use.

    A colour that the caption already holds is no other word: ink and paper always differ.
    """
    words = sorted({other.attributes[attribute] for other in all_items} - set(item.attributes.values()))
    values = {**item.attributes, attribute: words[rng.integers(len(words))]}
    if item.modality == "image":
        return demo_pictures.caption(**values)
    return demo_notes.note_caption(**values)
