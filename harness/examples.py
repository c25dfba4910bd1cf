"""Examples (train, eval, dev, golden): JSONL in the field's format, read, validated, and taken apart into regions.

Sequences are ids without a chat template:
  a2t  <|aud_start|> A <|aud_end|> <|gen_text|> <|text_start|> T <|text_end|>        i2t likewise with img
  t2a  <|text_start|> T <|text_end|> <|gen_aud|> <|aud_start|> A <|aud_end|>         t2i likewise with img
The target is the whole last block, its start and end tag included; labels are -100 outside it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ExampleError
from harness.token_space import Modality, TokenSpace

Task = Literal["a2t", "i2t", "t2a", "t2i"]
READ_TASKS: tuple[Task, ...] = ("a2t", "i2t")
WRITE_TASKS: tuple[Task, ...] = ("t2a", "t2i")
TASKS: tuple[Task, ...] = READ_TASKS + WRITE_TASKS

IGNORED = -100  # the label of a position that carries no loss


class _Row(BaseModel):
    """One line at the border; keys that the harness does not use are allowed and dropped."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    task: Task
    input_ids: list[int]
    labels: list[int] | None = None
    source: str = "unknown"
    token_space_sha256: str | None = None
    text: str | None = None
    audio_meta: dict[str, Any] | None = None
    image_meta: dict[str, Any] | None = None


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        input_ids: (L,) int64, global ids.
        token_space_sha256: the token space that it declares; None where it declares none.
        text: the caption, where the file carries it.
        meta: the media's own meta (`audio_meta` or `image_meta`); empty where the file has none.
    """

    id: str
    task: Task
    source: str
    input_ids: np.ndarray
    token_space_sha256: str | None
    text: str | None
    meta: dict[str, Any]

    @property
    def modality(self) -> Modality:
        """The media's modality."""
        return "audio" if self.task in ("a2t", "t2a") else "image"

    @property
    def writes(self) -> bool:
        """Whether the media is the target (t2a, t2i) rather than the context."""
        return self.task in WRITE_TASKS


@dataclass(frozen=True)
class Regions:
    """Where the parts of an example's sequence lie; half-open slices of `input_ids`.

    Attributes:
        text: the text's ids without its tags.
        media: the media's ids without its tags.
        target: the whole block that carries the loss, its start and end tag included.
        content: the target without its start tag: what generation must produce, its end tag included.
    """

    text: slice
    media: slice
    target: slice
    content: slice


def regions(example: Example, space: TokenSpace) -> Regions:
    """Find the regions of an example by its tags.

    Raises:
        ExampleError: the sequence is not the one that its task prescribes.
    """
    ids = example.input_ids
    tag = "aud" if example.modality == "audio" else "img"
    first, last = ("text", tag) if example.writes else (tag, "text")
    switch = space.special(f"gen_{last}")
    switches = np.flatnonzero(ids == switch)
    if len(switches) != 1:
        raise _malformed(example, f"{len(switches)} tokens <|gen_{last}|>", "exactly one")
    middle = int(switches[0])
    _check_block(example, space, 0, middle, first)
    _check_block(example, space, middle + 1, len(ids), last)
    given, wanted = slice(1, middle - 1), slice(middle + 2, len(ids) - 1)
    text, media = (given, wanted) if example.writes else (wanted, given)
    return Regions(text=text, media=media, target=slice(middle + 1, len(ids)), content=slice(middle + 2, len(ids)))


def build_sequence(task: Task, text_ids: Iterable[int], media_ids: Iterable[int], space: TokenSpace) -> np.ndarray:
    """The sequence of ids that a task prescribes. Returns (L,) int64."""
    tag = "aud" if task in ("a2t", "t2a") else "img"
    text = [space.special("text_start"), *map(int, text_ids), space.special("text_end")]
    media = [space.special(f"{tag}_start"), *map(int, media_ids), space.special(f"{tag}_end")]
    writes = task in WRITE_TASKS
    given, wanted, name = (text, media, tag) if writes else (media, text, "text")
    return np.array([*given, space.special(f"gen_{name}"), *wanted], dtype=np.int64)


def labels_of(example: Example, space: TokenSpace) -> np.ndarray:
    """The labels of an example, (L,) int64: its ids inside the target block, -100 elsewhere."""
    labels = np.full(len(example.input_ids), IGNORED, dtype=np.int64)
    target = regions(example, space).target
    labels[target] = example.input_ids[target]
    return labels


