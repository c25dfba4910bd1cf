"""What is trained on: every sequence of a run, packed, with the variants that a step may ask for.

A variant of a sequence (its prompt emptied, its medium copied or restored from noise) is made when it is drawn, from
the draw's own seed: the same in one process or many, and after a resume.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from harness.conditions import noise
from harness.errors import HarnessError, TokenSpaceError
from harness.examples import Example, build_sequence, iterate_examples, regions
from harness.token_space import Modality, TokenSpace

TEXT = "text"  # plain-text replay
FIRST_OF_EACH = 3  # examples of a task that are kept as they were read, to audit training with
Variant = Literal["own", "empty", "copy", "denoise"]
_TAG = {"audio": "aud", "image": "img"}


@dataclass(frozen=True)
class Draw:
    """One sequence of a step.

    Attributes:
        index: which one of `Sequences`.
        task: what it counts as in the mix and in the log.
        variant: `own` as it stands; `empty` without its prompt; `copy` and `denoise` of its medium.
        seed: of what the variant draws.
    """

    index: int
    task: str
    variant: Variant = "own"
    seed: int = 0


@dataclass(frozen=True)
class TrainSequence:
    """One sequence to train on.

    Attributes:
        ids: (L,) int64.
        target_start: first label position; everything from there on carries the loss.
    """

    ids: np.ndarray
    target_start: int


@dataclass(frozen=True)
class Kept:
    """What became of a file's examples.

    Attributes:
        sources: source -> examples kept.
        too_long: dropped for their length.
        other_tasks: of tasks that the mix has no share for.
        first: place among the sequences -> the example as it was read, the first few of each task.
    """

    sources: dict[str, int]
    too_long: int
    other_tasks: int
    first: dict[int, Example]


@dataclass(frozen=True)
class Sequences:
    """N sequences in one array.

    Attributes:
        ids: (sum of lengths,) int32.
        starts: (N + 1,) int64, where each begins.
        targets: (N,) int64, the first label position of each, within it.
        media: (N, 2) int64, the medium's ids within it, half-open; (0, 0) for text.
        tasks: (N,) the task of each: one of TASKS, or `text`.
        space: the ids' token space.
        noise: share of ids that a `denoise` variant replaces.
    """

    ids: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    media: np.ndarray
    tasks: np.ndarray
    space: TokenSpace
    noise: float = 0.0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, draw: Draw) -> tuple[TrainSequence, str]:
        """The drawn variant, and the task that it counts as."""
        own = self.sequence(draw.index)
        if draw.variant == "empty":
            return self._emptied(draw.index), draw.task
        if draw.variant in ("copy", "denoise"):
            return self._copied(draw), draw.task
        return own, draw.task

    def sequence(self, index: int) -> TrainSequence:
        """A sequence as it stands."""
        ids = self.ids[self.starts[index] : self.starts[index + 1]].astype(np.int64)
        return TrainSequence(ids, int(self.targets[index]))

    def length(self, draw: Draw) -> int:
        """How long the drawn variant is; exact for all but emptied prompts, which are shorter."""
        if draw.variant in ("copy", "denoise"):
            first, last = self.media[draw.index]
            return 2 * int(last - first) + 5
        return int(self.starts[draw.index + 1] - self.starts[draw.index])

    def modality(self, index: int) -> Modality:
        """The modality of a sequence's medium."""
        return "audio" if self.tasks[index] in ("a2t", "t2a") else "image"

    def _emptied(self, index: int) -> TrainSequence:
        """A write example without its prompt: <|text_start|> <|text_end|>, then the same block."""
        own, task = self.sequence(index), self.tasks[index]
        first, last = self.media[index]
        ids = build_sequence(task, [], own.ids[first:last], self.space)
        return TrainSequence(ids, len(ids) - (len(own.ids) - own.target_start))

    def _copied(self, draw: Draw) -> TrainSequence:
        """A medium, clean or with noise, then the switch, then the same medium clean, which carries the loss."""
        first, last = self.media[draw.index]
        media = self.sequence(draw.index).ids[first:last]
        modality, tag = self.modality(draw.index), _TAG[self.modality(draw.index)]
        shown = media
        if draw.variant == "denoise":
            rng = np.random.default_rng(draw.seed)
            probe = Example("", "i2t" if modality == "image" else "a2t", "", media, None, None, {})
            shown = np.where(rng.random(len(media)) < self.noise, noise(probe, media, self.space, rng), media)
        opens, closes = self.space.special(f"{tag}_start"), self.space.special(f"{tag}_end")
        given = [opens, *shown.tolist(), closes, self.space.special(f"gen_{tag}")]
        return TrainSequence(np.array([*given, opens, *media.tolist(), closes], dtype=np.int64), len(given))


