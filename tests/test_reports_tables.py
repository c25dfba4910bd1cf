"""Tables among the details: shown as they are meant, escaped, cut aloud, and never in the way of a report."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness.results import CheckpointId, GateResult, RunInfo, ThresholdsUsed, Verdict
from reports.details import MAX_TABLES, read_details
from reports.render import render
from reports.tables import MAX_CELL, MAX_COLUMNS, MAX_TABLE_ROWS, read_table

SCRIPT = "<script>alert(1)</script>"
TABLE = {
    "title": "t2a by source",
    "note": "Δ in nats per token.",
    "columns": ["source", "n", "shuffled: Δ"],
    "rows": [["notes", 288, 1.7183146], ["pictures", 12, None], ["more", 3, math.nan]],
}


def page_with(tmp_path: Path, tables: Any) -> str:
    gate = GateResult(
        id="P0.4", name="prompt_ablation", priority="P0", outcome="pass", claim="It listens", details={"tables": tables}
    )
    verdict = Verdict(
        stage="stage4",
        verdict="INCOMPLETE",
        checkpoint=CheckpointId(path="checkpoint_1", step=1, sha256=None),
        inputs={},
        token_space_sha256=None,
        gates=(gate,),
        next_step="none",
        thresholds=ThresholdsUsed(),
        run=RunInfo(
            command="pytest", seed=0, device="cpu", dtype="float32", versions={}, started="2026-01-01T00:00:00",
            duration_s=1,
        ),
    )  # fmt: skip
    return render(tmp_path, verdict).html.read_text(encoding="utf-8")


def test_a_table_is_shown_with_its_title_note_heads_and_figures(tmp_path: Path) -> None:
    page = page_with(tmp_path, [TABLE])

    assert "<h4>t2a by source</h4>" in page
    assert "Δ in nats per token." in page
    for text in ("source", "shuffled: Δ", "notes", "288", "1.718"):
        assert f">{text}</" in page
    assert "Further details" not in page


def test_numbers_stand_on_the_right_and_what_is_none_is_a_dash(tmp_path: Path) -> None:
    table = read_table(TABLE)

    assert table.numeric == (False, True, True)
    assert [[cell.text for cell in row] for row in table.rows][1:] == [["pictures", "12", "–"], ["more", "3", "–"]]
    page = page_with(tmp_path, [TABLE])
    assert '<td role="cell" class="num" data-label="n"><bdi>288</bdi></td>' in page
    assert page.count('data-label="shuffled: Δ"><bdi>–</bdi>') == 2


def test_no_cell_head_title_or_note_can_be_code(tmp_path: Path) -> None:
    hostile = {"title": SCRIPT, "note": SCRIPT, "columns": [SCRIPT, f"\u202e{SCRIPT}"], "rows": [[SCRIPT, SCRIPT]]}

    page = page_with(tmp_path, [hostile])

    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_what_a_limit_cuts_is_said(tmp_path: Path) -> None:
    wide = MAX_COLUMNS + 3
    large = {
        "title": "words",
        "columns": [f"c{i}" for i in range(wide)],
        "rows": [["x" * 5000, *range(wide - 1)] for _ in range(MAX_TABLE_ROWS + 40)],
    }

    table = read_table(large)

    assert (len(table.rows), len(table.columns), len(table.rows[0])) == (MAX_TABLE_ROWS, MAX_COLUMNS, MAX_COLUMNS)
    assert len(table.rows[0][0].text) == MAX_CELL
    assert "40 more rows and 3 more columns of this table are in verdict.json." in page_with(tmp_path, [large])


def test_more_tables_than_a_page_holds_are_counted(tmp_path: Path) -> None:
    details = read_details({"tables": [TABLE] * (MAX_TABLES + 2)})

    assert len(details.tables) == MAX_TABLES
    assert details.left_out == ("2 more of “tables” are in verdict.json",)


@pytest.mark.parametrize(
    "row",
    [[], ["short"], ["long", 1, 2.0, 3, 4], [True, {"a": 1}, [2]], [10**400, -(10**400), 1e300]],
    ids=["empty", "short", "long", "odd", "huge"],
)
def test_a_row_of_any_kind_is_shown(tmp_path: Path, row: list[Any]) -> None:
    assert [len(each) for each in read_table(TABLE | {"rows": [row]}).rows] == [3]
    assert "t2a by source" in page_with(tmp_path, [TABLE | {"rows": [row]}])


@pytest.mark.parametrize(
    "tables", [7, "x", [7], [{"rows": []}], [{"columns": ["a"], "rows": [3]}], {"columns": []}, [TABLE, None]]
)
def test_what_is_no_table_is_shown_as_json(tmp_path: Path, tables: Any) -> None:
    assert read_details({"tables": tables}).tables == ()
    assert "Further details" in page_with(tmp_path, tables)


def test_a_table_without_rows_or_title_is_a_table(tmp_path: Path) -> None:
    page = page_with(tmp_path, [{"columns": ["word"], "rows": []}])

    assert "<h4>Table</h4>" in page
