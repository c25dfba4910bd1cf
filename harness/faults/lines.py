"""Editing JSONL files in a copy: examples of the golden and the dev set, and lines of a training log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.examples import Example, Task, iterate_examples
from harness.faults.copies import Copy, NotApplicableError
from harness.files import write_text
from harness.token_space import Modality
from harness.train_log import read_train_log
from harness.train_log_keys import kind_of, plain_key

Line = dict[str, Any]
Edit = Callable[[list[Line]], list[Line] | None]


def read_lines(file: Path) -> list[Line]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_lines(file: Path, lines: list[Line]) -> None:
    """Write objects, one a line; NaN as Python's json writes it, which is how trainers leave it."""
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def edit_lines(file: Path, edit: Edit) -> None:
    """Write a JSONL file again, with the lines that `edit` changes in place or returns."""
    lines = read_lines(file)
    changed = edit(lines)
    write_lines(file, lines if changed is None else changed)


# ---------------------------------------------------------------------- examples


def example_files(copy: Copy, name: str) -> list[Path]:
    """The files of the golden or the dev set.

    Raises:
        NotApplicableError: the checkpoint has none.
    """
    path = copy.input(name)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not any(file.stat().st_size for file in files):
        raise NotApplicableError(f"the {name} set holds no example")
    return files


def edit_examples(copy: Copy, name: str, edit: Callable[[Line], Line | None]) -> None:
    """Change every example of a set; one for which `edit` returns None is dropped."""
    for file in example_files(copy, name):
        edit_lines(file, lambda lines: [line for each in lines if (line := edit(each)) is not None])


def edit_example(
    copy: Copy, name: str, edit: Callable[[Line], object], tasks: tuple[Task, ...] = (), at: int = -1
) -> None:
    """Change one example of a set: that at a place among those of some tasks (of all, without any).

    Raises:
        NotApplicableError: the set has no example of these tasks.
    """
    for file in example_files(copy, name):
        lines = read_lines(file)
        found = [line for line in lines if not tasks or line.get("task") in tasks]
        if found:
            edit(found[at])
            write_lines(file, lines)
            return
    raise NotApplicableError(f"the {name} set has no example of {', '.join(tasks) or 'any task'}")


def examples_of(copy: Copy, name: str, tasks: tuple[Task, ...] = ()) -> list[Example]:
    """The examples of a set, of some tasks or of all.

    Raises:
        NotApplicableError: there is none.
    """
    found = [e for e in iterate_examples(copy.input(name), copy.bundle.space) if not tasks or e.task in tasks]
    if not found:
        raise NotApplicableError(f"the {name} set has no example of {', '.join(tasks) or 'any task'}")
    return found


def meta_of(line: Line, modality: Modality) -> Line:
    """An example's meta.

    Raises:
        NotApplicableError: it has none.
    """
    meta = line.get(f"{modality}_meta")
    if not isinstance(meta, dict):
        raise NotApplicableError(f"the golden examples have no {modality}_meta")
    return meta


# ---------------------------------------------------------------------- training logs


def log_file(copy: Copy) -> Path:
    """The training log as JSONL that the checkpoint owns; written as such where it has another format."""
    path = copy.input("train_log")
    log = read_train_log(path)
    if log.format == "jsonl" and path.is_relative_to(copy.root) and _is_plain(path):
        return path
    steps = sorted({int(step) for each in log.series.values() for step in each.steps})
    lines: dict[int, Line] = {step: {"step": step} for step in steps}
    for key, each in log.series.items():
        for step, value in zip(each.steps.tolist(), each.values.tolist(), strict=True):
            lines[step][key] = value
    file = copy.ckpt / "train_log_of_copy.jsonl"
    write_lines(file, list(lines.values()))
    copy.point(train_log=file)
    return file


def _is_plain(path: Path) -> bool:
    """Whether every line is an object that names its step, and its keys, as this project does."""
    try:
        lines = read_lines(path)
    except ValueError:
        return False
    return all("step" in line and all(plain_key(key) == key for key in line) for line in lines)


def edit_log(copy: Copy, edit: Edit) -> None:
    """Write the training log again with other lines."""
    edit_lines(log_file(copy), edit)


def training_lines(lines: list[Line], copy: Copy) -> list[Line]:
    """The lines of training up to the checkpoint's step; evaluations are not among them.

    Raises:
        NotApplicableError: there are fewer than four.
    """
    step = copy.bundle.step
    found = [line for line in lines if any(kind_of(key) == "loss" for key in line)]
    found = [line for line in found if step is None or line.get("step", 0) <= step]
    if len(found) < 4:
        raise NotApplicableError(f"the log has {len(found)} lines of training")
    return found


def losses_in(line: Line) -> list[str]:
    """The keys of a line's training losses."""
    return [key for key in line if kind_of(key) == "loss"]


def on_log(change: Callable[[list[Line], Copy], list[Line] | None]) -> Callable[[Copy], None]:
    """Change all lines of the log, given the copy as well."""
    return lambda copy: edit_log(copy, lambda lines: change(lines, copy))


def stretch(lines: list[Line], first: float, last: float) -> list[Line]:
    """The lines between two shares of a log; one at least."""
    start, stop = int(first * len(lines)), int(last * len(lines))
    return lines[start : max(stop, start + 1)]
