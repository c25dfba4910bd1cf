"""Tables of chances, and what they look like in Markdown and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.power.chances import Counts, Outcome
from gates.power.trial import Trial

_NONE = 1e-12  # a chance as small as the rounding of sums


@dataclass(frozen=True)
class Cell:
    """A chance.

    Attributes:
        chance: computed.
        outcome: of what.
        trial: what simulates the same; None where nothing does.
    """

    chance: float
    outcome: Outcome = "passes"
    trial: Trial | None = None


@dataclass(frozen=True)
class Row:
    """What the row is about, a text a column; then its cells, chances or texts."""

    about: tuple[str, ...]
    cells: tuple[Cell | str, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what its cells are.
        columns: the names of all columns, those of `about` first.
        rows: as many cells in each as there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """What is said about one gate.

    Attributes:
        gate: its id.
        title: the heading.
        text: paragraphs before the tables.
        tables: the tables.
    """

    gate: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...]


def trials_of(sections: Sequence[Section]) -> Iterator[Trial]:
    """What is to be simulated for some sections."""
    for section in sections:
        for table in section.tables:
            for row in table.rows:
                yield from (cell.trial for cell in row.cells if isinstance(cell, Cell) and cell.trial is not None)


def table_markdown(table: Table, simulated: Mapping[Trial, Counts]) -> str:
    """The table in Markdown, its title in bold above it."""
    lines = [_line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line([*row.about, *(cell_text(cell, simulated) for cell in row.cells)]) for row in table.rows]
    return "\n".join([f"**{table.title}**", "", *lines])


def cell_text(cell: Cell | str, simulated: Mapping[Trial, Counts]) -> str:
    """The chance in per cent; behind it, where it was simulated, what came out and its standard error."""
    if isinstance(cell, str):
        return cell
    counts = simulated.get(cell.trial) if cell.trial is not None else None
    if counts is None:
        return pct(cell.chance)
    return f"{pct(cell.chance)} ({100 * counts.share(cell.outcome):.1f} ± {100 * counts.error(cell.outcome):.1f})"


def pct(chance: float) -> str:
    """A chance in per cent, with one decimal; what is near to never or to always says so."""
    if chance <= _NONE:
        return "0"
    if chance >= 1 - _NONE:
        return "100"
    if chance < 0.0005:
        return "< 0.1"
    return "> 99.9" if chance > 0.9995 else f"{100 * chance:.1f}"


def section_json(section: Section, simulated: Mapping[Trial, Counts]) -> dict[str, Any]:
    """The section as JSON has it: chances as numbers from 0 to 1."""
    return {
        "gate": section.gate,
        "title": section.title,
        "text": list(section.text),
        "tables": [
            {
                "title": table.title,
                "columns": list(table.columns),
                "rows": [
                    {"about": list(row.about), "cells": [_cell_json(cell, simulated) for cell in row.cells]}
                    for row in table.rows
                ],
            }
            for table in section.tables
        ],
    }


def _cell_json(cell: Cell | str, simulated: Mapping[Trial, Counts]) -> dict[str, Any] | str:
    if isinstance(cell, str):
        return cell
    counts = simulated.get(cell.trial) if cell.trial is not None else None
    found: dict[str, Any] = {"outcome": cell.outcome, "computed": cell.chance}
    if counts is not None:
        share, error = counts.share(cell.outcome), counts.error(cell.outcome)
        found["simulated"] = {"share": share, "standard_error": error, "n": counts.n}
    return found


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
