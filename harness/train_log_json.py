"""Logs as JSON: one object a line, or the `log_history` of Hugging Face's `trainer_state.json`."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import read_json
from harness.train_log_merge import Merger

_WORDS = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


def is_json_record(line: bytes) -> bool:
    """Whether a line is a JSON object by itself."""
    return isinstance(_parsed(line), dict)


def is_whole_json(head: list[bytes], path: Path) -> bool:
    """Whether a file is one JSON value with records in it: trainer_state.json, or a list of records.

    Args:
        head: its first lines.
        path: the file.

    Raises:
        HarnessError: it is a JSON value of another shape, or too large.
    """
    first = _parsed(head[0]) if head else None
    if isinstance(first, dict):
        return "log_history" in first
    if isinstance(first, list):
        return True
    # No JSON by itself: a JSON text over several lines (or on one too long to be a record), a broken record, or text.
    named = path.suffix == ".json" and (not head or head[0].lstrip()[:1] in (b"{", b"["))
    begins = named or (bool(head) and head[0].strip() in (b"{", b"["))
    return begins and not any(is_json_record(line) for line in head)


def from_json_lines(lines: Iterable[bytes], merger: Merger) -> int:
    """Hand the records of a JSON Lines file on. Returns how many lines could not be read."""
    unreadable = 0
    for line in lines:
        record = _parsed(line)
        if isinstance(record, dict):
            merger.add(numbers(record))
        elif line.strip():
            unreadable += 1
    return unreadable


def from_trainer_state(path: Path, merger: Merger) -> int:
    """Hand the entries of `log_history` on. Returns how many are no records.

    Raises:
        HarnessError: there is no such list.
    """
    state = read_json(path)
    history = state.get("log_history") if isinstance(state, dict) else state
    if not isinstance(history, list):
        raise HarnessError(path, "JSON without log_history", "trainer_state.json", "Pass the training log.")
    records = [entry for entry in history if isinstance(entry, dict)]
    for record in records:
        merger.add(numbers(record))
    return len(history) - len(records)


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record, those spelled as words among them; null is a figure that was not logged."""
    found = {key: number(value) for key, value in record.items()}
    return {key: value for key, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """A JSON value as a number; None for what is none. `"NaN"` and `"-inf"` are numbers, `true` and `"3"` are not."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str) and _WORDS.fullmatch(value.strip()):
        return float(value)
    return None


def _parsed(line: bytes) -> Any:
    """The JSON of a line, whose length is bounded and with it what it becomes; None where it is none."""
    try:
        return json.loads(line.decode("utf-8", errors="replace").lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None
