"""Pairs of media and caption in the examples of a copy, taken apart and put together again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.examples import IGNORED, Example, Task, build_sequence, regions
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.lines import Line, example_files, read_lines, write_lines
from harness.token_space import TokenSpace


@dataclass(frozen=True)
class Pair:
    """A medium and its caption.

    Attributes:
        text: the caption; None where the file has none.
        text_ids, media: (T,), (S,) ids without tags.
    """

    text: str | None
    text_ids: np.ndarray
    media: np.ndarray

    def with_text(self, other: "Pair") -> "Pair":
        """This medium with another one's caption."""
        return replace(self, text=other.text, text_ids=other.text_ids)

    def with_media(self, media: np.ndarray) -> "Pair":
        """This caption with another medium."""
        return replace(self, media=media)


def edit_pairs(copy: Copy, name: str, tasks: Sequence[Task], edit: Callable[[list[Pair]], list[Pair]]) -> None:
    """Change the pairs of a set's examples, task by task; `edit` is given and returns all of a task.

    Raises:
        NotApplicableError: the set has no example of these tasks.
    """
    space, found = copy.bundle.space, False
    for file in example_files(copy, name):
        lines = read_lines(file)
        for task in tasks:
            of_task = [i for i, line in enumerate(lines) if line.get("task") == task]
            before = [_pair(lines[i], space) for i in of_task]
            for i, pair in zip(of_task, edit(before), strict=True):
                lines[i] = _with_pair(lines[i], pair, space)
            found |= bool(of_task)
        if lines != read_lines(file):
            write_lines(file, lines)
    if not found:
        raise NotApplicableError(f"the {name} set has no example of {', '.join(tasks)}")


def _pair(line: Line, space: TokenSpace) -> Pair:
    ids = np.array(line["input_ids"], dtype=np.int64)
    example = Example(str(line["id"]), line["task"], "", ids, None, None, {})
    where = regions(example, space)
    return Pair(line.get("text"), ids[where.text], ids[where.media])


def _with_pair(line: Line, pair: Pair, space: TokenSpace) -> Line:
    """The line with another pair; what the file does not have is not added."""
    ids = build_sequence(line["task"], pair.text_ids, pair.media, space)
    changes: dict[str, Any] = {"input_ids": ids.tolist(), "length": len(ids), "text": pair.text}
    target = regions(Example(str(line["id"]), line["task"], "", ids, None, None, {}), space).target
    labels = np.full(len(ids), IGNORED)
    labels[target] = ids[target]
    changes["labels"] = labels.tolist()
    return line | {key: value for key, value in changes.items() if key in line}
