"""The tables among a gate's details: cells of text and numbers, cut to what a page can hold; a cut is said aloud."""

import math
from dataclasses import dataclass
from typing import Any

from reports.format import number, shorten

MAX_TABLE_ROWS = 60
MAX_COLUMNS = 16
MAX_CELL = 200  # characters
MAX_TITLE = 200
MAX_NOTE = 600
NO_NUMBER = "–"  # a cell that is null, NaN or infinite


@dataclass(frozen=True)
class Cell:
    """One cell, as it is shown."""

    text: str
    is_number: bool


@dataclass(frozen=True)
class Table:
    """One table, as it is shown.

    Attributes:
        columns: the heads.
        numeric: for every column, whether all of its cells are numbers or missing; such a column is set to the right.
        rows: each as long as `columns`; shorter rows are filled up, longer ones cut.
        left_out: what a limit cut; empty where nothing was.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: str


def is_table(value: object) -> bool:
    """Whether a value has a table's form; anything else is shown as JSON."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("columns"), list)
        and isinstance(value.get("rows"), list)
        and all(isinstance(row, list) for row in value["rows"])
    )


def read_table(value: dict[str, Any]) -> Table:
    """A value that has a table's form (`is_table`)."""
    columns = tuple(shorten(_text(each), MAX_CELL) for each in value["columns"][:MAX_COLUMNS])
    rows = tuple(_row(row, len(columns)) for row in value["rows"][:MAX_TABLE_ROWS])
    numeric = tuple(all(row[i].is_number for row in rows) and bool(rows) for i in range(len(columns)))
    return Table(
        title=shorten(_text(value.get("title")), MAX_TITLE),
        note=shorten(_text(value.get("note")), MAX_NOTE),
        columns=columns,
        numeric=numeric,
        rows=rows,
        left_out=_left_out(value),
    )


def _row(cells: list[object], n_columns: int) -> tuple[Cell, ...]:
    filled = [*cells[:n_columns], *[None] * (n_columns - len(cells))]
    return tuple(_cell(each) for each in filled)


def _cell(value: object) -> Cell:
    if value is None:
        return Cell(NO_NUMBER, is_number=True)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(shorten(_text(value), MAX_CELL), is_number=False)
    try:
        return Cell(number(float(value)) if math.isfinite(value) else NO_NUMBER, is_number=True)
    except OverflowError:  # JSON has integers beyond any float
        return Cell(shorten(str(value), MAX_CELL), is_number=True)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _left_out(value: dict[str, Any]) -> str:
    n_rows, n_columns = len(value["rows"]) - MAX_TABLE_ROWS, len(value["columns"]) - MAX_COLUMNS
    cut = [f"{n} more {what}" for n, what in ((n_rows, "rows"), (n_columns, "columns")) if n > 0]
    return f"{' and '.join(cut)} of this table are in verdict.json" if cut else ""
