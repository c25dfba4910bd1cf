"""Which rows of the vocabulary tables moved: the parameter audit, range by range."""

from dataclasses import dataclass
from typing import Any

from harness.results import GateResult
from reports.format import as_number, shorten

FULL = 9  # of a bin: every row of it moved
MAX_BINS = 256
MAX_STRETCHES = 64
TABLE_NAMES = {"embed": "Embedding", "lm_head": "Output head"}


@dataclass(frozen=True)
class Stretch:
    """One range of ids of one table."""

    table: str
    name: str
    ids: str  # first and last, in words
    moved: str  # in words
    bins: tuple[int, ...]  # 0 to FULL
    is_text: bool
    wrong: bool  # a text row moved


def read_stretches(gate: GateResult) -> dict[str, tuple[Stretch, ...]]:
    """Table to its ranges; empty for a gate that audited none."""
    given: Any = gate.details.get("rows")
    if not isinstance(given, list):
        return {}
    tables: dict[str, list[Stretch]] = {}
    for each in given[:MAX_STRETCHES]:
        if isinstance(each, dict):
            stretch = _stretch(each)
            tables.setdefault(stretch.table, []).append(stretch)
    return {table: tuple(each) for table, each in tables.items()}


def _stretch(given: dict[str, Any]) -> Stretch:
    table, name = str(given.get("table", "")), str(given.get("name", ""))
    first, last, moved = (as_number(given.get(key)) for key in ("start", "end", "moved"))
    n = 0 if first is None or last is None else int(last - first + 1)
    words = "not known: no parent to compare with" if moved is None else f"{moved:.0f} of {n} moved"
    bins = tuple(int(each) for each in str(given.get("bins", ""))[:MAX_BINS] if each in "0123456789")
    return Stretch(
        table=shorten(TABLE_NAMES.get(table, table), 60),
        name=shorten(name, 40),
        ids="" if first is None or last is None else f"{first:.0f} to {last:.0f}",
        moved=words,
        bins=bins,
        is_text=name == "TEXT",
        wrong=name == "TEXT" and bool(moved),
    )