def expected_length(meta: dict[str, Any], modality: Modality) -> int | None:
    """How many media ids an example's meta promises: `n_frames * n_codebooks` or `n_tokens`; None when it says none."""
    if modality == "image":
        return meta.get("n_tokens")
    if "n_frames" in meta and "n_codebooks" in meta:
        return int(meta["n_frames"]) * int(meta["n_codebooks"])
    return None


def read_examples(path: Path, space: TokenSpace, tasks: Iterable[Task] = TASKS) -> list[Example]:
    """Read a JSONL file, or every `golden_<task>_<N>.jsonl` of a folder, keeping the examples of some tasks in order.

    Raises:
        ExampleError: a line is no example, an id is outside the vocabulary, or the labels supervise anything but the
            target block.
    """
    wanted = tuple(tasks)
    return [example for example in iterate_examples(path, space) if example.task in wanted]


def iterate_examples(path: Path, space: TokenSpace) -> Iterator[Example]:
    """The examples of all tasks one by one, in order; arguments and errors as of `read_examples`."""
    seen: set[str] = set()
    for file in _files(path):
        for example in _read_file(file, space):
            if example.id in seen:
                raise ExampleError(path, f"the id {example.id!r} twice", "one example an id", "Make the ids unique.")
            seen.add(example.id)
            yield example


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise ExampleError(path, "nothing", "a JSONL file or a folder of them", "Check the path in bundle.json.")
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise ExampleError(path, "no .jsonl file", "golden_<task>_<N>.jsonl", "Write the golden set first.")
    return files


def _read_file(file: Path, space: TokenSpace) -> Iterator[Example]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield parse_example(line, f"{file}:{number}", space)


def parse_example(line: bytes, where: str, space: TokenSpace) -> Example:
    """The example that a line holds.

    Raises:
        ExampleError: it holds none, an id is outside the vocabulary, or the labels supervise anything but the target.
    """
    try:
        row = _Row.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ExampleError(where, f"{key}: {first['msg']}", "an example", "Correct or drop the line.") from None
    except (ValueError, RecursionError) as error:
        raise ExampleError(where, f"text that is not JSON ({error})", "one object a line", "Drop the line.") from None
    ids = np.array(row.input_ids, dtype=np.int64)
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= space.vocab_size_total:
        found = "no ids" if len(ids) == 0 else f"ids from {ids.min()} to {ids.max()}"
        raise ExampleError(
            f"{where} ({row.id})", found, f"ids from 0 to {space.vocab_size_total - 1}", "Tokenise it again."
        )
    meta = row.audio_meta if row.task in ("a2t", "t2a") else row.image_meta
    example = Example(row.id, row.task, row.source, ids, row.token_space_sha256, row.text, dict(meta or {}))
    if row.labels is not None:
        _check_labels(example, np.array(row.labels, dtype=np.int64), where, space)
    return example


def _check_labels(example: Example, labels: np.ndarray, where: str, space: TokenSpace) -> None:
    expected = labels_of(example, space)
    if len(labels) == len(expected) and np.array_equal(labels, expected):
        return
    found = f"{len(labels)} labels for {len(expected)} ids"
    if len(labels) == len(expected):
        position = int(np.flatnonzero(labels != expected)[0])
        found = f"label {labels[position]} at position {position}"
        expected_text = f"{expected[position]} there: the target block and nothing else is supervised"
    else:
        expected_text = "one label an id"
    raise ExampleError(
        f"{where} ({example.id})", found, expected_text, "Write the example again with its target's labels."
    )


def _check_block(example: Example, space: TokenSpace, start: int, stop: int, name: str) -> None:
    ids = example.input_ids
    opens, closes = space.special(f"{name}_start"), space.special(f"{name}_end")
    block = ids[start:stop]
    ok = len(block) >= 2 and block[0] == opens and block[-1] == closes
    # A set, not np.isin: blocks are short and many, and every gate asks for the regions of every example.
    if not ok or not set(space.special_ids.values()).isdisjoint(block[1:-1].tolist()):
        raise _malformed(
            example,
            f"a block of {len(block)} ids at position {start} that is not one <|{name}_start|> … <|{name}_end|>",
            f"<|{name}_start|> … <|{name}_end|> with no special inside",
        )


def _malformed(example: Example, found: str, expected: str) -> ExampleError:
    return ExampleError(
        f"example {example.id} ({example.task})", found, expected, "Build the sequence as its task prescribes."
    )
