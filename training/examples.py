"""Examples from token records: every record becomes one example that reads its medium and one that writes it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.examples import TASKS, Example, Task, build_sequence, labels_of
from harness.files import write_jsonl
from harness.token_space import Modality, TokenSpace
from training.shards import TokenRecord

TASKS_OF: dict[Modality, tuple[Task, Task]] = {"image": ("i2t", "t2i"), "audio": ("a2t", "t2a")}


def write_examples(folder: Path, by_split: Mapping[str, Sequence[TokenRecord]], space: TokenSpace) -> None:
    """Write train.jsonl, eval.jsonl, dev.jsonl and golden/golden_<task>_<N>.jsonl into an existing folder."""
    for split in ("train", "eval", "dev"):
        every_task = (row for task in TASKS for row in _rows(split, task, by_split[split], space))
        write_jsonl(folder / f"{split}.jsonl", every_task)
    for task in TASKS:
        rows = list(_rows("golden", task, by_split["golden"], space))
        write_jsonl(folder / "golden" / f"golden_{task}_{len(rows)}.jsonl", rows)


def without_held_out(
    train: Sequence[TokenRecord], held_out: Iterable[TokenRecord]
) -> tuple[list[TokenRecord], list[TokenRecord]]:
    """Training records kept, and those dropped because a held-out record has the same caption or the same medium's ids.

    Another rendering may fall on the very same codes; then the held-out example would have been trained on.
    """
    texts, media = set(), set()
    for record in held_out:
        texts.add(record.text)
        media.add(_content(record))
    clashes = [record.text in texts or _content(record) in media for record in train]
    kept = [record for record, clash in zip(train, clashes, strict=True) if not clash]
    return kept, [record for record, clash in zip(train, clashes, strict=True) if clash]


def example_row(example_id: str, task: Task, record: TokenRecord, space: TokenSpace) -> dict[str, Any]:
    """One line of an examples file, in the field's format."""
    ids = build_sequence(task, record.text_ids, record.ids, space)
    example = Example(example_id, task, record.source, ids, space.sha256, record.text, {})
    return {
        "id": example_id,
        "source": record.source,
        "task": task,
        "input_ids": ids.tolist(),
        "labels": labels_of(example, space).tolist(),
        "length": len(ids),
        "token_space_sha256": space.sha256,
        "text": record.text,
        f"{record.modality}_meta": record.meta[record.modality],
    }


def _rows(split: str, task: Task, records: Sequence[TokenRecord], space: TokenSpace) -> Iterator[dict[str, Any]]:
    mine = [record for record in records if task in TASKS_OF[record.modality]]
    for number, record in enumerate(mine):
        yield example_row(f"{split}-{task}-{number:04d}", task, record, space)


def _content(record: TokenRecord) -> tuple[str, bytes]:
    return record.modality, np.ascontiguousarray(record.ids).tobytes()