def read_sequences(
    path: Path, tasks: Iterable[str], space: TokenSpace, *, max_tokens: int, noise: float = 0.0
) -> tuple[Sequences, Kept]:
    """Read training examples, one pass, into packed ids.

    Args:
        path: JSONL in the field's format.
        tasks: those that the mix draws from; examples of others are left out.
        space: the token space that they must be of.
        max_tokens: longer ones are dropped: cutting would cut a target or a medium.
        noise: share of ids that a `denoise` variant replaces.

    Raises:
        ExampleError: a line is no example, or supervises anything but its target.
        HarnessError: nothing is left.
    """
    wanted, packed, sources, too_long, others = set(tasks), _Packer(), Counter[str](), 0, 0
    seen, first = Counter[str](), dict[int, Example]()
    with tqdm(desc=f"reading {path.name}", unit=" examples", mininterval=5.0, leave=False, disable=None) as bar:
        for example in iterate_examples(path, space):
            bar.update()
            _check_space(example, path, space)
            if example.task not in wanted:
                others += 1
            elif len(example.input_ids) > max_tokens:
                too_long += 1
            else:
                found = regions(example, space)
                media = (found.media.start, found.media.stop)
                seen[example.task] += 1
                if seen[example.task] <= FIRST_OF_EACH:
                    first[len(packed.tasks)] = example
                packed.add(example.input_ids, found.target.start, media, example.task)
                sources[example.source] += 1
    kept = Kept(dict(sorted(sources.items())), too_long, others, first)
    if not sources:
        raise HarnessError(
            path,
            f"no example to train on ({too_long} longer than {max_tokens} tokens, {others} of other tasks)",
            f"examples of {', '.join(sorted(wanted))}",
            "Correct data.train, data.max_tokens or mix.shares.",
        )
    return packed.sequences(space, noise), kept


def _check_space(example: Example, path: Path, space: TokenSpace) -> None:
    if example.token_space_sha256 not in (None, space.sha256):
        raise TokenSpaceError(
            f"{path} ({example.id})",
            f"token_space_sha256 {example.token_space_sha256}",
            f"{space.sha256}, the parent's",
            "Write the examples with the token space that the checkpoint was made for.",
        )


def pack_texts(texts: Iterable[TrainSequence], space: TokenSpace) -> Sequences:
    """Plain text to replay, packed; at least one."""
    packed = _Packer()
    for text in texts:
        packed.add(text.ids, text.target_start, (0, 0), TEXT)
    return packed.sequences(space, 0.0)


def joined(parts: Sequence[Sequences]) -> Sequences:
    """Several sets of sequences as one, in order."""
    first = parts[0]
    offsets = np.cumsum([0, *(len(part.ids) for part in parts)])
    starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
    return Sequences(
        ids=np.concatenate([part.ids for part in parts]),
        starts=np.concatenate([*starts, offsets[-1:]]),
        targets=np.concatenate([part.targets for part in parts]),
        media=np.concatenate([part.media for part in parts]),
        tasks=np.concatenate([part.tasks for part in parts]),
        space=first.space,
        noise=first.noise,
    )


class _Packer:
    """Collects sequences."""

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self.targets: list[int] = []
        self.media: list[tuple[int, int]] = []
        self.tasks: list[str] = []

    def add(self, ids: np.ndarray, target_start: int, media: tuple[int, int], task: str) -> None:
        self.ids.append(ids.astype(np.int32))
        self.targets.append(target_start)
        self.media.append(media)
        self.tasks.append(task)

    def sequences(self, space: TokenSpace, noise: float) -> Sequences:
        lengths = np.array([len(ids) for ids in self.ids], dtype=np.int64)
        return Sequences(
            ids=np.concatenate(self.ids),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            targets=np.array(self.targets, dtype=np.int64),
            media=np.array(self.media, dtype=np.int64).reshape(-1, 2),
            tasks=np.array(self.tasks),
            space=space,
            noise=noise,
        )
