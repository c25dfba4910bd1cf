"""Whether held-out examples hold what their task and their own meta say: legal ids, in turn, as many as promised."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import ExampleError
from harness.examples import Example, parse_example, regions
from harness.stage2 import Block
from harness.stage2_meta import counts_of
from harness.stage2_rows import offences
from harness.token_space import TokenSpace

MAX_OFFENDERS = 20  # named; all are counted


@dataclass(frozen=True)
class ExampleAudit:
    """What was found in some files of examples.

    Attributes:
        n: examples.
        wrong: how many of them hold other ids than they should.
        offenders: the first of these: place, and what is wrong.
    """

    n: int
    wrong: int
    offenders: tuple[tuple[str, str], ...]


def audit_examples(lines: Iterator[tuple[str, bytes]], space: TokenSpace) -> ExampleAudit:
    """Look at every example. A line that is none is an offender, never an error.

    Args:
        lines: place and content of every line.
        space: the token space.
    """
    n = wrong = 0
    offenders: list[tuple[str, str]] = []
    for where, line in lines:
        n += 1
        note = _mistake(line, where, space)
        if note is not None:
            wrong += 1
            offenders += [(where, note)][: MAX_OFFENDERS - len(offenders)]
    return ExampleAudit(n, wrong, tuple(offenders))


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a JSONL file, or of a folder of them, each with its place."""
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{file}:{number}", line


def _mistake(line: bytes, where: str, space: TokenSpace) -> str | None:
    """What is wrong with an example; None where nothing is."""
    try:
        example = parse_example(line, where, space)
        blocks = _blocks(example, space)
    except ExampleError as error:
        return f"found {error.found}; expected {error.expected}"
    for block in blocks:
        for _, rows, note in offences(block, space):
            return f"{example.id}: {note(int(rows[0]))}"
    return None


def _blocks(example: Example, space: TokenSpace) -> tuple[Block, Block]:
    """Medium and text, each as a block of one row."""
    where = regions(example, space)
    media, text = example.input_ids[where.media], example.input_ids[where.text]
    return (
        Block(example.modality, media, np.array([0, len(media)]), [example.id], _counts(example, len(media), space)),
        Block("text", text, np.array([0, len(text)]), [example.id]),
    )


def _counts(example: Example, n_ids: int, space: TokenSpace) -> np.ndarray:
    """What the example's meta says of its medium; what is there, where it says nothing: meta is optional."""
    k = max(1, len(space.ranges_of(example.modality)))
    said = "n_tokens" if example.modality == "image" else "n_frames"
    if said not in example.meta:
        return np.array([[n_ids // k, k]])
    return counts_of([{example.modality: {"n_codebooks": k} | example.meta}], example.modality)
