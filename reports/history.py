"""The history of a folder of verdicts: one self-contained page, or one JSON object for a machine.

write_history(found, page)  ->  a table of all verdicts, linked to their reports, and how their figures went
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import HarnessError
from harness.files import write_text
from reports import trend_chart
from reports import verdicts as found_verdicts
from reports.environment import html_environment
from reports.pages import refuse_foreign
from reports.trends import trends_of
from reports.verdicts import REPORT_FILE, Found, Row

MAX_ROWS = 2_000
ROWS_OPEN = 25  # that show without a click
MAX_UNUSABLE = 50
MAX_NAMED = 4  # gates that did not pass, in a row of the table
# What makes a page one of ours, which may be written over.
MARK = '<meta name="generator" content="modality-gates history">'


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    row: Row
    report: str | None  # address of the report, relative to the page
    not_passed: tuple[str, ...]
    n_more: int  # gates that did not pass and are not named


def write_history(found: Found, page: Path) -> None:
    """Write the page.

    Raises:
        HarnessError: something is at `page` that is no page of a history, or it cannot be written.
    """
    refuse_foreign(page, MARK, "gates history")
    template = html_environment().get_template("history.html.j2")
    shown = found.rows[:MAX_ROWS]
    text = template.render(
        mark=MARK,
        folder=str(found.folder),
        found_here=found,
        lines=[_line(row, page) for row in shown],
        n_open=ROWS_OPEN,
        n_more_rows=len(found.rows) - len(shown),
        counts=Counter(row.verdict for row in found.rows),
        unusable=[(str(path), why) for path, why in found.unusable[:MAX_UNUSABLE]],
        limits={"depth": found_verdicts.MAX_DEPTH, "verdicts": found_verdicts.MAX_VERDICTS},
        trends=trends_of(found.rows),
        charts=trend_chart,
    )
    try:
        write_text(page, text)
    except OSError as error:
        raise HarnessError(page, error.strerror or "no place", "a file that can be written", "Name another.") from None


def _line(row: Row, page: Path) -> Line:
    wrong = [f"{id} {outcome.replace('_', ' ')}" for id, _, _, outcome in row.gates if outcome != "pass"]
    report = _address(row.path.with_name(REPORT_FILE), page) if row.has_report else None
    return Line(row, report, tuple(wrong[:MAX_NAMED]), len(wrong[MAX_NAMED:]))


def _address(file: Path, page: Path) -> str:
    """A relative address: ./ before it, so that a folder named `javascript:` is a folder."""
    relative = os.path.relpath(file.absolute(), page.absolute().parent)
    return f"./{quote(os.fsencode(relative))}"


def as_json(found: Found) -> str:
    """The history for a machine: one JSON object, in ASCII, so that half a character in a verdict can be printed."""
    whole = {
        "format": "gate-history/1",
        "folder": str(found.folder),
        "verdicts": [_as_object(row, found.folder) for row in found.rows],
        "unusable": [{"path": str(path), "why": why} for path, why in found.unusable],
        "folders_too_deep": found.n_too_deep,
        "not_read": found.n_not_read,
    }
    return json.dumps(whole, allow_nan=False)


def _as_object(row: Row, folder: Path) -> dict[str, Any]:
    report = row.path.with_name(REPORT_FILE)
    return {
        "path": str(row.path.relative_to(folder)),
        "report": str(report.relative_to(folder)) if row.has_report else None,
        "started": row.started,
        "stage": row.stage,
        "checkpoint": row.checkpoint,
        "step": row.step,
        "sha256": row.sha256,
        "verdict": row.verdict,
        "gates": {id: outcome for id, _, _, outcome in row.gates},
        "p0": {"passed": row.count("P0", passed=True), "of": row.count("P0")},
        "p1": {"passed": row.count("P1", passed=True), "of": row.count("P1")},
        "thresholds_changed": row.n_changed,
        "measures": {
            name: {"value": p.value, "unit": p.unit, "n": p.n, "low": p.low, "high": p.high,
                   "rules": [{"op": op, "threshold": threshold} for op, threshold in p.rules]}
            for name, p in row.points.items()
        },
    }  # fmt: skip
